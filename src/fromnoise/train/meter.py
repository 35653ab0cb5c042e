"""How fast a run goes, and the means of its figures."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fromnoise.train.recipe import Progress

if TYPE_CHECKING:
    from fromnoise.train.loop import Run


class Meter:
    """Counts and times steps; what comes between them, looks and saves, only makes the end come later."""

    def __init__(self, run: "Run") -> None:
        self.run, self.first, self.began = run, run.step, time.monotonic()
        self.seconds, self.pictures = 0.0, 0
        self.sums: dict[str, float] = {}
        self.counted = 0

    def step(self) -> None:
        """Let the run take a step.  Raises: NonFiniteError"""
        pictures, began = self.run.pictures, time.monotonic()
        figures = self.run.train_step()
        self.seconds += time.monotonic() - began
        self.pictures += pictures
        self.counted += 1
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Of the steps since the last time it was asked."""
        means = {name: total / self.counted for name, total in self.sums.items()}
        self.sums, self.counted = {}, 0
        return means

    def progress(self, figures: Mapping[str, float], notes: tuple[str, ...] = ()) -> Progress:
        """This moment."""
        run, steps = self.run, self.run.step - self.first
        left = run.recipe.steps - run.step
        return Progress(
            step=run.step,
            of=run.recipe.steps,
            rate=run.rate(max(0, run.step - 1)),
            pictures_per_second=self.pictures / self.seconds if self.seconds else 0.0,
            seconds_left=(time.monotonic() - self.began) / steps * left if steps else None,
            figures=figures,
            notes=notes,
            seconds_a_step=self.seconds / steps if steps else 0.0,
        )
