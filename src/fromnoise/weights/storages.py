"""Tensors in PyTorch's own files: which part of which storage each one is, checked before it is read.

All arithmetic is on Python's numbers, which do not overflow; no tensor is larger than what is stored of it.
Source: torch/_utils.py (the arguments of `_rebuild_tensor_v2`), torch/serialization.py (`persistent_id`)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from re import fullmatch
from typing import Any, BinaryIO, Final, TypeGuard, cast

import torch
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.weights.archive import Span
from fromnoise.weights.pickles import Global

MOST_DIMENSIONS: Final = 8
LARGEST_SHAPE: Final = 1 << 40  # the product of a shape, its zeros left out

STORAGES: Final[Mapping[str, torch.dtype]] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
YOUNGER: Final = (torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16, torch.uint32, torch.uint64)
DTYPES: Final[Mapping[str, torch.dtype]] = {
    str(dtype).removeprefix("torch."): dtype for dtype in (*STORAGES.values(), *YOUNGER)
}
KINDS: Final[Mapping[Global, torch.dtype]] = {
    **{Global("torch", name): dtype for name, dtype in STORAGES.items()},
    Global("torch.storage", "UntypedStorage"): torch.uint8,
}


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers in a row in the file, under a key."""

    key: str
    dtype: torch.dtype
    count: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that has not been read, as a part of a storage. Offset and strides count elements."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def span(self) -> int:
        """How many elements there are from its first to its last."""
        steps = sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return 1 + steps if prod(self.shape) else 0

    def check(self) -> "StoredTensor":
        """Itself.  Raises: WeightsError if it leaves its storage or repeats what is stored"""
        held = self.storage.size // self.dtype.itemsize
        if min((*self.shape, *self.stride, self.offset, 0)) < 0:
            raise WeightsError("holds a tensor of an impossible shape")
        if prod(max(n, 1) for n in self.shape) > LARGEST_SHAPE:
            raise WeightsError("holds a tensor of an impossible size")
        if prod(self.shape) > held or self.offset + self.span > held:
            raise WeightsError(f"holds a tensor that is larger than the {held:,} numbers stored for it")
        if self.span and any(n > 1 and step == 0 for n, step in zip(self.shape, self.stride, strict=True)):
            raise WeightsError("holds an expanded tensor (stride 0)", hint="save it with .contiguous()")
        return self


@dataclass(slots=True)
class Storages:
    """The storages that a pickle names; `sizes`, in bytes, if it is already known what there is."""

    sizes: Mapping[str, int] | None = None
    named: dict[str, Storage] = field(default_factory=dict[str, Storage])

    def find(self, persistent_id: Any) -> Storage | Global:
        """The storage of this persistent id.  Raises: WeightsError if it is none, or of another size"""
        # the older format adds a view of another storage, which is None in all files since 2018
        match persistent_id[:5] if _is_short(persistent_id) and persistent_id[5:] in ((), (None,)) else None:
            case ("storage", Global() as kind, str() as key, str(), int() as count) if (
                kind in KINDS and fullmatch("[0-9]{1,20}", key) and count >= 0
            ):
                storage = Storage(key, KINDS[kind], count)
            case ("module", Global() as kind, _, _):  # the older format says where a class came from
                return kind
            case _:
                raise WeightsError("holds a reference to something that is no storage")
        if self.sizes is not None and self.sizes.get(key) != storage.size:
            raise WeightsError(
                f"says that storage {key} has {storage.size:,} bytes; it has {self.sizes.get(key, 0):,}",
                hint="download it again",
            )
        if self.named.setdefault(key, storage) != storage:
            raise WeightsError(f"says two different things about storage {key}")
        return storage


def tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    """What `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2` would make."""
    match arguments:
        case (Storage() as storage, offset, shape, stride, *_):
            return _stored(storage, storage.dtype, offset, shape, stride)
        case _:
            raise WeightsError("holds a tensor that makes no sense")


def tensor_of_type(arguments: tuple[Any, ...]) -> StoredTensor:
    """What `torch._utils._rebuild_tensor_v3` would make: its storage is bytes, the type is said apart."""
    match arguments:
        case (Storage() as storage, offset, shape, stride, _, _, Global("torch", name), *_) if name in DTYPES:
            return _stored(storage, DTYPES[name], offset, shape, stride)
        case _:
            raise WeightsError("holds a tensor that makes no sense")


def parameter(arguments: tuple[Any, ...]) -> StoredTensor:
    """What `torch._utils._rebuild_parameter` would make: the tensor that it wraps."""
    match arguments:
        case (StoredTensor() as inner, *_):
            return inner
        case _:
            raise WeightsError("holds a parameter that makes no sense")


def _stored(storage: Storage, dtype: torch.dtype, offset: Any, shape: Any, stride: Any) -> StoredTensor:
    if not (_are_numbers((offset,)) and _are_numbers(shape) and _are_numbers(stride)) or len(shape) != len(
        stride
    ):
        raise WeightsError("holds a tensor of an impossible shape")
    # what is never reached may be anything: the stride of a side of length 1, where an empty tensor begins
    steps = tuple(1 if n <= 1 and step >= 0 else step for n, step in zip(shape, stride, strict=True))
    start = 0 if offset >= 0 and 0 in shape else offset
    return StoredTensor(storage, dtype, start, shape, steps).check()


def _is_short(value: Any) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(value, tuple) and len(cast(tuple[Any, ...], value)) <= MOST_DIMENSIONS


def _are_numbers(value: Any) -> TypeGuard[tuple[int, ...]]:
    return _is_short(value) and all(isinstance(n, int) for n in value)


def read_tensor(file: BinaryIO, stored: StoredTensor, storage: Span) -> Tensor:
    """A copy of the tensor, contiguous; nothing but its own part of the storage is read.

    Raises: WeightsError if the file has become shorter, or if the memory is too small
    """
    try:
        flat = torch.empty(stored.span, dtype=stored.dtype)
    except RuntimeError as error:
        raise WeightsError(f"holds a tensor of {stored.span:,} numbers; there is no memory for it") from error
    target: Any = flat.view(torch.uint8).numpy()
    file.seek(storage.start + stored.offset * stored.dtype.itemsize)
    if file.readinto(target) != target.nbytes:  # pyright: ignore[reportAttributeAccessIssue]
        raise WeightsError("became shorter while it was read")
    return flat.as_strided(stored.shape, stored.stride).contiguous()
