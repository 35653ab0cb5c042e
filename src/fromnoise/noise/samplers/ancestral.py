"""The arithmetic that ancestral samplers share."""

from math import sqrt


def split(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """Part `sigma_next` into noise that is kept and noise that is drawn afresh.

    The two are independent, so their squares add up to `sigma_next` squared. `eta` 0 keeps everything,
    1 renews as much as DDPM does.
    Source: Song et al. 2021, eq. 16 (arXiv:2010.02502), written for x = x0 + sigma * eps
    """
    share = min(eta * sqrt(1 - (sigma_next / sigma) ** 2), 1.0)  # squares of levels would underflow
    return sigma_next * sqrt(1 - share**2), sigma_next * share
