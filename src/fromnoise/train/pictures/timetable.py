"""Which pictures each step sees: a function of the seed and the step, so that a resume repeats it exactly."""

from collections.abc import Sequence
from typing import cast

import torch

from fromnoise.train.state import generator

ORDER, WITHIN = 11, 12  # what the generators are for


class Timetable:
    """Batches of one bucket each. Every epoch shows every place once, in another order.

    A bucket's last batch of an epoch may be smaller: filling it up would show some pictures more often.
    """

    def __init__(self, groups: Sequence[Sequence[int]], batch: int, seed: int) -> None:
        """`groups`: the places of each bucket; one that is to be shown twice an epoch is in there twice."""
        self.groups = [torch.tensor(group) for group in groups if group]
        self.batch, self.seed = batch, seed
        self.steps = sum(-(-len(group) // batch) for group in self.groups)  # of an epoch
        self._epoch, self._batches = -1, list[list[int]]()

    def at(self, step: int) -> list[int]:
        """The places that a step sees."""
        epoch, place = divmod(step, self.steps)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        return self._batches[place]

    def _shuffled(self, epoch: int) -> list[list[int]]:
        batches: list[list[int]] = []
        for number, group in enumerate(self.groups):
            order = torch.randperm(len(group), generator=generator(self.seed, WITHIN, epoch, number))
            shuffled = cast(list[int], group[order].tolist())
            batches += [shuffled[at : at + self.batch] for at in range(0, len(shuffled), self.batch)]
        order = torch.randperm(len(batches), generator=generator(self.seed, ORDER, epoch))
        return [batches[place] for place in cast(list[int], order.tolist())]
