"""Devices, types and forms are chosen by what a card is; whole drawings on a card that is not there."""

from collections.abc import Callable, Generator
from typing import Any

import pytest
import torch
from fake_card import FakeCard

from fromnoise.engine import placing as module
from fromnoise.engine.card import Card
from fromnoise.engine.graphs import Graphed, OnCard
from fromnoise.engine.placing import Placing, check, faster, placed, whole
from fromnoise.engine.precision import native_dtype, painting_dtype
from fromnoise.engine.room import MOST
from fromnoise.errors import OutOfMemory, RequestError
from fromnoise.events import Denoised, Loaded
from fromnoise.pipeline import Pipeline
from fromnoise.request import GenerateRequest
from fromnoise.specs import TINY, ModelSpec
from fromnoise.weights.native import Parts

Build = Callable[[ModelSpec], Parts]
CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def on(card: Any, parts: Parts, engine: str = "auto") -> Pipeline:
    return Pipeline.of(parts, engine, Placing(card))


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> FakeCard:
    """A card of 10 MB in the place of a CUDA device; networks that are brought to it stay where they are."""
    fake = FakeCard(10 * 10**6)
    monkeypatch.setattr(module, "Card", lambda device: fake)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_: self)
    return fake


# --- what is chosen ---


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((8, 9), torch.bfloat16), ((12, 0), torch.bfloat16)],
)
def test_bfloat16_where_the_card_calculates_in_it(monkeypatch, capability, dtype) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert native_dtype(CUDA) == dtype
    assert native_dtype(torch.device("mps")) == torch.float16


def test_beside_float16_the_autoencoder_keeps_the_range_of_float32() -> None:
    assert painting_dtype(torch.float16) == torch.float32
    assert painting_dtype(torch.bfloat16) == torch.bfloat16


@pytest.mark.parametrize(
    ("device", "engine", "offload", "problem"),
    [
        (CUDA, "autp", "auto", "engine: 'autp' is unknown; did you mean 'auto'"),
        (CUDA, "auto", "block", "offload: 'block' is unknown; did you mean 'blocks'"),
        (CPU, "compiled", "auto", "engine: 'compiled' is for CUDA devices"),
        (CPU, "auto", "model", "offload: only a CUDA device has anything to offload"),
    ],
)
def test_what_does_not_go_together_is_refused(device, engine, offload, problem) -> None:
    with pytest.raises(RequestError, match=problem):
        check(device, engine, offload)


def test_a_cpu_has_no_card(tiny_parts: Parts) -> None:
    networks = dict(tiny_parts.modules())
    assert placed(networks, TINY, CPU, "auto", "auto") is None
    assert whole(tiny_parts.unet) is None
    assert faster(tiny_parts.unet, "plain", None) is tiny_parts.unet


@pytest.mark.parametrize(
    ("asked", "size", "kind"),
    [
        ("auto", 40, "none"),
        ("auto", 12, "model"),
        ("auto", 4, "blocks"),
        ("model", 40, "model"),
        ("none", 1, "none"),
    ],
)
def test_offload_follows_the_free_memory_unless_it_is_asked_for(
    build: Build, card: FakeCard, asked: str, size: int, kind: str
) -> None:
    card.size = size * 10**6
    found = placed(dict(build(TINY).modules()), TINY, CUDA, "auto", asked)
    assert found is not None
    assert found.kind == kind
    assert found.note.startswith(f"offload {kind}: ") == (kind != "none")


def test_what_moves_is_neither_compiled_nor_recorded(build: Build, card: FakeCard) -> None:
    card.size = 1
    with pytest.raises(RequestError, match="does not stay on the card"):
        placed(dict(build(TINY).modules()), TINY, CUDA, "compiled", "auto")
    found = placed(dict(build(TINY).modules()), TINY, CUDA, "auto", "auto")
    assert found is not None
    form = found.faster(build(TINY).unet, "auto")
    assert isinstance(form, OnCard)
    assert not isinstance(form, Graphed)


