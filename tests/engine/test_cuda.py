"""On a real CUDA device: the same pictures, by graphs, compiled, and on cards too small for the model.

Run by `make test-gpu`. Pictures are compared with the CPU's in float32, where both calculate nearly the same.
"""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fromnoise.engine.card import Card
from fromnoise.engine.graphs import Graphed, for_card
from fromnoise.engine.offload import Kind, Offload
from fromnoise.engine.placing import Placing, placed
from fromnoise.engine.precision import native_dtype
from fromnoise.errors import OutOfMemory
from fromnoise.events import Denoised
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.pipeline import Pipeline
from fromnoise.request import FilledRequest, GenerateRequest
from fromnoise.specs import TINY, ModelSpec
from fromnoise.train.loop import Run
from fromnoise.train.oracle import OracleTask
from fromnoise.train.pool import open_pool
from fromnoise.train.presets import TINY_RUN
from fromnoise.train.stages import make_pool
from fromnoise.weights.native import Parts

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
Build = Callable[[ModelSpec], Parts]

LEVELS = 3  # of 255: a few roundings
HALF = 0.05  # relative error of a random network in half precision


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture
def card() -> Card:
    return Card(torch.device("cuda", torch.cuda.current_device()))


@pytest.fixture
def unet() -> UNet:
    torch.manual_seed(1)
    return UNet(TINY.unet).eval().requires_grad_(False)


def on(card: Card, parts: Parts, engine: str = "auto", offload: str = "none") -> Pipeline:
    placing = placed(dict(parts.modules()), parts.spec, card.device, engine, offload)
    return Pipeline.of(parts, engine, placing)


def request(**fields: object) -> GenerateRequest:
    return GenerateRequest(prompt="a red house", **{"seeds": (1, 2), "steps": 4, **fields})  # type: ignore[arg-type]


def apart(ours: Pipeline, theirs: Pipeline, asked: GenerateRequest) -> int:
    """The largest difference between any two bytes."""
    pairs = zip(ours(asked).pictures, theirs(asked).pictures, strict=True)
    return max(abs(a - b) for one, two in pairs for a, b in zip(one.rgb, two.rgb, strict=True))


def ask(network: nn.Module, side: int, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    latents = torch.randn(2, 4, side, side, generator=chance).to(device, dtype)
    context = torch.randn(4, 7, TINY.unet.context_width, generator=chance).to(device, dtype)
    with torch.inference_mode():
        return network(latents, torch.tensor([10.0, 900.0]).to(device), context)


# --- the same pictures ---


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (72, 88)])
def test_pictures_are_the_cpus(build: Build, tiny: Pipeline, card: Card, engine: str, size) -> None:
    width, height = size
    assert apart(on(card, build(TINY), engine), tiny, request(width=width, height=height)) <= LEVELS


def test_compiled_pictures_are_the_cpus(build: Build, tiny: Pipeline, card: Card) -> None:
    pipe = on(card, build(TINY), "compiled")
    assert apart(pipe, tiny, request()) <= LEVELS
    assert apart(pipe, tiny, request(seeds=(5, 6))) <= LEVELS  # played back


@pytest.mark.parametrize("kind", ["model", "blocks"])
def test_offloaded_pictures_are_the_same(build: Build, tiny: Pipeline, card: Card, kind: str) -> None:
    pipe = on(card, build(TINY), offload=kind)
    for seeds in ((1, 2), (3, 4)):
        assert apart(pipe, tiny, request(seeds=seeds)) <= LEVELS


def test_masks_pictures_and_shortcuts(build: Build, tiny: Pipeline, card: Card, gradient) -> None:
    pipe = on(card, build(TINY))
    start = gradient(64, 64)
    ours = pipe(request(seeds=(1,), strength=0.6), picture=start)
    theirs = tiny(request(seeds=(1,), strength=0.6), picture=start)
    both = zip(ours.pictures[0].rgb, theirs.pictures[0].rgb, strict=True)
    assert max(abs(a - b) for a, b in both) <= LEVELS
    assert apart(pipe, tiny, request(reuse=2)) <= LEVELS


# --- graphs ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, None])
def test_a_recording_gives_what_the_network_gives(unet: UNet, card: Card, dtype) -> None:
    dtype = dtype or native_dtype(card.device)
    wanted = {side: ask(unet, side, torch.device("cpu"), torch.float32) for side in (8, 16, 18)}
    graphed = for_card(unet.to(card.device, dtype), card)
    for side in (8, 16, 18, 8):
        found = ask(graphed, side, card.device, dtype).float().cpu()
        error = float((found - wanted[side]).norm() / wanted[side].norm())
        assert error <= (1e-3 if dtype == torch.float32 else HALF)
    assert isinstance(graphed, Graphed)
    assert len(graphed.recordings) == 3
    assert graphed.unrecorded == {}


