"""The way down from noise to picture: where on it to begin, and which levels a sampler asks at."""

from collections.abc import Sequence
from math import inf

import torch

from fromnoise.noise.samplers import SAMPLERS
from fromnoise.noise.schedule import Schedule


def level_at(schedule: Schedule, share: float) -> float:
    """The noise level at a share of the time axis: 0 the cleanest, 1 the noisiest."""
    time = torch.tensor([share * schedule.times[-1]], dtype=torch.float64)
    return float(schedule.sigma_of(schedule.shifted(time)))


def taken_over_at(schedule: Schedule, share: float) -> float:
    """The noise level below which a refiner is asked, after this share of its way: 0 always, 1 never."""
    return inf if share == 0 else 0.0 if share == 1 else level_at(schedule, 1 - share)


def entered_at(level: float, sigmas: Sequence[float]) -> list[float]:
    """The rest of the way down from `level`, which takes the place of the rung nearest to it.

    Units: nearness in log(sigma), so that the first stride is half to one and a half of a usual one
    """
    level = min(level, sigmas[0])
    below = [sigma for sigma in sigmas if sigma < level]
    above = sigmas[len(sigmas) - len(below) - 1]
    if level**2 < above * below[0]:
        below = below[1:]
    return [level, *below]


def asked_at(sampler: str, sigmas: Sequence[float]) -> list[float]:
    """The noise levels at which a sampler asks for the clean latent, in its order: some ask twice a step."""
    levels = list[float]()

    def denoise(_: float, sigma: float) -> float:
        levels.append(sigma)
        return 0.0

    for _ in SAMPLERS[sampler](denoise, sigmas[0], sigmas, noise=lambda like, sigma, sigma_next: 0.0):
        pass
    return levels
