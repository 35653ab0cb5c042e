"""What a network must answer, and how each kind of network is brought to answer it.

Outside this file a noisy latent is x = x0 + sigma * eps. Only here is it turned into what the network was
trained on, z = a * x0 + b * eps with a = signal(sigma) and b = a * sigma, and the network's answer into x0.
Where the latents' standard deviation is not 1 (EDM), x0 is meant in units of it, and a with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from fromnoise.errors import SpecError
from fromnoise.noise.schedule import (
    PURE_NOISE,
    EdmSchedule,
    FlowSchedule,
    Schedule,
    at_least_float32,
    schedule_from,
)
from fromnoise.specs import ModelSpec, Prediction

Latents = Float[Tensor, "b c h w"]


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What a denoiser is told beside the noisy latents: one row a picture."""

    context: Float[Tensor, "b n d"]
    pooled: Float[Tensor, "b p"] | None = None  # SDXL-style families only
    guidance: Float[Tensor, "b g"] | None = None  # LCM: `scale_features` of the guidance scale
    beside: Float[Tensor, "b c h w"] | None = None  # more channels: mask and picture, or a picture alone

    def cat(self, other: "Conditioning") -> "Conditioning":
        """These rows, then the other's; both must come from the same family and have equal length."""
        return Conditioning(
            torch.cat([self.context, other.context]),
            _joined("pooled", self.pooled, other.pooled),
            _joined("guidance", self.guidance, other.guidance),
            _joined("beside", self.beside, other.beside),
        )

    def expand(self, count: int) -> "Conditioning":
        """One row for `count` pictures."""
        parts = (self.context, self.pooled, self.guidance, self.beside)
        context, *others = (part if part is None else part.expand(count, *part.shape[1:]) for part in parts)
        assert context is not None
        return Conditioning(context, *others)


