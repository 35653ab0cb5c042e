"""Numbers from one type to another: none is lost without a word, and how far the rest moved is measured."""

from dataclasses import dataclass
from math import isfinite
from typing import Final

import torch
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.weights.wording import shown

FEW: Final = 1 << 15  # numbers at a time: they fit into the cache, and torch asks no other thread for help
ROOMIER: Final = "keep the numbers as they are, or give --dtype bfloat16 or float32"


@dataclass(slots=True)
class Rounding:
    """One tensor's numbers on their way to another type: how far they were moved, and the largest of them."""

    name: str  # of the tensor
    dtype: torch.dtype
    moved: float = 0.0
    largest: float = 0.0

    @property
    def relative(self) -> float:
        """The largest error as a part of the largest number."""
        return self.moved / self.largest if self.largest else 0.0

    def round(self, numbers: Tensor, made: Tensor) -> None:
        """Put a row of numbers into a row of the new type; those that are not finite stay so.

        Raises: WeightsError if one does not fit
        """
        is_exact = has_room(self.dtype, numbers.dtype)
        wide_type = torch.float64 if numbers.dtype == torch.float64 else torch.float32
        for at in range(0, len(numbers), FEW):
            given, taken = numbers[at : at + FEW], made[at : at + FEW]
            if is_exact:
                taken.copy_(given)
            else:
                wide = given.to(wide_type)  # torch is quicker from there than from one small type to another
                self._compare(wide, taken.copy_(wide))

    def _compare(self, wide: Tensor, made: Tensor) -> None:
        """See how far some numbers are from what became of them."""
        errors = made.to(wide.dtype).sub_(wide)
        moved, largest = _largest(errors), _largest(wide)
        if not isfinite(moved):  # some are not, or do not fit
            finite = wide.isfinite()
            if (lost := finite & ~made.to(wide.dtype).isfinite()).any():
                kind = str(self.dtype).removeprefix("torch.")
                problem = (
                    f"{shown(self.name)!r} holds {wide[lost][0].item():g}, which does not fit into {kind}"
                )
                raise WeightsError(problem, hint=ROOMIER)
            moved, largest = _largest(errors[finite]), _largest(wide[finite])
        self.moved, self.largest = max(self.moved, moved), max(self.largest, largest)


def has_room(dtype: torch.dtype, given: torch.dtype) -> bool:
    """Does the first type have every number of the second?"""
    new, old = torch.finfo(dtype), torch.finfo(given)
    smallest = new.smallest_normal * new.eps <= old.smallest_normal * old.eps
    return new.eps <= old.eps and new.max >= old.max and smallest


def _largest(numbers: Tensor) -> float:
    """The largest without its sign; NaN if one is."""
    if not numbers.numel():
        return 0.0
    low, high = numbers.aminmax()
    return max(-low.item(), high.item())
