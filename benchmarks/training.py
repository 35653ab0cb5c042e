"""How fast the embedded model's U-Net is trained, side by side with the same network in diffusers.

Forward, backward and AdamW at batch 64, on whatever this machine has: in bfloat16 where it is native, else in
float32. The two take turns, with weights in the same order.

python benchmarks/training.py [--rounds 5] [--batch 64]
"""

import platform
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from time import perf_counter
from typing import Any

import torch
from run import commit, processor
from torch import Tensor, nn

from fromnoise.engine.memory import kept_memory
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import UNetSpec
from fromnoise.train.device import autocast, number_of
from fromnoise.train.presets import MITE

STEPS = 3  # a round
TOKENS, SIDE = 32, 16
CPU = torch.device("cpu")

Step = Callable[[], object]


def peer(spec: UNetSpec) -> nn.Module:
    """The same network as diffusers builds it, with its fastest attention (the default)."""
    from diffusers import UNet2DConditionModel

    network: Any = UNet2DConditionModel(
        in_channels=spec.in_channels,
        out_channels=spec.out_channels,
        block_out_channels=tuple(spec.widths),
        layers_per_block=len(spec.down[0]),
        down_block_types=tuple("CrossAttnDownBlock2D" if any(d) else "DownBlock2D" for d in spec.down),
        up_block_types=tuple("CrossAttnUpBlock2D" if any(d) else "UpBlock2D" for d in spec.up),
        attention_head_dim=tuple(map(spec.heads_for, spec.widths)),  # their name for the number of heads
        cross_attention_dim=spec.context_width,
        use_linear_projection=spec.linear_projection,
        norm_num_groups=spec.groups,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=spec.pooled_width,
    )
    return network


def steps_of(network: nn.Module, call: Callable[..., Tensor], batch: int) -> Step:
    """One training step of a network."""
    spec = MITE.unet
    if number_of(CPU) == torch.float32:  # as the trainer has it; diffusers' own is sooner so, too
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    x = torch.randn(batch, spec.in_channels, SIDE, SIDE)
    inputs = (x, torch.rand(batch) * 1000, torch.randn(batch, TOKENS, spec.context_width))
    pooled = torch.randn(batch, spec.pooled_width or 0)

    def step() -> None:
        with autocast(CPU):
            answer = call(*inputs, pooled)
        (answer.float() - x).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def rates(contestants: dict[str, Step], rounds: int, batch: int) -> dict[str, list[float]]:
    """Pictures a second in each round, after one that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, step in contestants.items():
            began = perf_counter()
            for _ in range(STEPS):
                step()
            found[name].append(batch * STEPS / (perf_counter() - began))
    return {name: rates[1:] for name, rates in found.items()}


def main() -> None:
    """Race, and print a table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    asked = parser.parse_args()
    ours, theirs = UNet(MITE.unet), peer(MITE.unet)
    contestants = {
        "diffusers": steps_of(theirs, lambda x, t, c, p: theirs(x, t, c, class_labels=p).sample, asked.batch),
        "fromnoise": steps_of(ours, ours, asked.batch),
    }
    size = sum(p.numel() for p in ours.parameters()) / 1e6
    print(f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, torch {torch.__version__}, {processor()}")
    print(f"Python {platform.python_version()}, {number_of(CPU)}")
    print(f"U-Net of {size:.1f} M parameters, batch {asked.batch}")
    with kept_memory():  # both in the one process, which keeps what it frees
        measured = rates(contestants, asked.rounds, asked.batch)
    base = median(measured["diffusers"])
    for name, found in measured.items():
        middle = median(found)
        print(
            f"{name:12}{middle:8.1f} pictures/s  ({min(found):.1f}–{max(found):.1f})  x {middle / base:.2f}"
        )


if __name__ == "__main__":
    main()
