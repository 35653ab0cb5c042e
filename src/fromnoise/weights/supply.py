"""The numbers of stored tensors, in pieces: what only passes through is never held whole.

A safetensors file is read here, not mapped: mapped pages would count as this program's memory.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor

from fromnoise.errors import StorageError, WeightsError
from fromnoise.weights.archive import Span
from fromnoise.weights.containers import LENGTH_BYTES, identify, open_file
from fromnoise.weights.mapped import METADATA
from fromnoise.weights.stored import Stored
from fromnoise.weights.wording import shown
from fromnoise.weights.writers import Slot

PIECE: Final = 1 << 20  # bytes read at once, which fit into the cache; a multiple of every size of numbers


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor's bytes lie in a row."""

    file: BinaryIO
    span: Span


@dataclass(slots=True)
class Supply:
    """The tensors of one or more opened files, each under the name that it was added by.

    Close it, or leave its stack to somebody. Not for several threads at once.
    """

    slots: dict[str, Slot] = field(default_factory=dict[str, Slot])
    origins: dict[str, tuple[Stored, str]] = field(default_factory=dict[str, tuple[Stored, str]])
    places: dict[str, Place] = field(default_factory=dict[str, Place])
    made: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    files: ExitStack = field(default_factory=ExitStack)

    def add(self, stored: Stored, prefix: str = "") -> None:
        """Offer the tensors of an opened file, which must stay open.  Raises: StorageError"""
        for name, shape in stored.shapes.items():
            self.slots[prefix + name] = Slot(prefix + name, stored.dtypes[name], shape)
            self.origins[prefix + name] = stored, name
        for path in stored.files:
            file, size = open_file(path)
            self.files.callback(file.close)
            if identify(file, size) == "safetensors":
                start = f"{path.parent.name}." if "model_index" in stored.configs else ""
                spans = _spans(file)
                self.places |= {prefix + start + name: Place(file, span) for name, span in spans.items()}

    def put(self, name: str, tensor: Tensor) -> None:
        """Offer a tensor that is in no file."""
        self.slots[name] = Slot(name, tensor.dtype, tuple(tensor.shape))
        self.made[name] = tensor

    def pieces(self, name: str) -> Iterator[memoryview]:
        """A tensor's bytes in order; each piece is good until the next one is asked for.

        Raises: StorageError, WeightsError if the file has changed since it was opened
        """
        if place := self.places.get(name):
            yield from self._read(name, place)
        else:
            yield from pieces_of(self.tensor(name))

    def tensor(self, name: str) -> Tensor:
        """A copy of a whole tensor.  Raises: StorageError, WeightsError as `pieces`"""
        place, slot = self.places.get(name), self.slots[name]
        if name in self.made:
            return self.made[name]
        if place is None:
            stored, inner = self.origins[name]
            return stored.read(inner)
        tensor = torch.empty(slot.shape, dtype=slot.dtype)
        at = 0
        target = raw(tensor)
        for piece in self._read(name, place):
            target[at : at + len(piece)] = piece
            at += len(piece)
        return tensor

    def _read(self, name: str, place: Place) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(PIECE, place.span.size)))
        try:
            place.file.seek(place.span.start)
            for left in range(place.span.size, 0, -PIECE):
                piece = buffer[: min(PIECE, left)]
                if place.file.readinto(piece) != len(piece):  # pyright: ignore[reportAttributeAccessIssue]
                    problem = f"{shown(place.file.name)} became shorter while {shown(name)!r} was read"
                    raise WeightsError(problem)
                yield piece
        except OSError as error:
            raise StorageError(f"cannot read {shown(place.file.name)}: {error.strerror}") from error


def pieces_of(tensor: Tensor) -> Iterator[memoryview]:
    """The bytes of a tensor at hand."""
    data = raw(tensor.contiguous())
    for at in range(0, len(data), PIECE):
        yield data[at : at + PIECE]


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor, as they lie in memory."""
    flat: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(flat)


def _spans(file: BinaryIO) -> Mapping[str, Span]:
    """Where the tensors of a safetensors file lie, which has been checked when it was opened."""
    file.seek(0)
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    table: dict[str, Any] = json.loads(file.read(length))
    table.pop(METADATA, None)
    start = LENGTH_BYTES + length
    return {
        name: Span(start + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in table.items()
    }
