"""Implicit sampling: the same marginals as DDPM, with as much fresh noise as one likes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from fromnoise.noise.samplers.ancestral import split
from fromnoise.noise.samplers.step import Denoise, L, Noise, Step


def ddim(
    denoise: Denoise[L], x: L, sigmas: Sequence[float], *, noise: Noise[L], eta: float = 0.0
) -> Iterator[Step[L]]:
    """Keep the predicted noise (`eta` 0), renew all of it that DDPM would (`eta` 1), or go between.

    Source: Song et al. 2021, eq. 12 and 16 (arXiv:2010.02502), written for x = x0 + sigma * eps
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, sigma)
        eps = (x - x0) / sigma
        kept, renewed = split(sigma, sigma_next, eta)
        x = x0 + kept * eps
        if renewed > 0:
            x = x + renewed * noise(x, sigma, sigma_next)
        yield Step(i, sigma, sigma_next, x, x0)
