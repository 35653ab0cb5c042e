"""What a stage is told (its recipe), what it can do (its task), and what it says of itself (its progress)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast. The learning rate warms up, stays, and falls to zero over the last part."""

    steps: int
    batch: int
    lr: float
    slower: Mapping[str, float] = field(default_factory=dict[str, float])  # parts' shares of that rate
    held_out: int = 512  # scenes at the end of the pool that are only looked at, never trained on
    warmup: int = 200
    fall: float = 0.25
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    ema: float | None = 0.08  # relative width of the average that is exported; None: the last weights
    seed: int = 0
    save_every: float = 180.0  # seconds, or more where a save takes long; 0: after every step
    look_every: int = 500  # steps between validations and sample sheets
    device: str = "cpu"  # what it is trained on: "cuda", …

    def rate(self, step: int) -> float:
        """The learning rate of a step (0, 1, …)."""
        left = (self.steps - step) / max(1.0, self.steps * self.fall)
        return self.lr * min(1.0, (step + 1) / self.warmup, left)

    def share(self, parameter: str) -> float:
        """How much of the learning rate a parameter gets: that of the part its name begins with, else all."""
        return self.slower.get(parameter.partition(".")[0], 1.0)

    @property
    def falls_at(self) -> int:
        """The step at which the learning rate begins to fall."""
        return int(self.steps * (1 - self.fall))

    def changes(self, former: Mapping[str, Any]) -> Iterator[str]:
        """How this recipe differs from the one in a checkpoint's facts: "steps 100 -> 200", …"""
        for name, now in json.loads(json.dumps(asdict(self))).items():
            if name in former and former[name] != now:
                yield f"{name} {former[name]} -> {now}"


class Task(Protocol):
    """What a stage trains, and how it judges itself."""

    @property
    def name(self) -> str:
        """What checkpoints are labelled with."""
        ...

    @property
    def modules(self) -> nn.Module:
        """Everything whose parameters are trained."""
        ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch, and figures for the log. A function of `step` and the weights alone."""
        ...

    def look(self, folder: Path, step: int) -> dict[str, float]:
        """Validate with the averaged weights in place; may leave sample pictures in `folder`."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands, after every step; those with figures or notes are also in the log."""

    step: int
    of: int
    rate: float  # learning rate
    pictures_per_second: float
    seconds_left: float | None  # None before the first step
    figures: Mapping[str, float]  # means since the last report, and the validation's; empty between reports
    notes: tuple[str, ...] = ()  # what happened at the start: a resume, a damaged checkpoint, another recipe
    seconds_a_step: float = 0.0  # without looks and saves, as pictures per second are
