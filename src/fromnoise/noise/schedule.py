"""Training time t and noise level sigma are two names for one axis.

sigma   noise over signal: a noisy latent is x = x0 + sigma * eps everywhere outside the network
t       the timestep: 0 .. steps - 1, or for flow 0 .. steps (`steps` times the t in [0, 1] of the papers);
        what the network is told, but for EDM
signal  the factor that turns x into what the network is shown: signal * x0 + signal * sigma * eps
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from fromnoise.errors import RequestError, SpecError, did_you_mean
from fromnoise.noise.spacings import CLOCKS, LADDERS
from fromnoise.specs import ScheduleSpec, cosine_betas

Times = Float[Tensor, " b"]
Sigmas = Float[Tensor, " b"]

# Flow and zero-terminal schedules begin at sigma = infinity. This stands for it: the first float32 to which
# adding 1 changes nothing, so that the signal left in what the network sees is exactly lost, t is exactly the
# last time, and, being a power of two, scaling by it costs no precision. float16 latents cannot hold it.
PURE_NOISE = 2.0**24

# No ladder wastes rungs above this; a schedule that reaches higher gets there in its first step.
# Source: sigma_max in Karras et al. 2022, table 1 (arXiv:2206.00364)
LADDER_TOP = 80.0


class Schedule(ABC):
    """How noise was added in training, and where to stop when taking it away."""

    @property
    @abstractmethod
    def times(self) -> range:
        """The whole timesteps that training knows, cleanest first."""

    @abstractmethod
    def sigma_of(self, t: Times) -> Sigmas:
        """The noise level at each training time; between whole times it is interpolated."""

    @abstractmethod
    def t_of(self, sigma: Sigmas) -> Times:
        """The training time of each noise level."""

    def told(self, sigma: Sigmas) -> Times:
        """What the network is told about each noise level: its training time, but for EDM."""
        return self.t_of(sigma)

    @abstractmethod
    def signal(self, sigma: Sigmas) -> Float[Tensor, " b"]:
        """The factor that turns x0 + sigma * eps into what the network is shown."""

    def shifted(self, t: Times) -> Times:
        """Where a spacing's times really are; only flow schedules move them."""
        return t

    @property
    def data(self) -> float:
        """The standard deviation of the latents, in the U-Net's units; 1 but for EDM."""
        return 1.0

    @property
    def ladder_top(self) -> float:
        """Above this no ladder has rungs, but for its first."""
        return LADDER_TOP

    @property
    def sigma_max(self) -> float:
        """The noise level of the noisiest training time."""
        return self._levels(_as_times(self.times[-1]))[0]

    def sigmas(self, steps: int, spacing: str) -> list[float]:
        """The noise levels that a sampler visits: `steps` falling ones, then 0.

        Raises: RequestError for an unknown spacing, or steps that the spacing cannot serve
        """
        if steps < 1:
            raise RequestError({"steps": f"{steps} is less than 1"})
        if ladder := LADDERS.get(spacing):
            low, high = self._levels(_as_times(self.times[0], self.times[-1]))
            return [high, *ladder(steps, min(high, self.ladder_top), low)[1:], 0.0]
        if clock := CLOCKS.get(spacing):
            times = clock(steps, self.times[0], len(self.times))
            return [*self._levels(self.shifted(_as_times(*times))), 0.0]
        known = (*LADDERS, *CLOCKS)
        raise RequestError({"spacing": f"{spacing!r} is unknown; {did_you_mean(spacing, known)}"})

    def _levels(self, times: Times) -> list[float]:
        return cast(list[float], self.sigma_of(times).tolist())


@dataclass(frozen=True, slots=True, eq=False)
class DiscreteSchedule(Schedule):
    """Variance preserved, by a table: the network sees sqrt(alpha_bar) * x0 + sqrt(1 - alpha_bar) * eps.

    Source: Ho et al. 2020, eq. 4 (arXiv:2006.11239)
    """

    table: Float[Tensor, " steps"]  # sigma at t = 0, 1, 2, …; rising, float64, on the CPU

    @property
    def times(self) -> range:
        """0 .. steps - 1."""
        return range(len(self.table))

    def sigma_of(self, t: Times) -> Sigmas:
        """Interpolated in log(sigma)."""
        t = at_least_float32(t)
        table = self.table.to(t.dtype).to(t.device)
        low, part = locate(t, torch.arange(len(table), dtype=t.dtype, device=t.device))
        return table[low] ** (1 - part) * table[low + 1] ** part

    def t_of(self, sigma: Sigmas) -> Times:
        """Interpolated in log(sigma); beyond the ends of the table, the ends."""
        sigma = at_least_float32(sigma)
        low, part = locate(sigma.log(), self.table.to(sigma.dtype).to(sigma.device).log())
        return low + part

    def signal(self, sigma: Sigmas) -> Float[Tensor, " b"]:
        """sqrt(alpha_bar)."""
        return (1 + at_least_float32(sigma) ** 2).rsqrt()


