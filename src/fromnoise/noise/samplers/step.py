"""What every sampler speaks: one step, the denoiser it asks, and the noise it is given."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeAlias, TypeVar


class Latent(Protocol):
    """Anything that can be added and scaled: a tensor at work, a float in the tests."""

    def __add__(self, other: Self, /) -> Self: ...
    def __sub__(self, other: Self, /) -> Self: ...
    def __mul__(self, factor: float, /) -> Self: ...
    def __rmul__(self, factor: float, /) -> Self: ...
    def __truediv__(self, factor: float, /) -> Self: ...


L = TypeVar("L", bound=Latent)

Denoise: TypeAlias = Callable[[L, float], L]
"""(x, sigma) -> x0: a denoiser with its text already bound."""

Noise: TypeAlias = Callable[[L, float, float], L]
"""(like, sigma, sigma_next) -> N(0, 1), shaped like `like`."""


@dataclass(frozen=True, slots=True)
class Step(Generic[L]):
    """One step of a sampler, just done."""

    index: int  # 0 .. len(sigmas) - 2
    sigma: float  # where this step began
    sigma_next: float  # where it ended
    x: L  # the latent now, at sigma_next
    x0: L  # the denoiser's guess of the clean latent, for previews


class Sampler(Protocol):
    """How to go from noise to a clean latent: a generator of steps. Stop iterating to cancel."""

    def __call__(
        self, denoise: Denoise[L], x: L, sigmas: Sequence[float], *, noise: Noise[L]
    ) -> Iterator[Step[L]]:
        """Walk x = x0 + sigma * eps down the list of sigmas (the last is 0), yielding after every step."""
        ...
