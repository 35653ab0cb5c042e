"""Draw every prompt, look at the pictures, compare, and count."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.errors import NonFiniteError, RequestError
from fromnoise.images.pixels import MIDDLE
from fromnoise.score.plans import ALL
from fromnoise.score.report import Judged, Report, Row, Share, Source
from fromnoise.score.tiers import Tier
from fromnoise.world.check import Verdict, judge
from fromnoise.world.prompts import Prompt
from fromnoise.world.render import render
from fromnoise.world.seeing import Seen
from fromnoise.world.worlds import world_of

Draw = Callable[[list[str], list[int]], Tensor]  # prompts, seeds -> pixels (B, 3, H, W) in [-1, 1]
Read = Callable[[Tensor], Sequence[Seen]]  # pixels -> what each picture shows
Rebuild = Callable[[Tensor], Tensor]  # pixels -> pixels, through an autoencoder


@dataclass(frozen=True, slots=True)
class Progress:
    """So many of all pictures have been looked at."""

    done: int
    of: int
    tier: str
    split: str
    source: Source


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How many pictures, and how they are made.

    Units: size in pixels, of the ground-truth renders; make it that of the model's pictures
    """

    seeds_per_prompt: int = 2
    batch: int = 16
    size: int = 128
    first_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seeds_per_prompt", "batch"):
            if getattr(self, name) < 1:
                raise RequestError({name: f"must be 1 or more, not {getattr(self, name)}"})


def score(
    draw: Draw,
    read: Read,
    tiers: Sequence[Tier],
    settings: Settings | None = None,
    *,
    rebuild: Rebuild | None = None,
) -> Iterator[Progress | Report]:
    """Measure how often pictures show what their prompts say; the last thing yielded is the report.

    Every prompt has seeds of its own, so no two pictures of a set start from the same noise.
    Raises: RequestError, NonFiniteError if `draw` gives something else than finite pictures
    """
    course = _Course(draw, read, rebuild, settings or Settings())
    sets = [(tier, split, prompts) for tier in tiers for split, prompts in tier.prompts.items()]
    done, total = 0, sum(course.length(prompts) for _, _, prompts in sets)
    rows: list[Row] = []
    pictures: list[Judged] = []
    for tier, split, prompts in sets:
        for source, lap in course.laps(prompts):
            seen: list[Seen] = []
            for part in lap:
                seen += part
                yield Progress(done + len(seen), total, tier.name, split, source)
            done += len(seen)
            rows.append(row(tier, split, source, verdicts(prompts, seen)))
            if source == "model":
                rows.append(row(tier, split, "floor", verdicts(prompts[1:] + prompts[:1], seen)))
                pictures += course.judged(tier, split, prompts, seen)
    yield Report(tuple(rows), tuple(pictures))


@dataclass(frozen=True, slots=True)
class _Course:
    """What every set of prompts goes through."""

    draw: Draw
    read: Read
    rebuild: Rebuild | None
    settings: Settings

    def length(self, prompts: tuple[Prompt, ...]) -> int:
        """How many pictures are looked at."""
        return len(prompts) * (self.settings.seeds_per_prompt + 1 + (self.rebuild is not None))

    def laps(self, prompts: tuple[Prompt, ...]) -> Iterator[tuple[Source, Iterator[Sequence[Seen]]]]:
        yield "model", self._drawn(prompts)
        yield "ceiling", self._rendered(prompts, None)
        if self.rebuild is not None:
            yield "rebuilt", self._rendered(prompts, self.rebuild)

    def _drawn(self, prompts: tuple[Prompt, ...]) -> Iterator[Sequence[Seen]]:
        texts = [prompt.text for prompt in prompts for _ in range(self.settings.seeds_per_prompt)]
        for at in range(0, len(texts), self.settings.batch):
            batch = texts[at : at + self.settings.batch]
            seeds = [self.settings.first_seed + at + k for k in range(len(batch))]
            yield self.read(checked(self.draw(batch, seeds), len(batch)))

    def _rendered(self, prompts: tuple[Prompt, ...], rebuild: Rebuild | None) -> Iterator[Sequence[Seen]]:
        for at in range(0, len(prompts), self.settings.batch):
            scenes = [prompt.scene for prompt in prompts[at : at + self.settings.batch]]
            pixels = render(scenes, self.settings.size).pixels.float() / MIDDLE - 1
            yield self.read(pixels if rebuild is None else checked(rebuild(pixels), len(scenes)))

    def judged(
        self, tier: Tier, split: str, prompts: tuple[Prompt, ...], seen: Sequence[Seen]
    ) -> Iterator[Judged]:
        each = self.settings.seeds_per_prompt
        for i, verdict in enumerate(verdicts(prompts, seen)):
            faults = tuple(f"{fault.sort}: {fault.detail}" for fault in verdict.faults)
            seed = self.settings.first_seed + i
            yield Judged(tier.name, split, prompts[i // each].text, seed, verdict.asked(), faults)


def verdicts(prompts: tuple[Prompt, ...], seen: Sequence[Seen]) -> list[Verdict]:
    """One for each picture; every prompt has equally many, one after the other."""
    each = len(seen) // len(prompts)
    asked = [prompts[i // each] for i in range(len(seen))]
    worlds = [world_of(prompt.scene.world) for prompt in asked]
    return [judge(p.atoms, shown, world) for p, shown, world in zip(asked, seen, worlds, strict=True)]


def row(tier: Tier, split: str, source: Source, verdicts: Sequence[Verdict]) -> Row:
    """Count what a tier counts."""
    asked = [{k: v for k, v in verdict.asked().items() if k in tier.parts} for verdict in verdicts]
    shares: dict[str, Share] = {}
    for part in tier.parts:
        answers = [parts[part] for parts in asked if part in parts]
        shares[part] = Share(sum(answers), len(answers))
    shares[ALL] = Share(sum(all(parts.values()) for parts in asked), len(asked))
    faults = Counter(sort for v in verdicts for sort in {fault.sort for fault in v.faults})
    return Row(tier.name, split, source, len(verdicts), shares, dict(faults.most_common()))


def checked(pixels: Tensor, count: int) -> Tensor:
    """Raises: RequestError, NonFiniteError unless these are `count` finite pictures"""
    if pixels.ndim != 4 or pixels.shape[:2] != (count, 3):
        raise RequestError(
            f"{count} prompts should give pixels ({count}, 3, H, W), not {tuple(pixels.shape)}"
        )
    if not bool(torch.isfinite(pixels).all()):
        raise NonFiniteError("some pixels are not finite", hint="try dtype float32")
    return pixels
