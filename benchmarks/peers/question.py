"""The same question to every system: a guided step at random numbers, and the way from noise to latents."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from benchmarks.peers.job import GUIDANCE, SEED
from fromnoise.noise.schedule import schedule_from
from fromnoise.noise.seeds import PerImageNoise
from fromnoise.specs import SD15

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(latents (2, 4, h, w), times (2,), context (2, 77, 768)) -> noise (2, 4, h, w): one guided step."""

Decode = Callable[[Tensor], Tensor]
"""Latents (1, 4, h, w) in the autoencoder's units -> pixels (1, 3, 8 h, 8 w)."""

SPACING: Final = "linspace"  # stable-diffusion.cpp calls it "discrete"


@dataclass(frozen=True, slots=True)
class Question:
    """As in drawing: the halves differ in their text alone, and the text stays the same over the steps."""

    latents: Tensor
    times: Tensor
    context: Tensor


def questions(size: int) -> Iterator[Question]:
    """One for each step; all in float32."""
    side, text = size // SD15.vae.factor, SD15.texts[0]
    generator = torch.Generator().manual_seed(SEED)
    context = torch.randn(2, text.context, text.width, generator=generator)
    time = 999.0
    while True:
        latents = torch.randn(1, SD15.unet.in_channels, side, side, generator=generator)
        yield Question(latents.repeat(2, 1, 1, 1), torch.full((2,), time), context)
        time = (time - 50) % 1000


def walk(predict: Predict, context: Tensor, steps: int, size: int) -> Tensor:
    """Euler's steps from noise to latents, which are given in the autoencoder's units.

    Shapes: `context` (2, 77, 768), unconditional row first -> (1, 4, h, w)
    """
    schedule, side = schedule_from(SD15.schedule), size // SD15.vae.factor
    sigmas = schedule.sigmas(steps, SPACING)
    noise = PerImageNoise((SEED,)).draw(torch.empty(1, SD15.vae.latent_channels, side, side))
    x = sigmas[0] * noise
    for sigma, after in pairwise(sigmas):
        level = torch.full((2,), sigma)
        shown = x * schedule.signal(level[:1])
        uncond, cond = predict(shown.repeat(2, 1, 1, 1), schedule.t_of(level), context).float().chunk(2)
        x = x + (after - sigma) * torch.lerp(uncond, cond, GUIDANCE)
    return x / SD15.vae.latent_scale


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """Of the whole tensor; infinite if it holds anything that is no number."""
    difference = found.float() - wanted
    return float(difference.norm() / wanted.norm()) if difference.isfinite().all() else float("inf")
