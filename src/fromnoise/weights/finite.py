"""Looking at every number of a file: NaN and infinity make black pictures, and no format forbids them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.weights.stored import Stored


@dataclass(frozen=True, slots=True)
class Broken:
    """A tensor with numbers that are none."""

    name: str
    nan: int
    infinite: int


def find_broken(stored: Stored, told: Callable[[int], None]) -> Iterator[Broken]:
    """Read all tensors, one at a time; `told` hears the bytes of each.

    Raises: StorageError or WeightsError if the file changes meanwhile
    """
    for name in stored.shapes:
        tensor = stored.read(name)
        told(tensor.nbytes)
        if broken := _look(name, tensor):
            yield broken


def _look(name: str, tensor: Tensor) -> Broken | None:
    if not (tensor.is_floating_point() or tensor.is_complex()) or not tensor.numel():
        return None
    if tensor.element_size() == 1:  # little is defined for float8
        tensor = tensor.float()
    reals = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    if all(bound.isfinite() for bound in reals.aminmax()):  # faster than to ask for each number; NaN wins
        return None
    return Broken(name, int(tensor.isnan().sum()), int(tensor.isinf().sum()))
