"""CLIP beside the checker: how well it likes pictures with their prompts, and whether it would notice a swap.

Only a curve to look at: a model that was conditioned on the same CLIP shares its blind spots.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from fromnoise.score.plans import SEEN, TIERS
from fromnoise.score.tables import Cell, Section, Share
from fromnoise.score.witness import Glance, Source
from fromnoise.world.prompts import Prompt, say
from fromnoise.world.scene import Scene
from fromnoise.world.splits import MIRRORED

Liking = Callable[[Sequence[str], Tensor], Tensor]  # texts, pixels (B, 3, H, W) -> cosines (B,)
OPPOSITE: Final = MIRRORED | {there: here for here, there in MIRRORED.items()}
SWAPS: Final = {"attribution": "colours", "position": "relation", "count": "count ± 1"}  # by tier


@dataclass
class Clip:
    """Own-CLIP score, beside its two-way accuracy: the text itself, or one with something exchanged."""

    like: Liking
    scores: dict[tuple[str, Source], list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    swaps: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))

    def watch(self, glance: Glance) -> None:
        """Score all pictures, and swap on true ones."""
        if glance.split != SEEN or glance.source not in ("model", "ceiling"):
            return
        own = self.like([prompt.text for prompt in glance.prompts], glance.pixels)
        self.scores[glance.tier, glance.source].append(own)
        if glance.source == "ceiling" and glance.tier in SWAPS:
            others = [swapped(prompt, glance.tier) for prompt in glance.prompts]
            known = [n for n, other in enumerate(others) if other]
            if known:
                texts = [other for other in others if other]
                wrong = self.like(texts, glance.pixels[known])
                self.swaps[SWAPS[glance.tier]] += (own[known] > wrong).tolist()

    def tell(self) -> Iterator[Section]:
        """Two tables."""
        tiers = list(dict.fromkeys(tier for tier, _ in self.scores))
        rows: list[dict[str, Cell]] = []
        for tier in tiers:
            row: dict[str, Cell] = {"": tier}
            for source in ("model", "ceiling"):
                row[source] = float(torch.cat(self.scores[tier, source]).mean())
            rows.append(row)
        note = "Mean cosine of picture and prompt, seen prompts; ceiling: of true renders."
        yield Section("Own-CLIP score", tuple(rows), note)
        kept = [{"swapped": what, "right": Share(sum(won), len(won))} for what, won in self.swaps.items()]
        note = (
            "How often CLIP prefers the true text of a true render to one with this exchanged; chance is 50."
        )
        yield Section("What CLIP would notice", tuple(kept), note)


def swapped(prompt: Prompt, tier: str) -> str | None:
    """The prompt with colours, sides or number exchanged; None where that is not said differently."""
    text = say(_other(prompt.scene, tier), TIERS[tier].says)
    return None if text == prompt.text else text


def _other(scene: Scene, tier: str) -> Scene:
    things = list(scene.things)
    match tier:
        case "attribution":
            colours = [thing.colour for thing in things]
            things = [replace(t, colour=c) for t, c in zip(things, (colours[1], colours[0]), strict=True)]
            return replace(scene, things=tuple(things))
        case "position":
            (relation,) = scene.relations
            if relation.word in OPPOSITE:
                return replace(scene, relations=(replace(relation, word=OPPOSITE[relation.word]),))
            turned = replace(relation, subject=relation.object, object=relation.subject)
            return replace(scene, relations=(turned,))
        case _:
            return replace(scene, things=tuple(things[:-1] if len(things) > 2 else [*things, things[0]]))
