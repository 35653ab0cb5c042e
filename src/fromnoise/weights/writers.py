"""Files of tensors, written one tensor after the other: nothing is held but the piece that is being written.

Each writer is told everything but the numbers first, and asks for these, tensor by tensor, in its own order.
Source: the safetensors format description (README of huggingface/safetensors)
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Final

import torch

from fromnoise.errors import WeightsError
from fromnoise.weights.containers import LENGTH_BYTES
from fromnoise.weights.mapped import METADATA, TYPES

Buffer = bytes | bytearray | memoryview
ALIGNMENT: Final = 8  # of the first number in a safetensors file
FORMAT: Final[Mapping[str, str]] = {"format": "pt"}  # transformers refuses a file that does not say so

NAMES: Final = {dtype: name for name, dtype in TYPES.items()}


@dataclass(frozen=True, slots=True)
class Slot:
    """A tensor that is about to be written: everything but its numbers."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.count * self.dtype.itemsize


Numbers = Callable[
    [Slot], Iterable[Buffer]
]  # a tensor's bytes, in pieces: little-endian, the last dimension fastest


def write_safetensors(
    file: BinaryIO, slots: Sequence[Slot], metadata: Mapping[str, str], numbers: Numbers
) -> None:
    """Write the header, then every tensor; wide numbers first, so that each begins where its type may begin.

    Raises: WeightsError for a type of numbers that the format does not have; OSError
    """
    ordered = in_order(slots)
    file.write(header_of(ordered, metadata))
    for slot in ordered:
        copy_numbers(slot, numbers, file)


def in_order(slots: Sequence[Slot]) -> list[Slot]:
    """The order in which a safetensors file holds them."""
    return sorted(slots, key=lambda slot: -slot.dtype.itemsize)


def header_of(slots: Sequence[Slot], metadata: Mapping[str, str]) -> bytes:
    """The length of the header, and the header: each tensor's type, shape and place."""
    table: dict[str, object] = {METADATA: {**metadata, **FORMAT}}
    at = 0
    for slot in slots:
        if slot.dtype not in NAMES:
            problem = f"{slot.name!r} is of the type {slot.dtype}, which safetensors files do not have"
            raise WeightsError(problem, hint="give another --dtype")
        assert slot.name not in table, f"two tensors are called {slot.name!r}"
        offsets = [at, at := at + slot.size]
        table[slot.name] = {"dtype": NAMES[slot.dtype], "shape": list(slot.shape), "data_offsets": offsets}
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def copy_numbers(slot: Slot, numbers: Numbers, file: BinaryIO) -> None:
    """Write one tensor's bytes.  Raises: WeightsError if there are more or fewer than its shape says"""
    written = sum(file.write(piece) for piece in numbers(slot))
    if written != slot.size:
        raise WeightsError(
            f"{slot.name!r} has {written:,} bytes instead of {slot.size:,}: its file has changed"
        )


def write_text(path: Path, text: str) -> None:
    """A small file whose bytes are on the disk when this returns.  Raises: OSError"""
    with path.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
