"""Adapters as the pipeline sees them: attached or asked for by a request, told in the result, taken off."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.events import Denoised
from fromnoise.images.metadata import encode_png
from fromnoise.images.parameters import from_parameters, parameters
from fromnoise.nets.low_rank import with_low_rank, without_low_rank
from fromnoise.pipeline import Pipeline
from fromnoise.request import AdapterUse, GenerateRequest
from fromnoise.specs import TINY, ModelSpec
from fromnoise.weights.adapter_writer import save_adapter
from fromnoise.weights.adapters import Adapter, open_adapter
from fromnoise.weights.native import Parts

FAST: dict[str, Any] = {"steps": 2, "width": 16, "height": 16, "guidance": 2.0}


@pytest.fixture(scope="module")
def pipe(build: Callable[[ModelSpec], Parts]) -> Pipeline:
    return Pipeline.of(build(TINY))


@pytest.fixture
def bare(pipe: Pipeline, tmp_path: Path) -> Iterator[Pipeline]:
    pipe.wardrobe.folders = (tmp_path,)
    yield pipe
    pipe.detach()


@pytest.fixture(scope="module")
def files(pipe: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two LoRAs that change much."""
    folder = tmp_path_factory.mktemp("loras")
    for seed, name in enumerate(("ink", "oil")):
        made = with_low_rank(pipe.unet, 2)
        for each in made.values():
            torch.nn.init.normal_(each.up.weight, generator=torch.Generator().manual_seed(seed))
        save_adapter(Adapter.trained(name, {"unet": pipe.unet}), folder / f"{name}.safetensors", TINY)
        without_low_rank(pipe.unet)
    return folder


def drawn(pipe: Pipeline, **named: Any) -> bytes:
    return pipe("a red house", seed=1, **FAST, **named).pictures[0].rgb


def test_attached_it_draws_otherwise_and_detached_as_before(bare: Pipeline, files: Path) -> None:
    before = drawn(bare)
    use = bare.attach(files / "ink.safetensors")
    assert use == AdapterUse("ink", 1.0, open_adapter(files / "ink.safetensors").short_hash)
    assert (bare.adapters, len(use.hash)) == ((use,), 10)
    full = drawn(bare)
    bare.attach("ink", 0.5)  # known by its name: nothing is read
    half = drawn(bare)
    assert len({before, full, half}) == 3
    bare.attach("ink", 1.0)
    assert drawn(bare) == full
    bare.attach(files / "oil.safetensors", 0.7)
    assert drawn(bare) not in (before, full)
    bare.detach("oil")
    assert drawn(bare) == full
    bare.detach()
    assert (drawn(bare), bare.adapters) == (before, ())


def test_the_result_says_what_was_on_and_draws_it_again(bare: Pipeline, files: Path) -> None:
    before = drawn(bare)
    bare.attach(files / "ink.safetensors", 0.75)
    result = bare("a red house", seed=1, **FAST)
    (use,) = result.request.adapters or ()
    assert (use.name, use.scale) == ("ink", 0.75)
    bare.detach()
    assert GenerateRequest.from_json(result.request.to_json()) == result.request
    assert bare(result.request).pictures == result.pictures  # found again by its hash
    assert drawn(bare) == before


def test_a_request_has_exactly_its_own(bare: Pipeline, files: Path) -> None:
    before = drawn(bare)
    ink, oil = (f"{files}/{name}.safetensors" for name in ("ink", "oil"))
    alone = drawn(bare, adapters=[f"{ink}:0.5"])
    bare.attach(oil)
    with_oil = drawn(bare)
    assert drawn(bare, adapters=[f"{ink}:0.5"]) == alone
    assert drawn(bare, adapters=[]) == before
    assert drawn(bare) == with_oil
    both = drawn(bare, adapters=[ink, oil])
    assert both == drawn(bare, adapters=[oil, ink])
    assert both not in (before, alone, with_oil)


def test_two_drawings_at_once_do_not_disturb_each_other(bare: Pipeline, files: Path) -> None:
    ink = GenerateRequest.of("a red house", seed=1, **FAST, adapters=[f"{files}/ink.safetensors"])
    plain = replace(ink, adapters=())
    expected = [bare(request).pictures for request in (ink, plain)]
    streams = [bare.stream(request) for request in (ink, plain)]
    last = [None, None]
    for events in zip(*streams, strict=True):
        last = list(events)
    assert [event.result.pictures for event in last] == expected  # type: ignore[attr-defined]


def test_a_drawing_that_is_cancelled_takes_them_off(bare: Pipeline, files: Path) -> None:
    before = {name: tensor.data_ptr() for name, tensor in bare.unet.state_dict().items()}
    request = GenerateRequest.of("a house", **FAST, adapters=[f"{files}/ink.safetensors"])
    stream = bare.stream(request)
    assert any(isinstance(event, Denoised) for event in (next(stream), next(stream), next(stream)))
    assert {name: tensor.data_ptr() for name, tensor in bare.unet.state_dict().items()} != before
    stream.close()
    assert {name: tensor.data_ptr() for name, tensor in bare.unet.state_dict().items()} == before


