"""What a run reports while it works; the doors decide how to show it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from fromnoise.request import GenerateResult, Picture


@dataclass(frozen=True, slots=True)
class Loaded:
    """Which model is about to draw, and where."""

    model: str
    device: str
    dtype: str
    seconds: float  # that loading took, before this run began
    note: str = ""  # what the user should know of where the model is


@dataclass(frozen=True, slots=True)
class Encoded:
    """The prompt has been read."""

    tokens: int  # that the text encoder saw
    window: int  # the most it can see
    cut: str  # the end of the prompt that did not fit; "" as a rule
    negative_cut: str
    strangers: tuple[tuple[str, str | None], ...]  # words the model never saw, each with the nearest it did
    seconds: float  # since the run began, as in every event below


@dataclass(frozen=True, slots=True)
class Denoised:
    """One step is done, on one picture or on a batch of them."""

    step: int  # 1 .. of
    of: int
    first: int  # the batch holds pictures first .. first + count - 1 ...
    count: int
    pictures: int  # ... of this many in the whole run
    sigma: float  # the noise that is left
    seconds: float
    previews: Callable[[], tuple[Picture, ...]]  # paid for only if a door asks to see them

    def preview(self) -> Picture:
        """The first picture of the batch as the network imagines it now."""
        return self.previews()[0]

    @property
    def progress(self) -> float:
        """How much of the run's denoising is done, 0 to 1."""
        return (self.first + self.count * self.step / self.of) / self.pictures


@dataclass(frozen=True, slots=True)
class Decoded:
    """A batch is finished; pictures of later batches may still follow."""

    first: int
    pictures: tuple[Picture, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Finished:
    """Every picture is there."""

    result: GenerateResult


Event: TypeAlias = Loaded | Encoded | Denoised | Decoded | Finished
