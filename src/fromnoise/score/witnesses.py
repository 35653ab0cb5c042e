"""What is measured beside right and wrong: likeness to true pictures, variety, copies, and an audit."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from fromnoise.images.pixels import MIDDLE
from fromnoise.score.copies import SIDE, copied, nearest_two, thumbnails, twins
from fromnoise.score.kid import kid
from fromnoise.score.plans import PAPER, SEEN
from fromnoise.score.tables import Cell, Section, Share, kappa, known
from fromnoise.score.witness import Glance, Source
from fromnoise.world.check import judge
from fromnoise.world.prompts import Prompt
from fromnoise.world.render import render
from fromnoise.world.scene import Scene
from fromnoise.world.seeing import Seen
from fromnoise.world.worlds import world_of

Features = Callable[[Tensor], Tensor]  # pixels (B, 3, H, W) -> (B, D)
THOUSANDTHS: Final = 1000
BATCH: Final = 32


def rendered(scenes: Sequence[Scene], size: int) -> Iterator[Tensor]:
    """Scenes as pixels in [-1, 1], some at a time."""
    for at in range(0, len(scenes), BATCH):
        yield render(scenes[at : at + BATCH], size).pixels.float() / MIDDLE - 1


@dataclass
class Likeness:
    """KID-oracle: pictures of all tiers beside renders of other scenes of the same tiers."""

    features: Features
    others: Sequence[Scene]  # the same tiers, another seed
    size: int
    found: dict[Source, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    shown: dict[Source, list[int]] = field(default_factory=lambda: defaultdict(list))

    def watch(self, glance: Glance) -> None:
        """Keep the features of pictures for seen prompts; several tiers may ask for one scene."""
        if glance.split == SEEN:
            self.found[glance.source].append(glance.features)
            self.shown[glance.source] += [prompt.scene.seed for prompt in glance.prompts]

    def tell(self) -> Iterator[Section]:
        """Each source's distance, in units of the true pictures' own spread."""
        true = torch.cat([self.features(pixels) for pixels in rendered(self.others, self.size)])
        centre, scale = true.mean(0), true.std(0).clamp_min(1e-6)
        rows: list[dict[str, Cell]] = []
        for source in ("model", "rebuilt", "ceiling"):
            if source not in self.found:
                continue
            drawn = (torch.cat(self.found[source]) - centre) / scale
            scenes = torch.tensor(self.shown[source])
            far = kid(drawn, (true - centre) / scale, scenes, torch.tensor([s.seed for s in self.others]))
            value, error = (known(THOUSANDTHS * each) for each in (far.value, far.error))
            rows.append({"": source, "pictures": len(drawn), "KID × 1000": value, "standard error": error})
        note = (
            f"Unbiased, cubic kernel, on the checker's own features; beside {len(true)} renders of other\n"
            "scenes of the same tiers, seen prompts. Not to be compared with anybody's FID or KID."
        )
        yield Section("KID-oracle: how far the pictures are from true ones as a whole", tuple(rows), note)


@dataclass
class Variety:
    """How unlike the pictures of one prompt are."""

    features: dict[tuple[str, str], dict[int, list[Tensor]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    centres: dict[tuple[str, str], dict[int, list[tuple[float, float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def watch(self, glance: Glance) -> None:
        """Keep the features of the model's pictures, and where the first thing named is."""
        if glance.source != "model":
            return
        each = zip(glance.numbers, glance.prompts, glance.seen, glance.features, strict=True)
        for number, prompt, seen, row in each:
            self.features[glance.tier, glance.split][number].append(row)
            kind = prompt.atoms.things[0].kind
            found = [thing.centre for thing in seen.things if thing.kind == kind]
            self.centres[glance.tier, glance.split][number] += found[:1]

    def tell(self) -> Iterator[Section]:
        """For every set of prompts."""
        rows = [row for key in self.features if (row := self._row(*key))]
        note = (
            "Distance: mean of all pairs of pictures of one prompt in the checker's features, beside that\n"
            "of pairs of different prompts; 0 would be one and the same picture, 1 as unlike as any two.\n"
            "Spread: how far the first thing named strays from its mean place, in parts of the frame."
        )
        yield Section("Variety: how unlike the pictures of one prompt are", tuple(rows), note)

    def _row(self, tier: str, split: str) -> dict[str, Cell] | None:
        several = [torch.stack(rows) for rows in self.features[tier, split].values() if len(rows) > 1]
        if not several:
            return None
        within = torch.stack([torch.pdist(rows).mean() for rows in several]).mean()
        firsts = torch.stack([rows[0] for rows in several])
        across = torch.pdist(firsts).mean() if len(firsts) > 1 else torch.tensor(float("nan"))
        places = [torch.tensor(points) for points in self.centres[tier, split].values() if len(points) > 1]
        strays = [((p - p.mean(0)) ** 2).sum(1).sum() / (len(p) - 1) for p in places]
        spread = float(torch.stack(strays).mean().sqrt()) if strays else float("nan")
        return {"": f"{tier}, {split}", "distance": known(float(within / across)), "spread": known(spread)}


