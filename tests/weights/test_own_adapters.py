"""Adapters beside their model: found by a short name, whole, for that model alone, with their own steps."""

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from fromnoise.errors import StorageError, WeightsError
from fromnoise.loading import load
from fromnoise.nets.low_rank import with_low_rank
from fromnoise.pipeline import Pipeline
from fromnoise.request import AdapterUse
from fromnoise.specs import TINY, ModelSpec
from fromnoise.weights.adapter_terms import SAID, Terms
from fromnoise.weights.adapter_writer import save_adapter
from fromnoise.weights.adapters import Adapter, open_adapter
from fromnoise.weights.model_loader import FOLDER
from fromnoise.weights.native import Parts, save_native
from fromnoise.weights.own_adapters import own_adapter
from fromnoise.weights.wardrobe import find_adapter

SMALL: dict[str, Any] = {"width": 16, "height": 16, "seed": 1}


def adapter(build: Callable[[ModelSpec], Parts], **terms: Any) -> Adapter:
    unet = build(TINY).unet
    for each in with_low_rank(unet, 2).values():
        torch.nn.init.normal_(each.up.weight, generator=torch.Generator().manual_seed(1))
    return Adapter.trained("turbo", {"unet": unet}, Terms(**terms).metadata())


@pytest.fixture
def model(build: Callable[[ModelSpec], Parts], tmp_path: Path) -> Path:
    """TINY with a turbo of three steps beside it."""
    path = tmp_path / "house.v2.safetensors"
    save_native(build(TINY), path)
    made_for = sha256(path.read_bytes()).hexdigest()
    quick = tmp_path / "house.v2.turbo.safetensors"
    save_adapter(adapter(build, made_for=made_for, steps=3, guidance=1.0), quick, TINY)
    quick.with_suffix(".sha256").write_text(f"{sha256(quick.read_bytes()).hexdigest()}  {quick.name}\n")
    return path


@pytest.fixture
def pipe(model: Path) -> Pipeline:
    return load(model, dtype="float32", folders=())


def test_a_model_knows_its_own_adapter_by_a_short_name(pipe: Pipeline, model: Path) -> None:
    digest = sha256((model.parent / "house.v2.turbo.safetensors").read_bytes()).hexdigest()
    meant = AdapterUse("turbo", 1.0, digest[:10])
    names = ("turbo", "house.v2.turbo", str(model.with_name("house.v2.turbo.safetensors")))
    results = [pipe("a red house", adapters=(name,), **SMALL) for name in names]
    assert [result.request.adapters for result in results] == [(meant,)] * 3
    assert len({result.pictures[0].rgb for result in results}) == 1
    for name in ("other", "../turbo", "turbo/", ".", "house.v2"):
        with pytest.raises((StorageError, WeightsError)):
            pipe("a red house", adapters=(name,), **SMALL)
    with pytest.raises(StorageError, match="there is no adapter 'turbo'"):
        Pipeline.of(load_parts(pipe))("a red house", adapters=("turbo",), **SMALL)


