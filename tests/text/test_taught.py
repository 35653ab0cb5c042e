import pytest

from fromnoise.errors import RequestError, WeightsError
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


def test_letters_of_two_parts_are_the_same_word(plain: Tokenizer) -> None:
    taught = TaughtTokenizer(plain, {"café": 1})
    in_parts = "a cafe\N{COMBINING ACUTE ACCENT}"
    assert taught.encode(in_parts) == [*plain.encode("a"), plain.size]
    assert taught.says(in_parts) == ["café"]


def test_words_that_were_added_to_the_vocabulary_keep_their_ids(plain: Tokenizer) -> None:
    size = plain.size
    added = {"<Cat>_1": size + 2, "<Cat>": size, "<dog>": size + 1, " ": size + 3}
    base = Tokenizer.from_json(plain.to_json() | {"added": added})
    assert base.to_json()["added"] == added
    assert base.encode("<cat>") == plain.encode("<cat>")
    taught = TaughtTokenizer(base, {"owl": 2, "<dog>": 1}, size + 9)
    assert taught.encode("<cat> OWL <dog>") == [size, size + 2, size + 9, size + 10, size + 11]
    assert taught.decode(taught.encode("a <cat>")) == "a <cat>"
    bare = TaughtTokenizer(Tokenizer.from_json(plain.to_json() | {"added": {" ": size}}), {})
    assert bare.encode("a red house") == plain.encode("a red house")


@pytest.mark.parametrize("added", [{"<cat>": 49407}, {"<cat>": "49408"}, {"<cat>": 1.5}])
def test_an_added_word_needs_an_id_of_its_own(plain: Tokenizer, added: dict[str, int]) -> None:
    with pytest.raises(WeightsError, match=r"the added word '<cat>' has the id .*, which is none from 49408"):
        Tokenizer.from_json(plain.to_json() | {"added": added})
