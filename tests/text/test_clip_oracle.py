"""Our ids against those of transformers, built offline from our own vocabulary."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fromnoise.text import Tokenizer

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.oracle

EXAMPLES, TEXTS_EACH = 260, 20  # together more than 5,000 strings

FRAGMENTS = (
    *("a photo of", "a red Lighthouse", "1girl", "8k", "(masterpiece:1.2)"),
    *("don't", "WE'LL", "they've", "'s", "''", "!", "!!!", "..."),
    *("café", "cafe\u0301", "ΟΔΥΣΣΕΥΣ", "İstanbul", "straße", "ﬁ", "Å"),
    *("½", "²", "٤٢", "Ⅷ", "H\u0331", "z\u0351\u0343\u0321", "\u1e9b\u0323"),
    *("한국어", "\u1100\u1161", "日本語", "你好，", "नमस्ते", "שלום", "مرحبا", "\u202e"),
    *("😀", "👍🏽", "👨\u200d👩\u200d👧", "🏳\ufe0f\u200d🌈", "🇩🇪", "1\ufe0f\u20e3", "❤\ufe0f"),
    *("<|startoftext|>", "<|endoftext|>", "<|EndOfText|>", "<|", "|>", "</w>"),
    *(" ", "  ", "\t", "\n", "\r\n", "\x0b", "\x1c", "\x85", "\u00a0", "\u2028", "\u3000"),
    *("\u180e", "\u200b", "\u200d", "\ufeff"),
)
# Letters newer than this Python's Unicode are left out: the oracle's table is older than that of `regex`,
# so it takes them for signs. No other character of Unicode differs.
CHARACTERS = st.characters(exclude_categories=["Cs", "Cn"])
PIECES = st.one_of(st.sampled_from(FRAGMENTS), st.text(CHARACTERS, max_size=6))
SHORT = st.lists(PIECES, max_size=8).map("".join)
LONG = st.tuples(SHORT, st.integers(20, 90)).map(lambda pair: f"{pair[0]} cat's " * pair[1])
TEXTS = st.one_of(SHORT, SHORT, SHORT, SHORT, LONG)


def oracle(ours: Tokenizer, folder: Path) -> Any:
    """The fast tokenizer (the only one since transformers 5), with our symbols under our ids.

    The slow one of transformers 4 differs: it cleans text by ftfy or by BERT's rules, whichever is installed.
    """
    vocabulary = {symbol: number for number, symbol in enumerate(ours._symbols)}
    marks = {"<|startoftext|>": ours.start, "<|endoftext|>": ours.end}
    (folder / "vocab.json").write_text(json.dumps(vocabulary | marks), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in ours.merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return transformers.CLIPTokenizerFast.from_pretrained(folder)


@pytest.fixture(scope="module")
def clip() -> Tokenizer:
    return Tokenizer.clip()


@pytest.fixture(scope="module")
def theirs(clip: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return oracle(clip, tmp_path_factory.mktemp("clip"))


def windows(theirs: Any, texts: list[str]) -> list[list[int]]:
    return theirs(texts, truncation=True, max_length=77, padding="max_length")["input_ids"]


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(texts=st.lists(TEXTS, min_size=TEXTS_EACH, max_size=TEXTS_EACH))
def test_ids_windows_and_cuts_equal_those_of_transformers(
    clip: Tokenizer, theirs: Any, texts: list[str]
) -> None:
    ours = clip(texts)
    assert ours.ids == windows(theirs, texts)
    full = theirs(texts, add_special_tokens=False)["input_ids"]
    assert [clip.encode(text) for text in texts] == full
    assert ours.cut == [ids[75:] for ids in full]


def test_every_assigned_character_is_encoded_as_transformers_does(clip: Tokenizer, theirs: Any) -> None:
    characters = [
        c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cs", "Cn", "Co", "Lo")
    ]
    ideographs = [
        chr(c) for block in (0xE00, 0x3040, 0x4E00, 0xAC00, 0x20000) for c in range(block, block + 99)
    ]
    texts = [f"a{c}b" for c in (*characters, *ideographs)]
    assert len(texts) > 10_000
    assert [clip.encode(text) for text in texts] == theirs(texts, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("text", FRAGMENTS)
def test_decoded_text_is_that_of_transformers(clip: Tokenizer, theirs: Any, text: str) -> None:
    ids = clip.encode(f"One {text} more")
    assert clip.decode(ids) == theirs.decode(
        ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


def test_padding_by_zero_changes_nothing_before_the_padding(clip: Tokenizer, theirs: Any) -> None:
    # transformers makes OpenCLIP's pad, "!", a special token, so a prompt's "!" gets the id of the padding.
    # OpenCLIP itself, which trained the networks, does not, and neither do we.
    (ours,), (expected,) = Tokenizer.clip(pad=0)("hi! you!!").ids, windows(theirs, ["hi! you!!"])
    length = expected.index(clip.end) + 1
    assert ours == expected[:length] + [0] * (77 - length)


def test_a_vocabulary_we_train_is_read_by_transformers_too(tmp_path: Path) -> None:
    captions = [
        f"a {a} {b} on the {c}" for a in ("red", "blue") for b in ("boat", "café") for c in ("sea", "moon")
    ]
    ours = Tokenizer.train(captions, 1024)
    texts = [*captions, *FRAGMENTS, "a seaside café in London, 1920's style 🏖"]
    assert ours(texts).ids == windows(oracle(ours, tmp_path), texts)