def _joined(name: str, first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        assert first is second, f"one conditioning has {name!r}, the other has none"
        return None
    return torch.cat([first, second])


class Denoiser(Protocol):
    """The one question samplers, losses and guidance ask: given a noisy latent, what is the clean one?"""

    def __call__(self, x: Latents, sigma: Float[Tensor, " b"], cond: Conditioning) -> Latents:
        """Return x0, the same shape and type as x = x0 + sigma * eps."""
        ...


class UNet(Protocol):
    """A network as training left it: shown z, told t, answering eps, v, x0 or a velocity."""

    def __call__(
        self, latents: Latents, timesteps: Float[Tensor, " b"], context: Tensor, *others: Tensor | None
    ) -> Latents:
        """Return the prediction, as large as the latents; `others`: pooled vector, features of guidance."""
        ...


@dataclass(frozen=True, slots=True)
class Parametrization:
    """What a network predicts, in both directions, for z = a * x0 + b * eps."""

    target: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # (x0, eps, a, b) -> the right answer
    clean: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # (z, answer, a, b) -> x0


PARAMETRIZATIONS: Mapping[Prediction, Parametrization] = {
    # Source: Ho et al. 2020, sec. 3.2 (arXiv:2006.11239)
    "eps": Parametrization(
        target=lambda x0, eps, a, b: eps,
        clean=lambda z, eps, a, b: (z - b * eps) / a,
    ),
    "x0": Parametrization(
        target=lambda x0, eps, a, b: x0,
        clean=lambda z, x0, a, b: x0,
    ),
    # Source: Salimans & Ho 2022, sec. 4 (arXiv:2202.00512); the quotient is 1 where variance is preserved
    "v": Parametrization(
        target=lambda x0, eps, a, b: a * eps - b * x0,
        clean=lambda z, v, a, b: (a * z - b * v) / (a**2 + b**2),
    ),
    # Source: Liu et al. 2022, eq. 1 (arXiv:2209.03003), with time running from picture to noise
    "flow": Parametrization(
        target=lambda x0, eps, a, b: eps - x0,
        clean=lambda z, velocity, a, b: z - b * velocity,
    ),
    # Source: F in Karras et al. 2022, eq. 7 and table 1 (arXiv:2206.00364): v with the other sign
    "edm": Parametrization(
        target=lambda x0, eps, a, b: b * x0 - a * eps,
        clean=lambda z, answer, a, b: a * z + b * answer,
    ),
}


@dataclass(frozen=True, slots=True)
class Process:
    """How noise is added and what the network says about it: one definition for training and sampling."""

    schedule: Schedule
    prediction: Prediction

    def __post_init__(self) -> None:
        if self.prediction not in PARAMETRIZATIONS:
            known = ", ".join(PARAMETRIZATIONS)
            raise SpecError(f"unknown prediction type {self.prediction!r}", hint=f"choose from {known}")
        if self.prediction == "flow" and not isinstance(self.schedule, FlowSchedule):
            raise SpecError("a network that predicts a flow velocity needs a schedule of kind 'flow'")
        if self.prediction == "edm" and not isinstance(self.schedule, EdmSchedule):
            raise SpecError("a network that predicts as EDM does needs a schedule of kind 'edm'")
        if self.prediction == "eps" and self.schedule.sigma_max >= PURE_NOISE:
            raise SpecError(
                "eps says nothing about the picture where the schedule begins with pure noise",
                hint="train such a model to predict v, x0 or flow; see Lin et al. 2023 (arXiv:2305.08891)",
            )

    @classmethod
    def of(cls, spec: ModelSpec) -> "Process":
        """The process that a model of this family was trained on.  Raises: SpecError"""
        return cls(schedule_from(spec.schedule), spec.prediction)

    def noised(self, x0: Latents, eps: Latents, t: Float[Tensor, " b"]) -> Latents:
        """What the network is shown at training times `t` (in its own units: 0 .. `schedule.times[-1]`)."""
        a, b = self._weights(self.schedule.sigma_of(t), x0)
        return (a * (x0 / self.schedule.data) + b * eps).to(x0.dtype)

    def target(self, x0: Latents, eps: Latents, t: Float[Tensor, " b"]) -> Latents:
        """The right answer of the network when shown `noised(x0, eps, t)`."""
        a, b = self._weights(self.schedule.sigma_of(t), x0)
        x0 = x0 / self.schedule.data
        return PARAMETRIZATIONS[self.prediction].target(x0, eps, a, b).to(x0.dtype)

    def shown(self, x: Latents, sigma: Float[Tensor, " b"]) -> Latents:
        """Turn x = x0 + sigma * eps into what the network is shown, in float32."""
        return self._weights(sigma, x)[0] / self.schedule.data * x

    def clean(self, shown: Latents, answer: Latents, sigma: Float[Tensor, " b"]) -> Latents:
        """The x0 that follows from the network's answer to `shown`."""
        a, b = self._weights(sigma, shown)
        clean = PARAMETRIZATIONS[self.prediction].clean(shown, at_least_float32(answer), a, b)
        return clean * self.schedule.data

    def start(self, eps: Latents, sigma: float) -> Latents:
        """The latent to begin sampling with, in float32: the network will see exactly `eps`."""
        sigmas = eps.new_full((len(eps),), sigma, dtype=torch.float32)
        return eps / (self._weights(sigmas, eps)[0] / self.schedule.data)

    def denoiser(self, unet: UNet, dtype: torch.dtype | None = None) -> "NetworkDenoiser":
        """Bring a network that works in `dtype` (None: in that of the latents) to the denoiser's contract."""
        return NetworkDenoiser(unet, self, dtype)

    def _weights(self, sigma: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """a and b, one a picture, ready to be multiplied with latents."""
        sigma = at_least_float32(sigma)
        signal = self.schedule.signal(sigma)
        one_a_picture = (-1, *[1] * (like.ndim - 1))
        return (signal * self.schedule.data).view(one_a_picture), (signal * sigma).view(one_a_picture)


@dataclass(frozen=True, slots=True)
class NetworkDenoiser:
    """A network as a `Denoiser`. It works in its own type (`dtype`), the arithmetic around it in float32."""

    unet: UNet
    process: Process
    dtype: torch.dtype | None = None

    def __call__(self, x: Latents, sigma: Float[Tensor, " b"], cond: Conditioning) -> Latents:
        """Ask the network, return x0.  Source: Karras et al. 2022, table 1 (arXiv:2206.00364)"""
        shown = self.process.shown(x, sigma)
        timesteps = self.process.schedule.told(sigma)
        seen = shown if cond.beside is None else torch.cat([shown, cond.beside.to(shown.dtype)], dim=1)
        others = (cond.pooled,) if cond.guidance is None else (cond.pooled, cond.guidance)
        answer = self.unet(seen.to(self.dtype or x.dtype), timesteps, cond.context, *others)
        return self.process.clean(shown, answer, sigma).to(x.dtype)
