"""A device that holds shapes and no numbers: torch refuses, as for a graphics card, what lies elsewhere.

`python tests/absent_card.py FOLDER` trains every stage for two steps on it, looks, and draws a picture.
It runs alone, for torch's registration of a device lasts as long as the process.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

ABSENT: Final = "absent"
DEVICE: Final = f"{ABSENT}:0"


class AbsentCard(TorchDispatchMode):
    """Whatever touches the device is done without numbers, everything else as always."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(shape_env=ShapeEnv())  # masks pick nobody knows how many

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = tree_leaves((args, kwargs))
        if not any(isinstance(each, FakeTensor) or _is_absent(each) for each in given):
            return func(*args, **kwargs)
        args, kwargs = tree_map(self._without_numbers, (args, kwargs))
        with self.fake:
            return func(*args, **kwargs)

    def _without_numbers(self, each: Any) -> Any:
        return (
            self.fake.from_tensor(each, static_shapes=True)
            if isinstance(each, Tensor) and not _is_fake(each)
            else each
        )


def _is_fake(each: Any) -> bool:
    return isinstance(each, FakeTensor)


def _is_absent(each: Any) -> bool:
    return isinstance(each, torch.device) and each.type == ABSENT


def refuses() -> None:
    """What this is for: two devices in one sum are an error."""
    try:
        torch.ones(2, device=DEVICE) + torch.ones(2)
    except RuntimeError:
        return
    raise AssertionError("it sees no difference between devices")


def rehearse(folder: Path) -> None:
    """Every stage's task, and a drawing.  Raises: RuntimeError where tensors lie on different devices"""
    from fromnoise.nets.clip import TextTransformer
    from fromnoise.nets.decoder import Decoder
    from fromnoise.nets.encoder import Encoder
    from fromnoise.nets.oracle import Oracle
    from fromnoise.train.clip import ClipTask
    from fromnoise.train.decoder import DecoderTask
    from fromnoise.train.loop import Run
    from fromnoise.train.oracle import OracleTask
    from fromnoise.train.pointing import Words
    from fromnoise.train.pool import CAPTIONS, open_pool
    from fromnoise.train.presets import TINY_RUN
    from fromnoise.train.stages import make_pool
    from fromnoise.train.unet import LatentPool, UNetTask
    from fromnoise.train.vae import VaeTask

    list(make_pool(folder / "pool", TINY_RUN))
    pool, spec = open_pool(folder / "pool" / "pool"), TINY_RUN.spec
    recipe = replace(TINY_RUN.vae, device=DEVICE, steps=4)
    text = spec.texts[0]
    tokens = torch.zeros(len(pool), CAPTIONS, text.context, dtype=torch.int16)
    side = spec.defaults.width // spec.vae.factor
    labels = pool.kinds[:, :side, :side]
    none = torch.zeros(text.vocab, dtype=torch.uint8)
    words = Words(none, none)
    latents = LatentPool(torch.randn(len(pool), 4, side, side), tokens, labels, labels, tokens[0, 0], words)

    def encode(texts: Any) -> Tensor:
        return torch.zeros(len(texts), text.context, dtype=torch.int64)

    unet_recipe = TINY_RUN.told("unet", device=DEVICE).unet
    tasks: dict[str, Callable[[], Any]] = {
        "oracle": lambda: OracleTask(TINY_RUN.oracle_spec, pool, recipe),
        "vae": lambda: VaeTask(spec.vae, pool, recipe, oracle=Oracle(TINY_RUN.oracle_spec)),
        "decoder": lambda: DecoderTask(spec.vae, pool, recipe, Encoder(spec.vae), Decoder(spec.vae)),
        "clip": lambda: ClipTask(text, TINY_RUN.image_tower, pool, tokens, recipe),
        "unet": lambda: UNetTask(
            spec,
            latents,
            TextTransformer(text),
            Decoder(spec.vae),
            encode,
            ["a house"],
            unet_recipe,
        ),
    }
    for name, make in tasks.items():
        run = Run(make(), recipe, folder / name)
        for _ in range(2):
            run.train_step()
        run.look()
        assert {p.device.type for p in run.parameters.values()} == {ABSENT}, name
        assert {t.device.type for t in run.tensors().values()} == {ABSENT}, name
        print(name)


def draw() -> None:
    """A guided picture of SDXL's kind, from the prompt to the pixels."""
    from conftest import parts_of

    from fromnoise.pipeline import Pipeline
    from fromnoise.request import Picture
    from fromnoise.specs import TINY

    def pictures(pixels: Tensor, seeds: Any) -> tuple[Picture, ...]:
        assert pixels.device.type == ABSENT
        return tuple(Picture(8, 8, bytes(192), seed) for seed in seeds)

    for conditioned in (False, True):
        spec = TINY
        if conditioned:
            texts = (replace(TINY.texts[0], projection=24),)
            spec = replace(TINY, texts=texts, unet=replace(TINY.unet, pooled_width=24 + 6 * 256))
        parts = parts_of(spec)
        for _, network in parts.modules():
            network.to(DEVICE)
        with patch("fromnoise.pipeline.to_pictures", pictures):
            drawn = Pipeline.of(parts, "plain")("a house", seeds=(1, 2), steps=2, guidance=3.0)
        assert len(drawn.pictures) == 2
    print("drawing")


def _one(tensor: Tensor) -> float:
    return 1.0 if tensor.is_floating_point() else 1


def _ones(tensor: Tensor) -> Any:
    return [_ones(row) for row in tensor] if tensor.ndim else _one(tensor)


ANSWERS: Final = {"item": _one, "__float__": _one, "__bool__": lambda tensor: True, "tolist": _ones}


def _nothing(*_: Any, **__: Any) -> Any:
    return nullcontext()


def main() -> None:
    """Rehearse in the folder that is named."""
    _setup_privateuseone_for_python_backend(ABSENT)
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor` begins on the CPU, and asks us for the rest
    nothing = patch.multiple(torch, autocast=_nothing)
    sheets = [patch(f"fromnoise.train.{name}.save_sheet", _nothing) for name in ("vae", "unet")]
    answers = patch.multiple(FakeTensor, **ANSWERS)
    with nothing, answers, patch("torch.random.fork_rng", _nothing), sheets[0], sheets[1], AbsentCard():
        refuses()
        draw()
        rehearse(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
