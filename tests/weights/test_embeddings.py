"""Files of words, in everybody's layouts; a word with a known token's vector is read as that token."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fromnoise.errors import RequestError, WeightsError
from fromnoise.pipeline import Pipeline
from fromnoise.reading import Facts
from fromnoise.specs import TINY, ModelSpec
from fromnoise.weights.detect import detect
from fromnoise.weights.embeddings import Embedding, open_embedding, save_embedding
from fromnoise.weights.native import Parts
from fromnoise.weights.stored import open_weights

Build = Callable[[ModelSpec], Parts]


def numbers(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


LAYOUTS: dict[str, Callable[[Path, Tensor], Any]] = {
    "ember.safetensors": lambda path, t: save_file({"emb_params": t}, path),
    "learned_embeds.safetensors": lambda path, t: save_file({"ember": t}, path),
    "ember.bin": lambda path, t: torch.save({"<ember>": t}, path),
    "ember.pt": lambda path, t: torch.save(
        {
            "string_to_token": {"*": 265},
            "string_to_param": {"*": torch.nn.Parameter(t)},
            "name": "what it was called once",
            "step": 2999,
            "sd_checkpoint": "a1b2c3",
            "sd_checkpoint_name": None,
        },
        path,
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_everybodys_files_are_read(tmp_path: Path, name: str) -> None:
    vectors = numbers(2, 32)
    LAYOUTS[name](tmp_path / name, vectors)
    found = open_embedding(tmp_path / name)
    assert (found.word, found.count) == ("ember", 2)
    assert torch.equal(found.vectors[0], vectors)
    assert len(found.short_hash) == 10
    assert open_embedding(tmp_path / name, "another").word == "another"


def test_the_id_of_a_word_is_none_of_its_vectors(tmp_path: Path) -> None:
    vectors = numbers(1, 32)
    param = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors)})
    value = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": param}
    torch.save(value, tmp_path / "ember.pt")
    found = open_embedding(tmp_path / "ember.pt")
    assert (found.word, found.count) == ("ember", 1)
    assert torch.equal(found.vectors[0], vectors)
    torch.save({"string_to_token": {"*": torch.tensor(265)}}, tmp_path / "none.pt")
    with pytest.raises(WeightsError, match=r"none.pt: it is no embedding: 1 tensors"):
        open_embedding(tmp_path / "none.pt")


def test_what_is_written_is_read_again_and_one_vector_may_be_flat(tmp_path: Path) -> None:
    vectors = (numbers(2, 32), numbers(2, 48, 1))
    for given, layout, keys in (
        (vectors[:1], "kohya", {"emb_params"}),
        (vectors[:1], "diffusers", {"ember"}),
        (vectors, "kohya", {"clip_l", "clip_g"}),
    ):
        path = tmp_path / "ember.safetensors"
        save_embedding(Embedding("ember", given, {"a": "b"}), path, layout)  # type: ignore[arg-type]
        assert load_file(path).keys() == keys
        found = open_embedding(path)
        assert found.metadata["a"] == "b"
        assert all(torch.equal(one, other) for one, other in zip(found.vectors, given, strict=True))
    save_file({"emb_params": numbers(1, 32)[0]}, path)
    assert open_embedding(path).vectors[0].shape == (1, 32)
    with pytest.raises(RequestError, match="layout: 'kohia' is unknown; did you mean 'kohya'"):
        save_embedding(found, path, "kohia")  # type: ignore[arg-type]


def test_a_word_with_a_dot_is_no_layer(tmp_path: Path) -> None:
    given, path = Embedding("mr.smith", (numbers(2, 768),)), tmp_path / "mr.smith.safetensors"
    save_embedding(given, path, "diffusers")
    assert load_file(path).keys() == {"mr.smith"}
    found = open_embedding(path)
    assert found.word == "mr.smith"
    assert torch.equal(found.vectors[0], given.vectors[0])
    with open_weights(path) as stored:
        assert detect(stored).kind == "embedding"
    path.rename(tmp_path / "learned_embeds.safetensors")
    assert open_embedding(tmp_path / "learned_embeds.safetensors").word == "mr.smith"


def test_a_word_with_a_tokens_vector_is_read_as_that_token(build: Build) -> None:
    texts = (TINY.texts[0], replace(TINY.texts[0], width=48, projection=24, hidden=-2))
    unet = replace(TINY.unet, context_width=80, pooled_width=24)
    pipe = Pipeline.of(build(replace(TINY, texts=texts, unet=unet)))
    ids = pipe.tokenizers[0].encode("house")
    vectors = tuple(encoder.tokens.weight[ids].clone() for encoder in pipe.text_encoders)
    taught = pipe.with_embeddings(Embedding("ember", vectors))
    facts = Facts((64, 64), (64, 64))
    expected, found = pipe.reader("a red house", "", facts), taught.reader("a red Ember", "", facts)
    assert torch.equal(found.cond.context, expected.cond.context)
    assert found.cond.pooled is not None
    assert expected.cond.pooled is not None
    assert torch.equal(found.cond.pooled, expected.cond.pooled)
    assert not torch.equal(pipe.reader("a red ember", "", facts).cond.context, expected.cond.context)
    more = taught.with_embeddings(Embedding("ash", tuple(-each for each in vectors)))  # beside the first
    both = more.reader("ash and ember", "", facts).cond.context
    assert torch.equal(more.reader("a red ember", "", facts).cond.context, expected.cond.context)
    assert not torch.equal(both, more.reader("ember and ash", "", facts).cond.context)


def test_a_picture_says_that_a_word_was_used(build: Build, tmp_path: Path) -> None:
    pipe = Pipeline.of(build(TINY)).with_embeddings(Embedding("ember", (numbers(1, 32),)))
    how = {"seed": 1, "width": 16, "height": 16, "steps": 1}
    assert pipe("a hill", **how).given == ()
    assert pipe("a hill", negative="an ember", **how).given == ("embedding",)


def test_what_does_not_fit_is_refused(build: Build, tmp_path: Path) -> None:
    pipe, path = Pipeline.of(build(TINY)), tmp_path / "ember.safetensors"
    with pytest.raises(WeightsError, match="ember is made for text encoders 768 wide; tiny's: 32"):
        pipe.with_embeddings(Embedding("ember", (numbers(1, 768),)))
    with pytest.raises(RequestError, match="two are called alike"):
        pipe.with_embeddings(*[Embedding("ember", (numbers(1, 32),))] * 2)
    for tensors, problem in (
        ({"a.weight": numbers(2, 32)}, "it is no embedding: 1 tensors, first 'a.weight'"),
        ({"a": numbers(2, 32), "b": numbers(2, 32)}, "it is no embedding: 2 tensors"),
        ({"a": numbers(2, 32) / 0}, "it is damaged: 'a' holds NaN or infinity"),
        ({"a": numbers(200, 32)}, "holds 200 vectors"),
        ({"clip_l": numbers(2, 32), "clip_g": numbers(3, 48)}, "different numbers of vectors"),
        ({"clip_l": numbers(2, 32)[0, 0]}, "it is no embedding: 1 tensors, first 'clip_l'"),
        ({"clip_l": numbers(2, 32)[None]}, "it is no embedding: 1 tensors, first 'clip_l'"),
    ):
        save_file(tensors, path)
        with pytest.raises(WeightsError, match=problem):
            open_embedding(path)
