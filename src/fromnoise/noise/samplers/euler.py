"""Straight lines along the slope, with and without fresh noise."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from fromnoise.noise.samplers.ancestral import split
from fromnoise.noise.samplers.step import Denoise, L, Noise, Step


def euler(denoise: Denoise[L], x: L, sigmas: Sequence[float], *, noise: Noise[L]) -> Iterator[Step[L]]:
    """Follow the slope at the start of each step. One evaluation per step, order 1; the same path as DDIM.

    Source: Karras et al. 2022, alg. 1 without the correction (arXiv:2206.00364)
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, sigma)
        # x + (sigma_next - sigma) * slope, arranged to end exactly on x0 and to bear an enormous first sigma
        x = x0 + (sigma_next / sigma) * (x - x0)
        yield Step(i, sigma, sigma_next, x, x0)


def euler_a(
    denoise: Denoise[L], x: L, sigmas: Sequence[float], *, noise: Noise[L], eta: float = 1.0
) -> Iterator[Step[L]]:
    """Follow the slope below the next level, then rise to it with fresh noise; at `eta` 1 the same as DDPM.

    Source: the "Euler a" of Stable Diffusion's users; its variance is Song et al. 2021, eq. 16
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, sigma)
        down, up = split(sigma, sigma_next, eta)
        x = x0 + (down / sigma) * (x - x0)
        if up > 0:
            x = x + up * noise(x, sigma, sigma_next)
        yield Step(i, sigma, sigma_next, x, x0)