def test_names_are_looked_up_and_hashes_compared(bare: Pipeline, files: Path) -> None:
    bare.wardrobe.folders = (files,)
    ink = open_adapter(files / "ink.safetensors").short_hash
    by_name = drawn(bare, adapters=["ink:0.5"])
    assert drawn(bare, adapters=[{"name": "ink", "scale": 0.5, "hash": ink}]) == by_name
    with pytest.raises(RequestError, match=r"'oil' is another file now: \w{10}, not 0123456789"):
        drawn(bare, adapters=[{"name": "oil", "hash": "0123456789"}])
    with pytest.raises(StorageError, match="there is no adapter 'oill'\n  hint: did you mean 'oil'"):
        drawn(bare, adapters=["oill"])
    with pytest.raises(RequestError, match="two have one name"):
        drawn(bare, adapters=["ink", f"{files}/ink.safetensors"])
    with pytest.raises(RequestError, match="'oil' is not attached; attached: none"):
        bare.detach("oil")


def test_another_file_of_the_same_name(bare: Pipeline, files: Path, tmp_path: Path) -> None:
    bare.attach(files / "ink.safetensors")
    (tmp_path / "ink.safetensors").write_bytes((files / "oil.safetensors").read_bytes())
    with pytest.raises(RequestError, match="another one of the name 'ink' is attached"):
        bare.attach(tmp_path / "ink.safetensors")


def test_what_was_trained_here_needs_no_file(bare: Pipeline) -> None:
    before = drawn(bare)
    for each in with_low_rank(bare.unet, 2).values():
        torch.nn.init.normal_(each.up.weight, generator=torch.Generator().manual_seed(9))
    adapter = Adapter.trained("mine", {"unet": bare.unet})
    without_low_rank(bare.unet)
    bare.attach(adapter)
    assert drawn(bare) != before


def test_what_cannot_be_attached_leaves_the_others_on(bare: Pipeline, files: Path) -> None:
    bare.attach(files / "ink.safetensors", 0.5)
    with_ink, used = drawn(bare), bare.adapters
    other = replace(open_adapter(files / "oil.safetensors"), name="other", changes={})
    change = next(iter(open_adapter(files / "oil.safetensors").changes.values()))
    with pytest.raises(WeightsError, match="1 of 1 layers of other are not in tiny"):
        bare.attach(replace(other, changes={"lora_unet_nowhere": change}))
    assert (bare.adapters, drawn(bare)) == (used, with_ink)


def test_a_refiner_with_adapters_is_refused(bare: Pipeline, tiny: Pipeline, files: Path) -> None:
    bare.attach(files / "ink.safetensors")
    with pytest.raises(RequestError, match="refiner: it has adapters attached"):
        tiny("a house", refiner=bare, **FAST)


@pytest.mark.parametrize("field", ["prompt", "negative"])
@pytest.mark.parametrize(
    ("tag", "option"),
    [("ink:0.8", "ink:0.8"), ("ink", "ink"), ("ink:0.8:1", "ink:0.8"), ("ink:lbw=ALL", "ink")],
)
def test_in_the_prompt_they_are_refused_with_the_way_to_say_it(
    bare: Pipeline, field: str, tag: str, option: str
) -> None:
    words = {"prompt": "a house", field: f"a house <lora:{tag}>, red"}
    with pytest.raises(
        RequestError, match=rf"{field}: '<lora:{tag}>' is not read here.*\n.*--lora {option}$"
    ):
        bare(words.pop("prompt"), **FAST, **words)


def test_the_text_of_other_programs_names_them_in_the_prompt(bare: Pipeline, files: Path) -> None:
    bare.attach(files / "ink.safetensors", 0.5)
    result = bare("a red house", seed=1, **FAST)
    (use,) = result.request.adapters or ()
    text = parameters(result, result.pictures[0])
    assert text.startswith("a red house <lora:ink:0.5>\n")
    assert text.endswith(f'Hashes: {{"lora:ink": "{use.hash}"}}')
    again = from_parameters(text)
    assert (again.prompt, again.adapters) == ("a red house", (use,))
    theirs = from_parameters(text.replace("Version: fromnoise", "Version: v1.10.1 fromnoise"))
    assert theirs.adapters == (AdapterUse("ink", 0.5),)  # whose hashes are of another kind
    assert b'"adapters"' in encode_png(result, result.pictures[0])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("ink", "'ink' is not a list"),
        (["ink:1000"], "1000 is outside -100..100"),
        (["ink:nan"], "nan is outside"),
        ([""], "'' is no adapter's name"),
        ([7], "7 is neither NAME"),
        ([{"name": "ink", "size": 1}], "is neither NAME"),
        ([{"scale": 1.0}], "'' is no adapter's name"),
        (["ink", "ink:0.5"], "one is named twice"),
        ([f"a{n}" for n in range(65)], "65 are more than 64"),
    ],
)
def test_what_a_request_may_not_say(given: Any, problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        GenerateRequest.of("a house", adapters=given)


def test_names_scales_and_colons() -> None:
    request = GenerateRequest.of("a house", adapters=["ink:0.5", "oil", "C:/x.safetensors", "a:b:-2"])
    said = [(use.name, use.scale) for use in request.adapters or ()]
    assert said == [("ink", 0.5), ("oil", 1.0), ("C:/x.safetensors", 1.0), ("a:b", -2.0)]
    assert GenerateRequest.of("a house").adapters is None
