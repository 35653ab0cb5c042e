"""Euler, then the same step again with the average of both slopes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from fromnoise.noise.samplers.step import Denoise, L, Noise, Step

# The correction moves x by (x0 change) / (2 * ratio): past this ratio of sigmas it is an explosion, not an
# improvement. The first step from pure noise is such a one.
STEEPEST_RATIO = 0.01


def heun(denoise: Denoise[L], x: L, sigmas: Sequence[float], *, noise: Noise[L]) -> Iterator[Step[L]]:
    """Average the slopes at both ends of each step. Two evaluations per step (one for the last), order 2.

    Source: Karras et al. 2022, alg. 1 (arXiv:2206.00364)
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, sigma)
        slope = (x - x0) / sigma
        euler = x0 + sigma_next * slope
        if sigma_next > STEEPEST_RATIO * sigma:
            slope_next = (euler - denoise(euler, sigma_next)) / sigma_next
            x = euler + (sigma_next - sigma) / 2 * (slope_next - slope)
        else:
            x = euler
        yield Step(i, sigma, sigma_next, x, x0)