def test_a_folder_of_its_name_is_not_meant_but_a_file_is(
    pipe: Pipeline, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = model.with_name("house.v2.turbo.safetensors")
    monkeypatch.chdir(model.parent)
    Path("turbo").mkdir()  # as the stage of a run
    assert find_adapter("turbo", (), model) == own
    assert pipe("a red house", adapters=("turbo",), **SMALL).request.steps == 3
    assert find_adapter("./turbo", (), model) == Path("./turbo")
    other = own.rename("turbo.safetensors")
    assert find_adapter("turbo.safetensors", (), model) == Path(other.name)


def test_a_folder_without_a_name_has_none_of_its_own() -> None:
    assert own_adapter(Path("."), "turbo") is None
    assert own_adapter(None, "turbo") is None


def load_parts(pipe: Pipeline) -> Parts:
    """The same model, of no file."""
    tokenizers = tuple(tokenizer.to_json() for tokenizer in pipe.tokenizers)
    return Parts(pipe.spec, pipe.text_encoders, pipe.unet, pipe.encoder, pipe.decoder, tokenizers)


def test_what_is_left_open_takes_the_adapters_steps_and_guidance(pipe: Pipeline) -> None:
    plain = pipe.spec.defaults
    for named, expected in (
        ({}, (plain.steps, plain.guidance)),
        ({"adapters": ("turbo",)}, (3, 1.0)),
        ({"adapters": ("turbo:0",)}, (plain.steps, plain.guidance)),
        ({"adapters": ("turbo",), "steps": 2}, (2, 1.0)),
        ({"adapters": ("turbo",), "guidance": 2.5}, (3, 2.5)),
    ):
        request = pipe("a red house", **SMALL, **{"steps": None, **named}).request
        assert (request.steps, request.guidance) == expected, named
    pipe.attach("turbo", 0.5)
    assert pipe("a red house", **SMALL).request.steps == 3
    pipe.detach()
    assert pipe("a red house", **SMALL).request.steps == plain.steps


def test_a_request_draws_the_same_again(pipe: Pipeline, model: Path) -> None:
    first = pipe("a red house", adapters=("turbo",), **SMALL)
    data = json.loads(json.dumps(first.request.to_json()))
    assert (data["steps"], data["guidance"], data["adapters"][0]["name"]) == (3, 1.0, "turbo")
    again = load(model, dtype="float32", folders=())(type(first.request).from_json(data))
    assert again.pictures == first.pictures


def test_another_model_refuses_it_whatever_way_it_comes(
    build: Callable[[ModelSpec], Parts], pipe: Pipeline, model: Path, tmp_path: Path
) -> None:
    parts = build(TINY)
    other = tmp_path / "other.safetensors"
    save_native(replace(parts, about={"card": "another training"}), other)
    (tmp_path / "other.turbo.safetensors").write_bytes(
        model.with_name("house.v2.turbo.safetensors").read_bytes()
    )
    wrong, file = load(other, dtype="float32", folders=()), model.with_name("house.v2.turbo.safetensors")
    said = rf"turbo is made for the model {pipe.model_hash[:10]}; this tiny is {wrong.model_hash[:10]}"
    for call in (
        lambda: wrong("a red house", adapters=("turbo",), **SMALL),
        lambda: wrong("a red house", adapters=(str(file),), **SMALL),
        lambda: wrong.attach("turbo"),
        lambda: wrong.attach(open_adapter(file)),
    ):
        with pytest.raises(WeightsError, match=said) as caught:
            call()
        assert caught.value.hint == "give the model that it was made for"
    assert wrong.adapters == ()
    assert wrong("a red house", **SMALL).pictures == pipe("a red house", **SMALL).pictures


def test_a_damaged_one_is_not_put_on(pipe: Pipeline, model: Path) -> None:
    file = model.with_name("house.v2.turbo.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=r"house\.v2\.turbo\.safetensors is damaged: its SHA-256 is"):
        pipe("a red house", adapters=("turbo",), **SMALL)
    file.with_suffix(".sha256").unlink()
    assert pipe("a red house", adapters=("turbo",), **SMALL).request.steps == 3  # nothing to compare it with


@pytest.mark.parametrize(
    "said",
    [
        '{"steps": 0}',
        '{"steps": "4"}',
        '{"guidance": NaN}',
        '{"pace": 1}',
        "[4]",
        "4",
        "{",
        '{"made_for": 1}',
    ],
)
def test_terms_that_make_no_sense_are_one_line(
    build: Callable[[ModelSpec], Parts], pipe: Pipeline, said: str
) -> None:
    with pytest.raises(WeightsError, match=r"what it says of its use \(fromnoise.terms\) makes no sense"):
        pipe.attach(replace(adapter(build), metadata={SAID: said}))


def test_two_that_differ_in_their_steps(build: Callable[[ModelSpec], Parts], pipe: Pipeline) -> None:
    pipe.attach("turbo")
    pipe.attach(replace(adapter(build, steps=2), name="quicker"))
    request = pipe("a red house", **SMALL).request
    assert (request.steps, request.guidance) == (2, 1.0)  # the last one that says something


@pytest.mark.parametrize("file", sorted(FOLDER.glob("model.*.safetensors")), ids=lambda file: file.name)
def test_what_comes_beside_the_embedded_model_belongs_to_it(file: Path) -> None:
    """Who exchanges the model trains its turbo again: `fromnoise train turbo`, `assemble`."""
    assert file.stat().st_size < 2_000_000
    name = file.name.split(".")[1]
    result = load()("a red house", adapters=(name,), seed=1)
    assert result.request.adapters == (AdapterUse(name, 1.0, open_adapter(file).short_hash),)
