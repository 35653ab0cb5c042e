"""Where to stop on the way down: a few noise levels out of the many that a model was trained on.

A ladder spaces sigmas between two ends; a clock spaces training times. Both return `steps` falling values.
"""

from collections.abc import Callable, Mapping

from fromnoise.errors import RequestError

# Source: Karras et al. 2022, table 1 (arXiv:2206.00364)
KARRAS_RHO = 7.0

Ladder = Callable[[int, float, float], list[float]]
"""(steps, high, low) -> sigmas, from high to low."""

Clock = Callable[[int, int, int], list[float]]
"""(steps, first, count) -> times, out of the `count` that training knows: first, first + 1, …"""


def linspace(steps: int, high: float, low: float) -> list[float]:
    """Equal distances from high to low, both included (high alone if there is one step)."""
    return [high + (low - high) * i / max(steps - 1, 1) for i in range(steps)]


def karras(steps: int, high: float, low: float) -> list[float]:
    """Small strides where sigma is small.

    Source: Karras et al. 2022, eq. 5 (arXiv:2206.00364)
    """
    roots = linspace(steps, high ** (1 / KARRAS_RHO), low ** (1 / KARRAS_RHO))
    return [root**KARRAS_RHO for root in roots]


def exponential(steps: int, high: float, low: float) -> list[float]:
    """Equal distances in log(sigma)."""
    return [high * (low / high) ** (i / max(steps - 1, 1)) for i in range(steps)]


def every_time(steps: int, first: int, count: int) -> list[float]:
    """Equal distances from the last time to the first, both included."""
    return linspace(steps, first + count - 1, first)


def leading(steps: int, first: int, count: int) -> list[float]:
    """Whole strides counted from the clean end, one time above it; may miss the noisiest times.

    Source: Lin et al. 2023, table 2 (arXiv:2305.08891); the one above is Stable Diffusion's `steps_offset`
    """
    stride = _stride(steps, count)
    above = 1 if stride * (steps - 1) + 1 < count else 0
    return [float(first + above + stride * i) for i in reversed(range(steps))]


def trailing(steps: int, first: int, count: int) -> list[float]:
    """Whole strides counted from the noisy end: always starts at the noisiest time.

    Source: Lin et al. 2023, table 2 (arXiv:2305.08891)
    """
    _stride(steps, count)
    return [float(first - 1 + round(count - i * count / steps)) for i in range(steps)]


def uniform(steps: int, first: int, count: int) -> list[float]:
    """Equal distances from the noisiest time to 0, which is left to the final sigma of 0."""
    return linspace(steps + 1, first + count - 1, 0)[:-1]


def _stride(steps: int, count: int) -> int:
    if steps > count:
        problem = f"{steps} is more than the {count} times of this model, and this spacing has no more"
        raise RequestError({"steps": problem}, hint="take fewer steps, or spacing 'karras' or 'uniform'")
    return count // steps


LADDERS: Mapping[str, Ladder] = {"karras": karras, "exponential": exponential}
CLOCKS: Mapping[str, Clock] = {
    "leading": leading,
    "linspace": every_time,
    "trailing": trailing,
    "uniform": uniform,
}