@dataclass
class Memory:
    """Pictures that are suspiciously near to one single picture of the training set, rendered again."""

    trained: Sequence[Scene]
    shown: int  # of them rendered, beside those with the facts of a prompt
    size: int
    small: dict[Source, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    scenes: dict[str, Scene] = field(default_factory=dict[str, Scene])

    def watch(self, glance: Glance) -> None:
        """Keep small versions of the model's pictures, and of true ones to compare with."""
        if glance.source in ("model", "ceiling"):
            self.small[glance.source].append(thumbnails(glance.pixels))
            self.scenes |= {prompt.text: prompt.scene for prompt in glance.prompts}

    def tell(self) -> Iterator[Section]:
        """The share of copies, and how near the nearest are."""
        same = twins(self.scenes.values(), self.trained)
        taken = {scene.seed for scene in same}
        pool = [*(scene for scene in self.trained[: self.shown] if scene.seed not in taken), *same]
        small = torch.cat([thumbnails(pixels) for pixels in rendered(pool, self.size)])
        rows: list[dict[str, Cell]] = []
        for source, parts in self.small.items():
            pictures = torch.cat(parts)
            copies, (_, which) = copied(pictures, small), nearest_two(pictures, small)
            nearest_same = int((which[:, 0] >= len(pool) - len(same)).sum())
            rows.append(
                {
                    "": source,
                    "copies": Share(int(copies.sum()), len(pictures)),
                    "nearest has a prompt's facts": Share(nearest_same, len(pictures)),
                }
            )
        note = (
            f"A copy: less than a third as far from its nearest training picture as from the second, at\n"
            f"{SIDE} pixels a side. The pool: {len(pool) - len(same)} training scenes as they come, and\n"
            f"{len(same)} of the first {len(self.trained)} that have all facts of a prompt, rendered again."
        )
        yield Section("Copies of training pictures", tuple(rows), note)


@dataclass
class Audit:
    """A second checker without any network, on pictures of one thing on paper."""

    read: Callable[[Tensor], Sequence[Seen]]
    verdicts: dict[Source, list[tuple[bool, bool]]] = field(default_factory=lambda: defaultdict(list))

    def watch(self, glance: Glance) -> None:
        """Judge again what is on paper."""
        if glance.tier != PAPER:
            return
        for prompt, first, second in zip(glance.prompts, glance.seen, self.read(glance.pixels), strict=True):
            self.verdicts[glance.source].append((right(prompt, first), right(prompt, second)))

    def tell(self) -> Iterator[Section]:
        """How often each says that the thing is there in its colour, and how often they agree."""
        rows: list[dict[str, Cell]] = []
        for source, pairs in self.verdicts.items():
            said = [sum(pair[n] for pair in pairs) for n in (0, 1)]
            agreed = sum(first == second for first, second in pairs)
            rows.append(
                {
                    "": source,
                    "checker": Share(said[0], len(pairs)),
                    "second checker": Share(said[1], len(pairs)),
                    "agree": Share(agreed, len(pairs)),
                    "kappa": known(kappa(pairs)),
                }
            )
        note = (
            "The second one parts thing from paper by colour (OKLab) and compares outline, shading and\n"
            "colour with renders. It sees one thing a picture. Its own ceiling is in the line of that name."
        )
        if rows:
            yield Section("Audit: a second checker on the tier paper", tuple(rows), note)


def right(prompt: Prompt, seen: Seen) -> bool:
    """Is the thing there, in its colour?"""
    verdict = judge(prompt.atoms, seen, world_of(prompt.scene.world))
    return bool(verdict.object and verdict.colour)