@dataclass(frozen=True, slots=True)
class FlowSchedule(Schedule):
    """Rectified flow: the network sees (1 - t) * x0 + t * eps, on the straight line from picture to noise.

    Source: Liu et al. 2022 (arXiv:2209.03003); Esser et al. 2024, eq. 13 and 23 (arXiv:2403.03206)
    """

    steps: int = 1000
    shift: float = 1.0

    @property
    def times(self) -> range:
        """1 .. steps."""
        return range(1, self.steps + 1)

    def sigma_of(self, t: Times) -> Sigmas:
        """t / (1 - t), at most `PURE_NOISE`."""
        t = at_least_float32(t).clamp(0, self.steps)
        return (t / (self.steps - t)).clamp(max=PURE_NOISE)

    def t_of(self, sigma: Sigmas) -> Times:
        """sigma / (1 + sigma), in units of the network's timesteps."""
        sigma = at_least_float32(sigma)
        return self.steps * (sigma / (1 + sigma))

    def signal(self, sigma: Sigmas) -> Float[Tensor, " b"]:
        """1 - t."""
        return 1 / (1 + at_least_float32(sigma))

    def shifted(self, t: Times) -> Times:
        """Move times towards noise by `shift`, as large pictures need; the ends stay.

        Source: Esser et al. 2024, eq. 23 (arXiv:2403.03206)
        """
        t = at_least_float32(t) / self.steps
        return self.steps * self.shift * t / (1 + (self.shift - 1) * t)


@dataclass(frozen=True, slots=True)
class EdmSchedule(Schedule):
    """Continuous noise levels, trained without a table of times: the network sees x / sqrt(sigma^2 + data^2).

    Its axis is log(sigma) in `steps` equal parts, so that clocks can be read off it too.
    Source: Karras et al. 2022, table 1 (arXiv:2206.00364)
    """

    low: float
    high: float
    data: float  # pyright: ignore[reportIncompatibleMethodOverride]  # a field where others have a constant
    steps: int = 1000

    @property
    def times(self) -> range:
        """0 .. steps - 1."""
        return range(self.steps)

    @property
    def ladder_top(self) -> float:
        """The noisiest level: ladders are how such networks were meant to be used."""
        return self.high

    def sigma_of(self, t: Times) -> Sigmas:
        """Equal distances in log(sigma)."""
        part = at_least_float32(t) / (self.steps - 1)
        return self.low ** (1 - part) * self.high**part

    def t_of(self, sigma: Sigmas) -> Times:
        """Equal distances in log(sigma); beyond the ends, the ends."""
        sigma = at_least_float32(sigma).clamp(self.low, self.high)
        return (self.steps - 1) * (sigma / self.low).log() / log(self.high / self.low)

    def told(self, sigma: Sigmas) -> Times:
        """log(sigma) / 4: c_noise."""
        return at_least_float32(sigma).log() / 4

    def signal(self, sigma: Sigmas) -> Float[Tensor, " b"]:
        """c_in."""
        return (self.data**2 + at_least_float32(sigma) ** 2).rsqrt()


def schedule_from(spec: ScheduleSpec) -> Schedule:
    """Build the schedule that a model was trained with.  Raises: SpecError"""
    if spec.steps < 2:
        raise SpecError(f"a schedule needs at least 2 training steps, not {spec.steps}")
    if spec.kind == "flow":
        if spec.shift <= 0:
            raise SpecError(f"the shift of a flow schedule is positive, not {spec.shift}")
        return FlowSchedule(spec.steps, spec.shift)
    if spec.shift != 1:
        raise SpecError(
            f"shift {spec.shift} means nothing to a {spec.kind} schedule", hint="only to kind 'flow'"
        )
    if spec.kind == "edm":
        if not (0 < spec.sigma_min < spec.sigma_max and spec.sigma_data > 0):
            levels = f"from {spec.sigma_min} to {spec.sigma_max}, of data {spec.sigma_data}"
            raise SpecError(f"the levels of an edm schedule are positive and rise, not {levels}")
        return EdmSchedule(spec.sigma_min, spec.sigma_max, spec.sigma_data, spec.steps)
    signal = (1 - _betas(spec)).cumprod(0).sqrt()  # sqrt(alpha_bar)
    if spec.zero_terminal:
        signal = _to_zero(signal)
    return DiscreteSchedule((signal**-2 - 1).sqrt().clamp(max=PURE_NOISE))


def _betas(spec: ScheduleSpec) -> Tensor:
    low, high, float64 = spec.beta_start, spec.beta_end, torch.float64
    if spec.kind == "cosine":
        return torch.tensor(cosine_betas(spec.steps), dtype=float64)
    if not 0 < low <= high < 1:
        raise SpecError(f"betas rise between 0 and 1, not from {low} to {high}")
    if spec.kind == "linear":
        return torch.linspace(low, high, spec.steps, dtype=float64)
    if spec.kind == "scaled_linear":
        return torch.linspace(low**0.5, high**0.5, spec.steps, dtype=float64) ** 2
    raise SpecError(
        f"unknown kind of schedule {spec.kind!r}", hint="scaled_linear, linear, cosine, flow or edm"
    )


def _to_zero(signal: Tensor) -> Tensor:
    """Stretch sqrt(alpha_bar) so that nothing of the picture is left at the last time.

    Source: Lin et al. 2023, alg. 1 (arXiv:2305.08891)
    """
    first, last = signal[0], signal[-1]
    return (signal - last) * first / (first - last)


def _as_times(*times: float) -> Times:
    return torch.tensor(times, dtype=torch.float64)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision and integers become float32; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def locate(x: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Between which two of the rising points x lies: the lower one's index, and the part of the way up."""
    low = torch.searchsorted(points, x.contiguous()).clamp(1, len(points) - 1) - 1
    part = (x - points[low]) / (points[low + 1] - points[low])
    return low, part.clamp(0, 1)
