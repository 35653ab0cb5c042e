import gzip
import json
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fromnoise.errors import RequestError, SpecError, StorageError, WeightsError
from fromnoise.text import Tokenizer, tokenizer

steady = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
GOLDEN = json.loads(Path(__file__).with_name("clip_golden.json").read_text(encoding="utf-8"))
CAPTIONS = [
    f"a {color} {thing} {place} at {hour}"
    for color in ("red", "blue", "golden", "turquoise")
    for thing in ("lighthouse", "mushroom", "sailing boat", "robot")
    for place in ("on an island", "in a meadow", "by the sea")
    for hour in ("sunset", "midnight", "dawn")
]
SIZE = 1024


@pytest.fixture(scope="module")
def clip() -> Tokenizer:
    return Tokenizer.clip()


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    return Tokenizer.train(CAPTIONS, SIZE)


# --- the vocabulary of CLIP ---


def test_the_clip_vocabulary_has_the_published_size_and_marks(clip: Tokenizer) -> None:
    assert (clip.size, clip.start, clip.end, clip.pad, clip.context) == (49408, 49406, 49407, 49407, 77)


@pytest.mark.parametrize(("text", "ids"), GOLDEN, ids=range(len(GOLDEN)))
def test_awkward_strings_keep_their_clip_ids(clip: Tokenizer, text: str, ids: list[int]) -> None:
    assert clip.encode(text) == ids


def test_stable_diffusion_one_pads_with_the_end_token_and_openclip_with_zero(clip: Tokenizer) -> None:
    photo = [49406, 320, 1125, 539, 320, 2368, 49407]  # as published with CLIP
    assert clip("a photo of a cat").ids == [photo + [49407] * 70]
    assert Tokenizer.clip(pad=0)("a photo of a cat").ids == [photo + [0] * 70]


def test_a_damaged_data_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tokenizer, "files", lambda package: tmp_path)
    whole = gzip.compress(b"t h\n" * 1000)
    for damaged in (None, b"", b"not gzip", whole[:30], whole[:-3] + b"xyz", gzip.compress(b"t h\n")):
        if damaged is not None:
            (tmp_path / tokenizer.CLIP_FILE).write_bytes(damaged)
        with pytest.raises(WeightsError, match="clip_merges") as caught:
            Tokenizer.clip()
        assert "\n" not in caught.value.message


# --- windows ---


def test_what_does_not_fit_is_handed_back(clip: Tokenizer) -> None:
    windows = clip(["a cat", "very " * 74 + "red lighthouse"])
    assert windows.cut == [[], clip.encode("lighthouse")]
    assert clip.decode(windows.cut[1]) == "lighthouse"
    assert [len(ids) for ids in windows.ids] == [77, 77]
    assert windows.ids[1] == [clip.start, *clip.encode("very " * 74 + "red"), clip.end]


@steady
@given(st.lists(st.text(max_size=40), max_size=4), st.integers(2, 20))
def test_a_window_and_its_cut_hold_every_token_once(texts: list[str], context: int) -> None:
    trained = Tokenizer([], pad=7)
    windows = trained(texts, context=context)
    for text, ids, cut in zip(texts, windows.ids, windows.cut, strict=True):
        tokens = trained.encode(text)
        kept = tokens[: context - 2]
        assert len(ids) == context
        assert ids == [trained.start, *kept, trained.end] + [7] * (context - 2 - len(kept))
        assert kept + cut == tokens


# --- training ---


def test_every_word_of_the_captions_becomes_one_token(ours: Tokenizer) -> None:
    words = {word for caption in CAPTIONS for word in ours.words(caption)}
    assert len(words) > 20
    assert {word: len(ours.encode(word)) for word in words} == dict.fromkeys(words, 1)
    assert len({ours.encode(word)[0] for word in words}) == len(words)


def test_a_strange_word_is_spelled_in_pieces_and_reads_back(ours: Tokenizer) -> None:
    assert len(ours.encode("zeppelin")) > 1
    assert ours.decode(ours.encode("zeppelin 🦓 ñandú")) == "zeppelin 🦓 ñandú"


def test_the_size_asked_for_is_the_size_given_even_if_the_words_run_out(ours: Tokenizer) -> None:
    assert (ours.size, ours.start, ours.end) == (SIZE, SIZE - 2, SIZE - 1)
    assert 512 + len(ours.merges) + 2 < SIZE
    assert max(max(row) for row in ours(CAPTIONS).ids) == ours.end


def test_a_full_vocabulary_stops_at_its_size() -> None:
    small = Tokenizer.train(CAPTIONS, 520)
    assert (small.size, len(small.merges)) == (520, 6)


def test_training_does_not_depend_on_the_order_of_the_captions(ours: Tokenizer) -> None:
    assert Tokenizer.train(reversed(CAPTIONS), SIZE).merges == ours.merges


