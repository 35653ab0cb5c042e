"""The task of learning from one's own pictures: one objective, whatever it is that learns."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromnoise.noise.denoiser import Conditioning
from fromnoise.train.own.drawing import draw
from fromnoise.train.own.learners import Learner
from fromnoise.train.own.objective import times_for, weights_for
from fromnoise.train.pictures import Lesson, Lessons
from fromnoise.train.sheet import save_sheet
from fromnoise.train.state import generator

NOISE, LOOK = 21, 22  # what the generators are for
LOOKED_AT = (0.2, 0.5, 0.8)  # of the time axis


class OwnTask:
    """Learn from a folder of pictures; each step is a function of seed, step and weights."""

    def __init__(
        self,
        name: str,
        learner: Learner,
        lessons: Lessons,
        *,
        gamma: float,
        precision: torch.dtype,
        samples: Sequence[str],
        facts: Mapping[str, Any],
    ) -> None:
        self.name, self.modules, self.learner, self.lessons = name, learner.modules, learner, lessons
        self.gamma, self.precision, self.samples, self.facts = gamma, precision, tuple(samples), dict(facts)
        self.pipe, self.seed = learner.pipe, lessons.seed
        self.size = max(lessons.cache.buckets.sizes, key=lambda size: (size[0] * size[1], size[0] == size[1]))

    def pictures(self, step: int) -> int:
        """How many a step learns from: of a small bucket, fewer than a batch."""
        return len(self.lessons.timetable.at(step))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The weighted squared error of the network's answer; every picture of an epoch counts alike."""
        lesson, chance = self.lessons.at(step), generator(self.seed, NOISE, step)
        t = times_for(self.pipe.process, len(lesson.latents), chance)
        eps = torch.randn(lesson.latents.shape, generator=chance)
        error = self._error(lesson, eps, t)
        weighted = (error * weights_for(self.pipe.process, t, self.gamma)).mean() * lesson.share
        return weighted, {"error": error.mean().item()}

    def _error(self, lesson: Lesson, eps: Tensor, t: Tensor) -> Tensor:
        """The squared error for each picture."""
        process, unet = self.pipe.process, self.pipe.unet
        cond: Conditioning = self.learner.read(lesson.captions, lesson.facts)
        with self._precision():
            noisy = process.noised(lesson.latents, eps, t).to(self.pipe.dtype)
            told = process.schedule.told(process.schedule.sigma_of(t)).float()
            answer = unet(noisy, told, cond.context, cond.pooled).float()
        return (answer - process.target(lesson.latents, eps, t)).square().mean((1, 2, 3))

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision is torch.bfloat16)

    def look(self, folder: Path, step: int) -> dict[str, float]:
        """The error on pictures held out, always with the same noise; leaves a sheet of samples."""
        with self._precision():
            pixels = torch.cat(
                [draw(self.pipe, [text], [seed], self.size) for seed, text in enumerate(self.samples)]
            )
        save_sheet(pixels, folder / f"sheet-{step:06d}.png", columns=4)
        errors: list[Tensor] = []
        last = len(self.pipe.schedule.times) - 1
        for number, lesson in enumerate(self.lessons.held_out_lessons()):
            for place, part in enumerate(LOOKED_AT):
                eps = torch.randn(lesson.latents.shape, generator=generator(self.seed, LOOK, number, place))
                errors.append(self._error(lesson, eps, torch.full((len(eps),), float(round(part * last)))))
        return {"held_out": torch.cat(errors).mean().item()} if errors else {}