def test_graphs_share_memory_without_disturbing_each_other(unet: UNet, card: Card) -> None:
    unet.to(card.device)
    torch.manual_seed(2)
    decoder = Decoder(TINY.vae).eval().requires_grad_(False).to(card.device)
    drawing, painting = for_card(unet, card), for_card(decoder, card)
    latents = torch.randn(2, 4, 16, 16).to(card.device)
    first = ask(drawing, 16, card.device, torch.float32), painting(latents)
    for side in (8, 24, 16):
        ask(drawing, side, card.device, torch.float32, seed=side)
        painting(latents * 2)
    again = ask(drawing, 16, card.device, torch.float32), painting(latents)
    for one, two in zip(first, again, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_exchanged_weights_are_used(unet: UNet, card: Card) -> None:
    graphed = for_card(unet.to(card.device), card)
    before = ask(graphed, 16, card.device, torch.float32)
    original, unet.leave.weight = unet.leave.weight, nn.Parameter(unet.leave.weight * 2, requires_grad=False)
    changed = ask(graphed, 16, card.device, torch.float32)
    assert not torch.allclose(changed, before)
    torch.testing.assert_close(changed, ask(unet, 16, card.device, torch.float32), rtol=1e-3, atol=1e-3)
    unet.leave.weight = original
    torch.testing.assert_close(ask(graphed, 16, card.device, torch.float32), before, rtol=1e-3, atol=1e-3)


def test_what_a_recording_may_not_do_is_drawn_with_a_warning(unet: UNet, card: Card) -> None:
    unet.to(card.device)
    unet.down[0].register_forward_hook(lambda *_: torch.cuda.synchronize())
    with pytest.warns(RuntimeWarning, match="UNet draws without a CUDA graph"):
        found = ask(for_card(unet, card), 16, card.device, torch.float32)
    torch.testing.assert_close(found, ask(unet, 16, card.device, torch.float32), rtol=1e-3, atol=1e-3)


# --- memory ---


def test_weights_that_wait_leave_the_card(build: Build, card: Card) -> None:
    parts = build(TINY)
    before = torch.cuda.memory_allocated(card.device)
    kinds: tuple[Kind, ...] = ("model", "blocks")
    for kind in kinds:
        offload = Offload(card, dict(parts.modules()), kind, work=0)
        for name in offload.all:
            offload.ask_for(name)
            offload.send_away(name)
        assert torch.cuda.memory_allocated(card.device) == before
        for _, network in parts.modules():
            assert {p.device.type for p in network.parameters()} == {"cpu"}


def test_too_large_a_picture_says_what_to_do(build: Build, card: Card, monkeypatch) -> None:
    pipe = on(card, build(TINY))
    rows = card.free() // (4 * 4 * 4) + 1  # latents alone are larger than the card

    def blank(self: Pipeline, asked: FilledRequest, count: int) -> Tensor:
        return torch.empty(count, 4, 4, rows, device=self.device)

    monkeypatch.setattr(Pipeline, "_blank", blank)
    with pytest.raises(OutOfMemory, match=r"do not fit on cuda.*\n.*draw fewer at a time, or smaller"):
        pipe(request())
    monkeypatch.undo()
    assert len(pipe(request()).pictures) == 2  # and the next one is drawn


def test_the_settings_of_torch_are_left_alone(build: Build, card: Card) -> None:
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    on(card, build(TINY))(request())
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32) == before


# --- drawing ---


def test_many_pictures_are_drawn_at_once_each_from_its_seed(build: Build, card: Card) -> None:
    pipe = on(card, build(TINY))
    seeds = tuple(range(40))
    assert pipe.at_once(pipe.settled(request(seeds=seeds))) >= len(seeds)
    together = pipe(request(seeds=seeds)).pictures
    for seed in (0, 17, 39):
        (alone,) = pipe(request(seeds=(seed,))).pictures
        assert max(abs(a - b) for a, b in zip(alone.rgb, together[seed].rgb, strict=True)) <= LEVELS


def test_cancelling_leaves_the_next_drawing_alone(build: Build, card: Card) -> None:
    pipe = on(card, build(TINY))
    wanted = pipe(request()).pictures
    for event in pipe.stream(request(seeds=(9,))):
        if isinstance(event, Denoised):
            break
    assert [p.rgb for p in pipe(request()).pictures] == [p.rgb for p in wanted]


# --- training ---


def test_a_training_moves_between_devices(tmp_path: Path) -> None:
    list(make_pool(tmp_path, TINY_RUN))
    pool, recipe = open_pool(tmp_path / "pool"), TINY_RUN.oracle

    def steps(device: str, count: int) -> Run:
        told = replace(recipe, device=device)
        run = Run(OracleTask(TINY_RUN.oracle_spec, pool, told), told, tmp_path / "oracle")
        for _ in range(count):
            run.train_step()
        run.save()
        return run

    on_cpu = steps("cpu", 1)
    on_card = steps("cuda", 1)
    assert (on_cpu.step, on_card.step) == (1, 2)
    assert {t.device.type for t in on_card.tensors().values()} == {"cuda"}
    back = steps("cpu", 0)
    assert back.step == 2
    for name, tensor in on_card.tensors().items():
        assert torch.equal(back.tensors()[name], tensor.cpu())
    assert "device cuda -> cpu" in " ".join(back.notes)


def test_a_placing_on_the_card_draws_nothing_exact(build: Build, card: Card) -> None:
    pipe = on(card, build(TINY))
    assert isinstance(pipe.placing, Placing)
    assert pipe.batch is None
    assert pipe.device == card.device
