"""DPM-Solver++: solve the linear part of the flow exactly, extrapolate the network's part."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log

from fromnoise.noise.samplers.step import Denoise, L, Noise, Step


def dpmpp_2m(denoise: Denoise[L], x: L, sigmas: Sequence[float], *, noise: Noise[L]) -> Iterator[Step[L]]:
    """Extrapolate x0 from this step and the last. One evaluation per step, order 2.

    Source: Lu et al. 2022, alg. 2 (arXiv:2211.01095); h is the step in log(1 / sigma)
    """
    last: tuple[L, float] | None = None  # x0 and h of the step before
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = target = denoise(x, sigma)
        ratio = sigma_next / sigma
        if ratio > 0:  # the last step has nowhere to extrapolate to
            h = -log(ratio)
            if last is not None:
                x0_last, h_last = last
                target = x0 + (h / (2 * h_last)) * (x0 - x0_last)
            last = x0, h
        x = target + ratio * (x - target)
        yield Step(i, sigma, sigma_next, x, x0)