def test_twenty_thousand_captions_train_in_a_second_or_two() -> None:
    captions = [f"{text} number {n}" for n in range(20_000 // len(CAPTIONS)) for text in CAPTIONS]
    began = time.process_time()
    Tokenizer.train(captions, SIZE)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [({"size": 300}, "300 is too small"), ({"pad": 514}, "pad token 514"), ({"context": 1}, "context of 1")],
)
def test_numbers_that_do_not_fit_are_refused(numbers: dict[str, int], complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        Tokenizer([], **numbers)


def test_too_small_a_vocabulary_is_refused_by_training() -> None:
    with pytest.raises(SpecError, match=r"513 is too small.*514"):
        Tokenizer.train(CAPTIONS, 513)


# --- encode and decode ---


@steady
@given(st.text())
def test_decoding_and_encoding_again_changes_nothing(text: str) -> None:
    plain = Tokenizer([("t", "h"), ("th", "e</w>"), ("i", "n")])
    ids = [i for i in plain.encode(text) if i not in (plain.start, plain.end)]
    assert plain.encode(plain.decode(ids)) == ids


@steady
@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyzéßжあ", min_size=1), max_size=5).map(" ".join))
def test_plain_words_come_back_letter_by_letter(text: str) -> None:
    plain = Tokenizer([("t", "h"), ("th", "e</w>"), ("i", "n")])
    assert plain.decode(plain.encode(text)) == text


def test_half_a_character_is_decoded_visibly(clip: Tokenizer) -> None:
    assert clip.decode(clip.encode("🦓")[:1]) == "�"


def test_marks_are_left_out_of_decoded_text(clip: Tokenizer) -> None:
    assert clip.decode(clip("A cat's 2 hats").ids[0]) == "a cat 's 2 hats"


@pytest.mark.parametrize("number", [-1, 600, 1021, 1024])
def test_an_id_that_stands_for_nothing_is_refused(number: int) -> None:
    with pytest.raises(RequestError, match=f"token {number} stands for nothing"):
        Tokenizer([], size=SIZE).decode([number])


def test_half_of_a_surrogate_pair_is_refused_with_its_number(clip: Tokenizer) -> None:
    with pytest.raises(RequestError, match=r"U\+DC80"):
        clip.encode("a broken \udc80 prompt")


def test_the_cache_stays_small_and_never_changes_an_answer(
    monkeypatch: pytest.MonkeyPatch, ours: Tokenizer
) -> None:
    monkeypatch.setattr(tokenizer, "CACHED_WORDS", 3)
    fresh = Tokenizer(ours.merges, size=SIZE)
    for text in CAPTIONS * 2:
        assert fresh.encode(text) == ours.encode(text)
        assert len(fresh._cache) <= 3
    fresh._cache.clear()
    fresh.encode("z" * 1000)
    assert not fresh._cache


# --- files ---


def test_a_saved_vocabulary_loads_as_the_same_tokenizer(ours: Tokenizer, tmp_path: Path) -> None:
    original = Tokenizer(ours.merges, size=SIZE, pad=0, context=24)
    original.save(tmp_path / "vocabulary.json")
    again = Tokenizer.load(tmp_path / "vocabulary.json")
    assert again.to_json() == original.to_json()
    assert again(CAPTIONS) == original(CAPTIONS)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "vocabulary.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.json", "vocabulary.json"]


def test_a_tokenizer_can_be_sent_to_another_process(ours: Tokenizer) -> None:
    assert pickle.loads(pickle.dumps(ours))(CAPTIONS) == ours(CAPTIONS)


GOOD = {"size": 520, "pad": 519, "context": 77, "merges": ["t h", "th e</w>"]}
DAMAGED = {
    "nothing": "",
    "half a file": json.dumps(GOOD)[:40],
    "no object": "[1, 2]",
    "a field too few": json.dumps({k: v for k, v in GOOD.items() if k != "pad"}),
    "a field too many": json.dumps(GOOD | {"colour": "red"}),
    "a word for a number": json.dumps(GOOD | {"size": "520"}),
    "a size too small": json.dumps(GOOD | {"size": 515}),
    "a pad token outside": json.dumps(GOOD | {"pad": 520}),
    "merges of three": json.dumps(GOOD | {"merges": ["t h e"]}),
    "merges of numbers": json.dumps(GOOD | {"merges": [7]}),
    "a merge of unmade symbols": json.dumps(GOOD | {"merges": ["th e</w>"]}),
    "a merge made twice": json.dumps(GOOD | {"merges": ["t h", "t h"]}),
    "a merge after the end of a word": json.dumps(GOOD | {"merges": ["t</w> h"]}),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_refused_in_one_line_that_names_it(content: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(WeightsError) as caught:
        Tokenizer.load(path)
    assert str(caught.value).startswith(f"{path} is not a vocabulary: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WeightsError, match="is not a vocabulary"):
        Tokenizer.load(tmp_path / "vocabulary.json")


def test_a_missing_file_and_a_missing_folder_are_storage_errors(ours: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*No such file"):
        Tokenizer.load(tmp_path / "none.json")
    with pytest.raises(StorageError, match=r"cannot write .*No such file"):
        ours.save(tmp_path / "none" / "vocabulary.json")


def test_importing_the_room_loads_no_torch_and_reads_no_data() -> None:
    program = (
        "import sys; opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "import fromnoise.text\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert not [name for name in opened if name.endswith(('.gz', '.json'))], opened\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
