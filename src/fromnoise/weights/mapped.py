"""safetensors files, mapped into memory: tensors are views of the file, read when they are used.

The library checks shapes, types and offsets. Here its complaints become ours, and what it lets pass is
checked: names that stand twice, headers out of all proportion, files that shrink while they are open.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.weights.containers import AGAIN, LENGTH_BYTES
from fromnoise.weights.wording import shown

LARGEST_HEADER: Final = 32 << 20  # bytes; the library's limit is 100 MB, and what real files have is under 2
METADATA: Final = "__metadata__"
OLDER: Final = "get the model as float16 or bfloat16"
# Source: safetensors/torch.py; F4 and F6, several numbers to a byte, have no tensors of ordinary shape
TYPES: Final[Mapping[str, torch.dtype]] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
COMPLAINTS: Final = {  # what the library says, and what we do
    "unknown variant": "holds numbers of a type that is not known here",
    "invalid offset": "is damaged: its tensors overlap, or there is a gap between them",
    "invalid shape": "is damaged: a tensor has another size than its shape and type need",
    "overflow": "is damaged: a tensor of an impossible size",
    "header too large": "is damaged: its header is too long",
    "invalid utf-8": "is damaged: its header is not UTF-8",
    "expected a string": "is damaged: its metadata are not all text",
}


@dataclass(frozen=True, slots=True)
class Mapped:
    """What an open safetensors file holds."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    metadata: Mapping[str, str]
    file: BinaryIO
    size: int
    opened: Any

    def read(self, name: str) -> Tensor:
        """One tensor, a view of the file.

        A view of a file that somebody cuts short ends the program when it is used: copy what is to stay.
        Raises: KeyError; WeightsError if the file has become shorter since it was opened
        """
        if os.fstat(self.file.fileno()).st_size < self.size:
            raise WeightsError("became shorter while it was read")
        if name not in self.shapes:
            raise KeyError(name)
        tensor: Tensor = self.opened.get_tensor(name)
        return tensor

    def close(self) -> None:
        """Give the file back; tensors that were read keep their part of it."""
        self.opened.__exit__(None, None, None)
        self.file.close()


def open_mapped(path: Path, file: BinaryIO, size: int) -> Mapped:
    """Check and map the open file of this path; `close` closes both.

    Raises: WeightsError that says what is damaged
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise WeightsError("has a name that is not UTF-8", hint="rename it") from error
    file.seek(0)
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if length > LARGEST_HEADER:
        raise WeightsError(f"has a header of {length:,} bytes, far too long for one", hint=AGAIN)
    try:
        opened: Any = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise _explained(str(error), file, length, size) from error
    try:
        header = _header(file, length)
        metadata: dict[str, str] = header.pop(METADATA, None) or {}
        shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
        dtypes = {name: _dtype(name, entry["dtype"]) for name, entry in header.items()}
        if not shapes:
            raise WeightsError("holds no tensors", hint=AGAIN)
        return Mapped(shapes, dtypes, metadata, file, size, opened)
    except BaseException:
        opened.__exit__(None, None, None)
        raise


def _header(file: BinaryIO, length: int) -> dict[str, Any]:
    """The header, which the library has found to be well formed."""
    file.seek(LENGTH_BYTES)
    try:
        return json.loads(file.read(length).decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise WeightsError("is damaged: its header makes no sense", hint=AGAIN) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Programs do not agree on which of two entries of one name counts."""
    table = dict(pairs)
    if len(table) < len(pairs):
        seen = set[str]()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise WeightsError(f"is damaged: {shown(twice)} stands twice in its header", hint=AGAIN)
    return table


def _dtype(name: str, kind: str) -> torch.dtype:
    if kind not in TYPES:
        raise WeightsError(f"holds {shown(name)} as {kind}, which PyTorch cannot compute with", hint=OLDER)
    return TYPES[kind]


def _explained(complaint: str, file: BinaryIO, length: int, size: int) -> WeightsError:
    if "not fully covered" in complaint:
        entries = cast(dict[str, dict[str, Any]], _header(file, length))
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != METADATA]
        whole = LENGTH_BYTES + length + max(ends, default=0)
        if size < whole:
            return WeightsError(f"is cut short: {size:,} of {whole:,} bytes are there", hint=AGAIN)
        return WeightsError(f"is damaged: {size - whole:,} bytes follow its last tensor", hint=AGAIN)
    for words, ours in COMPLAINTS.items():
        if words in complaint.lower():
            return WeightsError(ours, hint=AGAIN)
    return WeightsError("is damaged: its header makes no sense", hint=AGAIN)
