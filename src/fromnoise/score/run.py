"""Draw every prompt, look at the pictures, compare, and count."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from fromnoise.errors import NonFiniteError, RequestError
from fromnoise.images.pixels import MIDDLE
from fromnoise.score.plans import ALL, ATOMS
from fromnoise.score.report import Judged, Report, Row, Share
from fromnoise.score.report import Source as RowSource
from fromnoise.score.stamp import Stamp
from fromnoise.score.tiers import Tier
from fromnoise.score.witness import Glance, Source, Witness
from fromnoise.world.check import Verdict, judge
from fromnoise.world.prompts import Prompt
from fromnoise.world.render import render
from fromnoise.world.scene import Scene
from fromnoise.world.seeing import Seen
from fromnoise.world.worlds import world_of

Draw = Callable[[list[str], list[int]], Tensor]  # prompts, seeds -> pixels (B, 3, H, W) in [-1, 1]
Read = Callable[[Tensor], Sequence[Seen]]  # pixels -> what each picture shows
Rebuild = Callable[[Tensor], Tensor]  # pixels -> pixels, through an autoencoder
Recall = Callable[[Sequence[Prompt]], Sequence[Scene]]  # prompts -> the training scenes that come to mind
Features = Callable[[Tensor], Tensor]  # pixels -> (B, D)

MOST_SEEDS: Final = (
    100  # a prompt: prompt i starts from seed 100 i, so that more seeds or prompts add pictures
)
EXTRA: Final = "extra"  # a thing that the prompt does not name: told, not counted as wrong


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

    seeds_per_prompt: int = 4
    batch: int = 16
    size: int = 128
    first_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seeds_per_prompt", "batch"):
            if getattr(self, name) < 1:
                raise RequestError({name: f"must be 1 or more, not {getattr(self, name)}"})
        if self.seeds_per_prompt > MOST_SEEDS:
            raise RequestError({"seeds_per_prompt": f"must be {MOST_SEEDS} or less"})


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is measured beside the model's pictures; everything may be left out."""

    rebuild: Rebuild | None = None
    recall: Recall | None = None
    features: Features | None = None
    witnesses: tuple[Witness, ...] = ()
    stamp: Stamp | None = None


def score(
    draw: Draw,
    read: Read,
    tiers: Sequence[Tier],
    settings: Settings | None = None,
    beside: Beside | None = None,
) -> Iterator[Progress | Report]:
    """Measure how often pictures show what their prompts say; the last thing yielded is the report.

    Every prompt has seeds of its own, so no two pictures of a set start from the same noise.
    Raises: RequestError, NonFiniteError if `draw` gives something else than finite pictures
    """
    course = _Course(draw, read, settings or Settings(), beside or Beside())
    sets = [(tier, split, prompts) for tier in tiers for split, prompts in tier.prompts.items()]
    done, total = 0, sum(course.length(prompts) for _, _, prompts in sets)
    rows: list[Row] = []
    pictures: list[Judged] = []
    for tier, split, prompts in sets:
        for source in course.sources():
            seen: list[Seen] = []
            for glance in course.lap(tier, split, prompts, source):
                seen += glance.seen
                for witness in course.beside.witnesses:
                    witness.watch(glance)
                yield Progress(done + len(seen), total, tier.name, split, source)
            done += len(seen)
            rows.append(row(tier, split, source, prompts, seen))
            if source == "model":
                rows.append(row(tier, split, "floor", prompts[1:] + prompts[:1], seen))
                pictures += course.judged(tier, split, prompts, seen)
    told = (section for witness in course.beside.witnesses for section in witness.tell())
    yield Report(tuple(rows), tuple(pictures), tuple(told), course.beside.stamp)


