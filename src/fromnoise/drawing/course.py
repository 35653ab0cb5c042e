"""How a drawing goes: the noise it starts with, the levels on its way, and what is asked at each of them."""

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from fromnoise.drawing.canvas import Canvas
from fromnoise.drawing.settling import kind_of
from fromnoise.noise.denoiser import Conditioning, Denoiser, Process
from fromnoise.noise.descent import entered_at, level_at, taken_over_at
from fromnoise.noise.guidance import edited, guided, handed_over, interval, masked, told, unguided
from fromnoise.noise.samplers import Denoise
from fromnoise.noise.schedule import Schedule
from fromnoise.request import FilledRequest
from fromnoise.specs import ModelSpec

BATCH: Final = 4  # pictures at a time, where they need not be exact


def batches(seeds: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Consecutive runs of at most `size` seeds."""
    return (seeds[at : at + size] for at in range(0, len(seeds), size))


def start(
    request: FilledRequest, canvas: Canvas, process: Process, eps: Tensor
) -> tuple[Tensor, list[float]]:
    """Pure noise, or the source with as much on it as the strength says; and the way down from there."""
    sigmas = process.schedule.sigmas(request.steps, request.spacing)
    if canvas.source is None or request.strength is None:
        return process.start(eps, sigmas[0]), sigmas
    sigmas = entered_at(level_at(process.schedule, request.strength), sigmas)
    x = canvas.source + sigmas[0] * eps
    if request.strength == 1 and canvas.latent_mask is not None:  # nothing is left of what is drawn anew
        x = torch.lerp(x, process.start(eps, sigmas[0]), canvas.latent_mask)
    return x, sigmas


def follow(
    request: FilledRequest, spec: ModelSpec, denoiser: Denoiser, cond: Conditioning, uncond: Conditioning
) -> Denoise[Tensor]:
    """A model with all that it is told, guided as the request says."""
    scale, rescale, width = request.guidance, request.guidance_rescale, spec.unet.guidance_width
    plain = told(denoiser, cond, 1.0, width) if width else unguided(denoiser, cond)
    if width:
        denoise = told(denoiser, cond, scale, width)
    elif kind_of(spec) == "edit" and request.image_guidance is not None:
        denoise = edited(denoiser, cond, uncond, scale, request.image_guidance, rescale=rescale)
    else:
        denoise = guided(denoiser, cond, uncond, scale, rescale=rescale)
    if request.guidance_interval is None:
        return denoise
    return interval(denoise, plain, *request.guidance_interval)


def refined(
    request: FilledRequest,
    schedule: Schedule | None,
    denoise: Denoise[Tensor],
    late: Denoise[Tensor] | None,
) -> Denoise[Tensor]:
    """With a refiner (`late`, of this schedule), if there is one: it takes over where the request says."""
    if schedule is None or late is None or request.refine_from is None:
        return denoise
    return handed_over(denoise, late, taken_over_at(schedule, request.refine_from))


def kept(canvas: Canvas, denoise: Denoise[Tensor]) -> Denoise[Tensor]:
    """With a mask: what it leaves out is known."""
    if canvas.source is None or canvas.latent_mask is None:
        return denoise
    return masked(canvas.source, canvas.latent_mask)(denoise)
