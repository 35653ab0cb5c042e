"""Ancestral sampling: the first sampler of denoising diffusion, and the shortest."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt

from fromnoise.noise.samplers.step import Denoise, L, Noise, Step


def ddpm(denoise: Denoise[L], x: L, sigmas: Sequence[float], *, noise: Noise[L]) -> Iterator[Step[L]]:
    """Draw from the posterior q(x_next | x, x0): shrink towards x0, then put back a little noise.

    Source: Ho et al. 2020, eq. 6-7 (arXiv:2006.11239), written for x = x0 + sigma * eps
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, sigma)
        shrink = (sigma_next / sigma) ** 2
        x = x0 + shrink * (x - x0)
        if sigma_next > 0:
            x = x + sigma_next * sqrt(1 - shrink) * noise(x, sigma, sigma_next)
        yield Step(i, sigma, sigma_next, x, x0)
