"""Vocabularies of folders: CLIP's own is recognised, another is read, a false one is refused."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from on_disk import VOCAB, vocabulary, write_json, write_tokenizer
from safetensors.torch import save_file

from fromnoise.errors import WeightsError
from fromnoise.specs import SD15, SD21, SDXL, ModelSpec
from fromnoise.text import Tokenizer
from fromnoise.weights.folder_facts import text_like
from fromnoise.weights.stored import open_weights
from fromnoise.weights.tokenizers import read_tokenizers

LEARNT = Tokenizer.train(["a red house", "a green tree", "the sea at night"], VOCAB)
MERGES = LEARNT.to_json()["merges"]
CLIP = {"vocabulary": "clip", "context": 77}
LAYER = "text_model.encoder.layers.0.layer_norm1.weight"


def clip_merges() -> list[str]:
    packed = files("fromnoise.text").joinpath("clip_merges.txt.gz").read_bytes()
    return gzip.decompress(packed).decode().splitlines()


def folder_of(home: Path, spec: ModelSpec) -> Path:
    """No more than tells where the text encoders are."""
    names = ["text_encoder", "text_encoder_2"][: len(spec.texts)]
    write_json(home / "model_index.json", {name: ["transformers", "CLIPTextModel"] for name in names})
    for name, text in zip(names, spec.texts, strict=True):
        write_json(home / name / "config.json", {})
        save_file({LAYER: torch.zeros(text.width)}, home / name / "model.safetensors")
    return home


def read(home: Path, spec: ModelSpec) -> tuple[dict[str, Any], ...]:
    with open_weights(folder_of(home, spec)) as stored:
        return read_tokenizers(stored, spec)


def test_clips_own_vocabulary_is_recognised(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer", clip_merges(), 49408)
    write_json(
        tmp_path / "tokenizer_2" / "tokenizer.json",
        {"model": {"vocab": vocabulary(clip_merges(), 49408), "merges": [m.split() for m in clip_merges()]}},
    )
    found = read(tmp_path, SDXL)
    assert found == ({**CLIP, "pad": 49407}, {**CLIP, "pad": 0})


def test_a_file_and_a_folder_without_one_get_clips(tmp_path: Path) -> None:
    assert read(tmp_path, SD21) == ({**CLIP, "pad": 0},)
    with open_weights(tmp_path / "text_encoder" / "model.safetensors") as stored:
        assert read_tokenizers(stored, SD15) == ({**CLIP, "pad": 49407},)


@pytest.mark.parametrize("version", ["#version: 0.2\n", ""])
def test_another_vocabulary_is_read(tmp_path: Path, version: str) -> None:
    write_tokenizer(tmp_path / "tokenizer", MERGES)
    (tmp_path / "tokenizer" / "merges.txt").write_text(version + "\n".join(MERGES))
    (found,) = read(tmp_path, SD15)
    assert found == {"size": VOCAB, "pad": 49407, "context": 77, "merges": MERGES}


def test_merges_beyond_the_vocabulary_do_not_count(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer", MERGES, size=512 + len(MERGES) + 2)
    with (tmp_path / "tokenizer" / "merges.txt").open("a") as file:
        file.write("b c\nd e\n")  # as in OpenAI's own file, of which CLIP uses the first fifth
    (found,) = read(tmp_path, SD15)
    assert found["merges"] == MERGES


def test_one_that_was_learnt_and_saved_is_the_same_when_read(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer", MERGES)
    (found,) = read(tmp_path, SD15)
    mine = Tokenizer.from_json(found | {"pad": VOCAB - 1})
    assert mine.encode("A green house; the SEA!") == LEARNT.encode("A green house; the SEA!")


def swap(ids: dict[str, int]) -> None:
    first, second = MERGES[0].replace(" ", ""), MERGES[1].replace(" ", "")
    ids[first], ids[second] = ids[second], ids[first]


def move_end(ids: dict[str, int]) -> None:
    ids["<|endoftext|>"] = 0


@pytest.mark.parametrize("change", [swap, move_end])
def test_ids_in_another_order_are_refused(tmp_path: Path, change: Callable[[dict[str, int]], None]) -> None:
    write_tokenizer(tmp_path / "tokenizer", MERGES)
    ids = vocabulary(MERGES, VOCAB)
    change(ids)
    write_json(tmp_path / "tokenizer" / "vocab.json", ids)
    with pytest.raises(WeightsError, match=r"tokenizer: '.*' has the id \d+ where CLIP's order gives \d+"):
        read(tmp_path, SD15)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("merges.txt", b"\xff\xfe", "merges.txt is not UTF-8"),
        ("vocab.json", b"[]", "vocab.json is not a JSON object"),
        ("vocab.json", b"{", "vocab.json is not JSON"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    write_tokenizer(tmp_path / "tokenizer", MERGES)
    (tmp_path / "tokenizer" / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read(tmp_path, SD15)


def test_a_vocabulary_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "tokenizer" / "tokenizer.json", {"model": {"type": "Unigram", "vocab": []}})
    with pytest.raises(WeightsError, match=r"tokenizer.json holds no merges of byte pairs"):
        read(tmp_path, SD15)


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    home = folder_of(tmp_path / "model", SD15)
    write_tokenizer(home / "tokenizer", MERGES)
    (tmp_path / "secret.json").write_text(json.dumps(vocabulary(MERGES, VOCAB)))
    (home / "tokenizer" / "vocab.json").unlink()
    (home / "tokenizer" / "vocab.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(WeightsError, match=r"vocab.json is a link that leads out of the folder"):
        read(home, SD15)


def test_the_short_form_is_the_vocabulary_that_we_ship() -> None:
    short = Tokenizer.from_json({"vocabulary": "clip", "pad": 0, "context": 9})
    assert (short.merges, short.size, short.pad, short.context) == (Tokenizer.clip().merges, 49408, 0, 9)
    with pytest.raises(WeightsError, match="it needs the numbers"):
        Tokenizer.from_json({"vocabulary": "clip", "pad": 0, "context": 9, "more": 1})


def test_added_words_go_along_where_the_text_encoder_has_rows_for_them(tmp_path: Path) -> None:
    (text,) = SD15.texts
    more = replace(SD15, texts=(replace(text, vocab=text.vocab + 1),))
    added = {"<cat>": text.vocab, "<dog>": text.vocab + 1, "<|endoftext|>": text.end}
    write_tokenizer(tmp_path / "tokenizer", clip_merges(), text.vocab)
    write_json(tmp_path / "tokenizer" / "added_tokens.json", added)
    assert read(tmp_path, more) == ({**CLIP, "pad": 49407, "added": {"<cat>": text.vocab}},)
    assert read(tmp_path, SD15) == ({**CLIP, "pad": 49407},)
    model = {"vocab": vocabulary(clip_merges(), text.vocab), "merges": clip_merges()}
    listed = [*({"content": word, "id": number} for word, number in added.items()), {"id": 5}, None]
    for file in (tmp_path / "tokenizer").iterdir():
        file.unlink()
    write_json(tmp_path / "tokenizer" / "tokenizer.json", {"model": model, "added_tokens": listed})
    assert read(tmp_path, more) == ({**CLIP, "pad": 49407, "added": {"<cat>": text.vocab}},)


def test_behind_clips_vocabulary_are_words_that_were_added() -> None:
    config = {"vocab_size": 49410, "pad_token_id": 0}
    found = text_like(config, SD15.texts[0], 36)
    assert (found.vocab, found.end, found.pad) == (49410, 49407, 49407)
    found = text_like({"vocab_size": 1000}, SD15.texts[0], 36)
    assert (found.vocab, found.end, found.pad) == (1000, 999, 999)