@dataclass(frozen=True, slots=True)
class _Course:
    """What every set of prompts goes through."""

    draw: Draw
    read: Read
    settings: Settings
    beside: Beside

    def sources(self) -> list[Source]:
        beside: dict[Source, object] = {"rebuilt": self.beside.rebuild, "retrieval": self.beside.recall}
        return ["model", "ceiling", *(source for source, given in beside.items() if given)]

    def length(self, prompts: tuple[Prompt, ...]) -> int:
        """How many pictures are looked at."""
        return len(prompts) * (self.settings.seeds_per_prompt + len(self.sources()) - 1)

    def lap(self, tier: Tier, split: str, prompts: tuple[Prompt, ...], source: Source) -> Iterator[Glance]:
        each = self.settings.seeds_per_prompt if source == "model" else 1
        scenes = [prompt.scene for prompt in prompts]
        if source == "retrieval" and self.beside.recall:
            scenes = list(self.beside.recall(prompts))
        for at in range(0, each * len(prompts), self.settings.batch):
            places = range(at, min(at + self.settings.batch, each * len(prompts)))
            numbers = tuple(place // each for place in places)
            asked = tuple(prompts[n] for n in numbers)
            if source == "model":
                seeds = [self.seed(n, place % each) for n, place in zip(numbers, places, strict=True)]
                pixels = checked(self.draw([prompt.text for prompt in asked], seeds), len(asked))
            else:
                pixels = render([scenes[n] for n in numbers], self.settings.size).pixels.float() / MIDDLE - 1
            if source == "rebuilt" and self.beside.rebuild:
                pixels = checked(self.beside.rebuild(pixels), len(asked))
            look = self.beside.features
            features = look(pixels) if look else pixels.new_zeros(len(pixels), 0)
            yield Glance(tier.name, split, source, numbers, asked, pixels, self.read(pixels), features)

    def seed(self, number: int, which: int) -> int:
        """The seed of a prompt's picture."""
        return self.settings.first_seed + MOST_SEEDS * number + which

    def judged(
        self, tier: Tier, split: str, prompts: tuple[Prompt, ...], seen: Sequence[Seen]
    ) -> Iterator[Judged]:
        each = self.settings.seeds_per_prompt
        for i, verdict in enumerate(verdicts(prompts, seen)):
            faults = tuple(f"{fault.sort}: {fault.detail}" for fault in verdict.faults)
            seed = self.seed(i // each, i % each)
            yield Judged(tier.name, split, prompts[i // each].text, seed, verdict.asked(), faults)


def verdicts(prompts: tuple[Prompt, ...], seen: Sequence[Seen]) -> list[Verdict]:
    """One for each picture; every prompt has equally many, one after the other."""
    each = len(seen) // len(prompts)
    asked = [prompts[i // each] for i in range(len(seen))]
    worlds = [world_of(prompt.scene.world) for prompt in asked]
    return [judge(p.atoms, shown, world) for p, shown, world in zip(asked, seen, worlds, strict=True)]


def row(tier: Tier, split: str, source: RowSource, prompts: tuple[Prompt, ...], seen: Sequence[Seen]) -> Row:
    """Count what a tier counts."""
    found = verdicts(prompts, seen)
    asked = [{k: v for k, v in verdict.asked().items() if k in tier.parts} for verdict in found]
    shares: dict[str, Share] = {}
    for part in tier.parts:
        answers = [parts[part] for parts in asked if part in parts]
        shares[part] = Share(sum(answers), len(answers))
    shares[ATOMS] = Share(sum(sum(parts.values()) for parts in asked), sum(map(len, asked)))
    shares[ALL] = Share(sum(all(parts.values()) for parts in asked), len(asked))
    faults = Counter[str](sort for v in found for sort in {fault.sort for fault in v.faults})
    if extra := sum(
        _has_extra(prompts[i * len(prompts) // len(seen)], shown) for i, shown in enumerate(seen)
    ):
        faults[EXTRA] = extra
    return Row(tier.name, split, source, len(found), shares, dict(faults.most_common()))


def _has_extra(prompt: Prompt, seen: Seen) -> bool:
    named = {naming.kind for naming in prompt.atoms.things}
    return any(thing.kind not in named for thing in seen.things)


def checked(pixels: Tensor, count: int) -> Tensor:
    """Raises: RequestError, NonFiniteError unless these are `count` finite pictures"""
    if pixels.ndim != 4 or pixels.shape[:2] != (count, 3):
        raise RequestError(
            f"{count} prompts should give pixels ({count}, 3, H, W), not {tuple(pixels.shape)}"
        )
    if not bool(torch.isfinite(pixels).all()):
        raise NonFiniteError("some pixels are not finite", hint="try dtype float32")
    return pixels
