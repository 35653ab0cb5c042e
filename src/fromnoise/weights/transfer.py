"""Tensors on their way from a supply to a file: piece by piece, rounded if asked, hashed before and after."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fromnoise.weights.buffers import Buffers
from fromnoise.weights.conversion_report import Change, Line
from fromnoise.weights.hashing import Hash, Hasher
from fromnoise.weights.model_converter import Plan, Recipe, keep
from fromnoise.weights.rounding import Rounding
from fromnoise.weights.supply import PIECE, Supply, pieces_of
from fromnoise.weights.writers import Slot


@dataclass(frozen=True, slots=True)
class Passed:
    """A tensor that has gone by."""

    recipe: Recipe
    slot: Slot
    after: Hash
    rounding: Rounding


@dataclass(slots=True)
class Transfer:
    """Makes tensors by their recipes, and keeps account of what became of each.

    This thread reads, rounds and hands on. Two more hash, one what is read and one what is written, and are
    waited for only when they fall far behind.
    """

    supply: Supply
    reading: Hasher
    writing: Hasher
    buffers: Buffers = field(default_factory=lambda: Buffers(PIECE))  # for what is rounded
    before: dict[str, Hash] = field(default_factory=dict[str, Hash])  # by the names of the sources
    passed: list[Passed] = field(default_factory=list[Passed])

    def pieces(self, recipe: Recipe, slot: Slot) -> Iterator[memoryview]:
        """The bytes of one tensor, to be written as they come.

        Raises: WeightsError if a number does not fit into the type, or if a file has changed
        """
        rounding, after = Rounding(slot.name, slot.dtype), Hash(self.writing)
        dtype, pieces = self._given(recipe, slot, after)
        if dtype != slot.dtype:
            pieces = (self._rounded(torch.frombuffer(piece, dtype=dtype), rounding) for piece in pieces)
        yield from after.along(pieces)
        self.passed.append(Passed(recipe, slot, after, rounding))

    def _given(self, recipe: Recipe, slot: Slot, after: Hash) -> tuple[torch.dtype, Iterator[memoryview]]:
        """The numbers of a tensor as its sources have them."""
        if recipe.make is not keep:
            made = recipe({name: self._whole(name) for name in dict.fromkeys(recipe.sources)})
            return made.dtype, pieces_of(made)
        (name,) = recipe.sources
        dtype, pieces = self.supply.slots[name].dtype, self.supply.pieces(name)
        if self._is_scaled(name):
            tensor = self._whole(name)
            return dtype, pieces_of(tensor)
        if dtype == slot.dtype:
            self.before[name] = after  # the very bytes that are read
            return dtype, pieces
        before = self.before[name] = Hash(self.reading)
        return dtype, before.along(pieces)

    def _rounded(self, numbers: Tensor, rounding: Rounding) -> memoryview:
        made = self.buffers.lend(len(numbers) * rounding.dtype.itemsize)
        rounding.round(numbers, torch.frombuffer(made, dtype=rounding.dtype))
        return made

    def _whole(self, name: str) -> Tensor:
        tensor = self.supply.tensor(name)
        if name not in self.before:
            before = self.before[name] = Hash(self.reading)
            for _ in before.along(pieces_of(self._kept(name) if self._is_scaled(name) else tensor)):
                pass
        return tensor

    def _is_scaled(self, name: str) -> bool:
        """Whether the file keeps other bytes than are handed on: a product with a scale is."""
        stored, inner = self.supply.origins.get(name, (None, ""))
        return stored is not None and inner in stored.scaled

    def _kept(self, name: str) -> Tensor:
        stored, inner = self.supply.origins[name]
        return stored.read_kept(inner)

    def lines(self) -> list[Line]:
        """What became of each tensor, once the hashers are done."""
        return [self._line(passed) for passed in self.passed]

    def _line(self, passed: Passed) -> Line:
        slot, after = passed.slot, passed.after.hexdigest()
        sources = tuple(dict.fromkeys(passed.recipe.sources))
        before = tuple(self.before[name].hexdigest() for name in sources)
        given = [self.supply.slots[name] for name in sources]
        change: Change = "rearranged"
        if any(source.dtype != slot.dtype or self._is_scaled(source.name) for source in given):
            change = "retyped"
        elif before == (after,):
            change = "same" if given[0].shape == slot.shape else "reshaped"
        if sources[0] in self.supply.made:
            sources, before, change = (), (), "same"
        kind = str(slot.dtype).removeprefix("torch.")
        return Line(slot.name, sources, before, after, kind, slot.shape, change, passed.rounding.relative)


def slots_of(recipes: Plan, supply: Supply, dtype: torch.dtype | None) -> list[Slot]:
    """What the recipes will make, found without reading; floats in `dtype`, if it is given.

    Raises: WeightsError if a tensor has a shape that its recipe cannot use
    """
    slots = [supply.slots[name] for recipe in recipes.values() for name in recipe.sources]
    blank = {slot.name: torch.empty(slot.shape, dtype=slot.dtype, device="meta") for slot in slots}
    made = ((name, recipe(blank)) for name, recipe in recipes.items())
    return [Slot(name, _kind(tensor.dtype, dtype), tuple(tensor.shape)) for name, tensor in made]


def _kind(found: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    """What numbers of the first type are written as."""
    return wanted if wanted is not None and found.is_floating_point else found
