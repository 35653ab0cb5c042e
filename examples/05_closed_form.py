"""A denoiser that can be solved by hand: no network, no torch, and the exact answer to compare with.

If the data are N(0, s^2), the best guess of x0 and the path from noise to data are known in closed form.
Samplers are plain arithmetic, so they run on plain numbers.

    python examples/05_closed_form.py
"""

from math import log2, sqrt

import fromnoise as fn
from fromnoise.noise.spacings import karras

S = 0.7  # the standard deviation of the data
HIGH, LOW, START = 10.0, 0.05, 3.0


def denoise(x: float, sigma: float) -> float:
    return x * S**2 / (S**2 + sigma**2)


def no_noise(like: float, sigma: float, sigma_next: float) -> float:
    return 0.0


exact = START * sqrt((S**2 + LOW**2) / (S**2 + HIGH**2))

print("error after    20 steps   40 steps   80 steps   order")
for name in ("euler", "ddim", "heun", "dpmpp_2m"):
    errors = []
    for steps in (20, 40, 80):
        *_, last = fn.SAMPLERS[name](denoise, START, karras(steps + 1, HIGH, LOW), noise=no_noise)
        errors.append(abs(last.x - exact))
    print(f"{name:10}", *(f"{error:10.2e}" for error in errors), f"{log2(errors[1] / errors[2]):7.2f}")
