"""Tensors on their way from a supply to a file: piece by piece, hashed on the way, rounded if asked."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite
from typing import Final

import torch
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.weights.model_converter import Plan, Recipe, keep
from fromnoise.weights.proof import Change, Line
from fromnoise.weights.supply import Supply, pieces_of, raw
from fromnoise.weights.wording import shown
from fromnoise.weights.writers import Slot

AHEAD: Final = 1 << 16  # bytes; less is hashed sooner than another thread is told to
FEW: Final = 1 << 14  # numbers at a time: they fit into the cache, and torch asks no other thread for help
ROOMIER: Final = "keep the numbers as they are, or give --dtype bfloat16 or float32"


class Hash:
    """SHA-256 of bytes, computed while somebody else writes them."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool, self.state = pool, sha256()

    def along(self, pieces: Iterable[memoryview]) -> Iterator[memoryview]:
        """The same pieces; each is hashed while the caller is busy with it."""
        for piece in pieces:
            if len(piece) < AHEAD:
                self.state.update(piece)
                yield piece
            else:
                waiting = self.pool.submit(self.state.update, piece)
                try:
                    yield piece
                finally:
                    waiting.result()

    def hexdigest(self) -> str:
        """Of all pieces that went by."""
        return self.state.hexdigest()


@dataclass(slots=True)
class Transfer:
    """Makes tensors by their recipes, and keeps account of what became of each."""

    supply: Supply
    dtype: torch.dtype | None  # None: as in the source
    pool: ThreadPoolExecutor
    tell: Callable[[int], None]  # how many bytes have been made since it was told last
    lines: list[Line] = field(default_factory=list[Line])
    hashes: dict[str, str] = field(default_factory=dict[str, str])  # of what was read

    def slots(self, recipes: Plan) -> list[Slot]:
        """What the recipes will make, found without reading.

        Raises: WeightsError if a tensor has a shape that its recipe cannot use
        """
        names = {name for recipe in recipes.values() for name in recipe.sources}
        blank = {name: _blank(self.supply.slots[name]) for name in names}
        made = ((name, recipe(blank)) for name, recipe in recipes.items())
        return [Slot(name, self._type(tensor.dtype), tuple(tensor.shape)) for name, tensor in made]

    def pieces(self, recipe: Recipe, slot: Slot) -> Iterator[memoryview]:
        """The bytes of one tensor, to be written as they come; its line is added when all have been taken.

        Raises: WeightsError if a number does not fit into the type, or if a file has changed
        """
        error = Rounding()
        after = Hash(self.pool)
        for piece in after.along(self._made(recipe, slot, error)):
            yield piece
            self.tell(len(piece))
        if recipe.make is keep and self.supply.slots[recipe.sources[0]].dtype == slot.dtype:
            self.hashes[recipe.sources[0]] = after.hexdigest()  # the very bytes that were read
        self.lines.append(self._line(recipe, slot, after.hexdigest(), error))

    def _made(self, recipe: Recipe, slot: Slot, error: "Rounding") -> Iterator[memoryview]:
        if recipe.make is not keep:
            held = {name: self.supply.tensor(name) for name in dict.fromkeys(recipe.sources)}
            for name, tensor in held.items():
                if name not in self.hashes:
                    self.hashes[name] = _digest(pieces_of(tensor))
            made = recipe(held)
            yield from pieces_of(made if made.dtype == slot.dtype else error.rounded(made, slot))
            return
        (source,) = recipe.sources
        dtype = self.supply.slots[source].dtype
        if dtype == slot.dtype:
            yield from self.supply.pieces(source)
            return
        before = Hash(self.pool)
        for piece in before.along(self.supply.pieces(source)):
            numbers = torch.frombuffer(piece, dtype=dtype)
            yield raw(error.rounded(numbers, slot))
        self.hashes[source] = before.hexdigest()

    def _line(self, recipe: Recipe, slot: Slot, after: str, error: "Rounding") -> Line:
        sources = tuple(dict.fromkeys(recipe.sources))
        before = tuple(self.hashes[name] for name in sources)
        given = [self.supply.slots[name] for name in sources]
        change: Change = "rearranged"
        if any(source.dtype != slot.dtype for source in given):
            change = "retyped"
        elif before == (after,):
            change = "same" if given[0].shape == slot.shape else "reshaped"
        kind = str(slot.dtype).removeprefix("torch.")
        if sources[0] in self.supply.made:
            sources, before, change = (), (), "same"
        return Line(slot.name, sources, before, after, kind, slot.shape, change, error.relative)

    def _type(self, dtype: torch.dtype) -> torch.dtype:
        """What numbers of this type are written as."""
        return self.dtype if self.dtype is not None and dtype.is_floating_point else dtype


@dataclass(slots=True)
class Rounding:
    """How far numbers were moved, and the largest of them."""

    moved: float = 0.0
    largest: float = 0.0

    @property
    def relative(self) -> float:
        """The largest error as a part of the largest number."""
        return self.moved / self.largest if self.largest else 0.0

    def rounded(self, numbers: Tensor, slot: Slot) -> Tensor:
        """The numbers in the type of their slot; those that are not finite stay so.

        Raises: WeightsError if one does not fit
        """
        made = torch.empty(numbers.shape, dtype=slot.dtype)
        given, taken = numbers.reshape(-1), made.view(-1)
        for at in range(0, len(given), FEW):
            few = given[at : at + FEW]
            self._round(few, taken[at : at + FEW].copy_(few), slot)
        return made

    def _round(self, numbers: Tensor, made: Tensor, slot: Slot) -> None:
        """Compare some numbers with what became of them."""
        wide = numbers.to(torch.float64 if numbers.dtype == torch.float64 else torch.float32)
        back = made.to(wide.dtype)
        moved, largest = _largest(wide - back), _largest(wide)
        if not isfinite(moved):  # some are not, or do not fit
            finite = wide.isfinite()
            if (lost := finite & ~back.isfinite()).any():
                kind = str(slot.dtype).removeprefix("torch.")
                problem = (
                    f"{shown(slot.name)!r} holds {wide[lost][0].item():g}, which does not fit into {kind}"
                )
                raise WeightsError(problem, hint=ROOMIER)
            moved, largest = _largest((wide - back)[finite]), _largest(wide[finite])
        self.moved, self.largest = max(self.moved, moved), max(self.largest, largest)


def _largest(numbers: Tensor) -> float:
    """The largest without its sign; NaN if one is."""
    if not numbers.numel():
        return 0.0
    low, high = numbers.aminmax()
    return torch.maximum(-low, high).item()


def _blank(slot: Slot) -> Tensor:
    return torch.empty(slot.shape, dtype=slot.dtype, device="meta")


def _digest(pieces: Iterable[memoryview]) -> str:
    state = sha256()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()


def compare_hashes(written: Mapping[str, str], found: Supply) -> None:
    """Read what was written again.  Raises: WeightsError if anything is not as it was written"""
    for name, digest in written.items():
        if name not in found.slots or _digest(found.pieces(name)) != digest:
            raise WeightsError(
                f"{shown(name)!r} is not on the disk as it was written", hint="is the disk healthy?"
            )
