"""How a caption is put to the model at one step: whole, with its tags in another order, or not at all.

Source: Ho & Salimans 2022, alg. 1 (arXiv:2207.12598) for leaving it out; kohya's sd-scripts for the tags
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from fromnoise.errors import RequestError
from fromnoise.train.state import generator

WORDS: Final = 13  # what the generators are for
TAG: Final = ","


@dataclass(frozen=True, slots=True)
class Phrasing:
    """What chance does to captions. A function of seed, step and place in the batch."""

    dropout: float = 0.1  # share of the captions that are left empty, for classifier-free guidance
    shuffle: bool = False  # put the tags between commas in another order
    keep: int = 0  # so many first tags stay where they are

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise RequestError({"caption dropout": f"{self.dropout:g} is outside 0..1"})
        if self.keep < 0:
            raise RequestError({"tags kept": f"{self.keep} is less than 0"})

    def __call__(self, captions: Sequence[Sequence[str]], seed: int, step: int) -> list[str]:
        """One caption a picture, of those that it has."""
        chance = generator(seed, WORDS, step)
        return [self._put(of_one, chance) for of_one in captions]

    def _put(self, captions: Sequence[str], chance: torch.Generator) -> str:
        which = int(torch.randint(len(captions), (), generator=chance))
        silent = torch.rand((), generator=chance).item() < self.dropout
        tags = [tag.strip() for tag in captions[which].split(TAG)]
        movable = tags[self.keep :]
        order = torch.randperm(len(movable), generator=chance)
        if silent:
            return ""
        if not self.shuffle:
            return captions[which]
        return f"{TAG} ".join([*tags[: self.keep], *(movable[place] for place in order)])
