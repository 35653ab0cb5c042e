import pytest

from fromnoise.errors import RequestError
from fromnoise.text import Tokenizer
from fromnoise.text.taught import TaughtTokenizer


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    return Tokenizer.clip()


def test_a_taught_word_is_ids_of_its_own_wherever_it_stands_alone(plain: Tokenizer) -> None:
    taught = TaughtTokenizer(plain, {"ember-01": 2, "<owl>": 1, "old hat": 3})
    first = plain.size
    assert taught.encode("an EMBER-01,") == [*plain.encode("an"), first, first + 1, *plain.encode(",")]
    assert taught.encode("<owl>") == [first + 2]
    assert taught.encode("an Old Hat") == [*plain.encode("an"), first + 3, first + 4, first + 5]
    for text in ("ember-012", "remember-01", "an owl", "ΣΑΣ <|ENDOFTEXT|>", "a <|endoftext|> b", ""):
        assert taught.encode(text) == plain.encode(text)


def test_what_is_cut_off_is_named_by_its_word(plain: Tokenizer) -> None:
    taught = TaughtTokenizer(plain, {"ember": 3})
    window = taught("a red ember on a hill", context=5)
    assert window.ids[0][1:4] == [*plain.encode("a red"), plain.size]
    assert taught.decode(taught.encode("a red Ember on a hill")) == "a red ember on a hill"
    assert taught.words("an Ember, red") == ["an", "ember", ",", "red"]
    assert taught.says("an Ember, red ember") == ["ember", "ember"]
    assert taught.says("remember") == []


@pytest.mark.parametrize("words", [{"": 1}, {" ember": 1}, {"<|endoftext|>": 1}, {"Ember": 1, "ember": 1}])
def test_names_that_are_no_words_are_refused(plain: Tokenizer, words: dict[str, int]) -> None:
    with pytest.raises(RequestError, match="cannot be a word of its own"):
        TaughtTokenizer(plain, words)