@pytest.mark.parametrize(("engine", "is_last"), [("auto", True), ("plain", False)])
def test_kernels_are_laid_out_before_they_are_pinned(
    build: Build, card: FakeCard, engine: str, is_last: bool
) -> None:
    networks = dict(build(TINY).modules())
    placed(networks, TINY, CUDA, engine, "model")
    kernel = networks["unet"].get_parameter("mid.0.conv1.weight")
    assert kernel.is_contiguous(memory_format=torch.channels_last) == is_last


def test_memory_that_is_not_enough_has_a_hint() -> None:
    card: Any = FakeCard()
    assert Placing(card).hint(1) == "draw smaller, or take offload 'model'"
    assert Placing(card, "model").hint(4) == "draw fewer at a time, or smaller, or take offload 'blocks'"
    assert Placing(card, "blocks").hint(1) == "draw smaller"


# --- torch's settings ---


def test_torchs_settings_are_those_from_before() -> None:
    def settings() -> tuple[Any, ...]:
        cudnn: Any = torch.backends.cudnn
        return cudnn.benchmark, cudnn.allow_tf32, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision

    def interrupted() -> Generator[None]:
        with object.__new__(Card).tuned():
            assert settings()[:2] == (True, False)
            yield
            raise KeyboardInterrupt

    for tf32 in (True, False, True):
        torch.backends.cudnn.allow_tf32 = tf32
        before = settings()
        with pytest.raises(KeyboardInterrupt):
            list(interrupted())
        assert settings() == before


# --- drawing ---


def test_pictures_of_a_card_are_those_of_the_cpu(build: Build, tiny: Pipeline) -> None:
    card = FakeCard()
    pipe = on(card, build(TINY))
    request = GenerateRequest(prompt="a red house", seeds=(1, 2, 3), steps=3, guidance=3.0)
    found, wanted = pipe(request), tiny(request)
    for ours, theirs in zip(found.pictures, wanted.pictures, strict=True):
        assert max(abs(a - b) for a, b in zip(ours.rgb, theirs.rgb, strict=True)) <= 1
    assert card.recorded == 2  # the U-Net and the decoder, all three pictures at once
    assert card.played >= 4
    again = pipe(request)
    assert card.recorded == 2
    assert [p.rgb for p in again.pictures] == [p.rgb for p in found.pictures]


def test_batches_are_as_large_as_the_card_has_room(build: Build) -> None:
    card = FakeCard()
    pipe = on(card, build(TINY))
    request = pipe.settled(GenerateRequest(prompt="a red house"))
    assert pipe.batch is None
    assert pipe.at_once(request) == MOST
    card.size = card.used + 10**7
    assert 1 < pipe.at_once(request) < MOST
    card.size = 0
    assert pipe.at_once(request) == 1


def test_a_drawing_that_is_cancelled_leaves_the_next_one_alone(build: Build) -> None:
    pipe = on(FakeCard(), build(TINY))
    request = GenerateRequest(prompt="a red house", seeds=(1,), steps=3)
    wanted = pipe(request).pictures[0].rgb
    for event in pipe.stream(request):
        if isinstance(event, Denoised):
            break
    assert pipe(request).pictures[0].rgb == wanted


def test_shortcuts_are_taken_on_a_card_too(build: Build) -> None:
    pipe = on(FakeCard(), build(TINY))
    plain = pipe("a red house", seeds=(1,), steps=4).pictures[0]
    for shortcut in ({"reuse": 2}, {"merge": 0.5}):
        assert pipe("a red house", seeds=(1,), steps=4, **shortcut).pictures[0].rgb != plain.rgb


def test_where_the_model_is_is_told_and_too_little_memory_too(build: Build, monkeypatch) -> None:
    card: Any = FakeCard()
    pipe = Pipeline.of(build(TINY), "auto", Placing(card, "model", "offload model: …"))

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    pipe.unet.down[0].register_forward_pre_hook(full)
    stream = pipe.stream(GenerateRequest(prompt="a red house", seeds=(1, 2)))
    loaded = next(stream)
    assert isinstance(loaded, Loaded)
    assert loaded.note == "offload model: …"
    with pytest.raises(OutOfMemory, match="hint: draw fewer at a time, or smaller, or take offload "):
        list(stream)
