"""`.ckpt` files as PyTorch writes them, without pickle: an archive of one pickle and a file for each tensor.

The pickle is emitted by hand: dictionaries, texts, whole numbers and calls of
`torch._utils._rebuild_tensor_v2` are all there ever is in it.
Source: torch/serialization.py (`_save`), torch/_tensor.py (`_reduce_ex_internal`), CPython's pickletools.py
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from struct import pack
from typing import BinaryIO, Final
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from fromnoise.errors import WeightsError
from fromnoise.weights.archive import EXTRA, LOCAL
from fromnoise.weights.state_dicts import STATE_DICT
from fromnoise.weights.storages import STORAGES, YOUNGER
from fromnoise.weights.writers import Numbers, Slot, copy_numbers

FOLDER: Final = "archive"
VERSION: Final = b"3\n"  # Source: kProducedFileFormatVersion in torch's caffe2/serialize/versions.h
BYTE_ORDER: Final = b"little"
ALIGNMENT: Final = 64  # of each storage, so that PyTorch can map it
PADDING: Final = int.from_bytes(b"FB", "little")  # the extra field that PyTorch pads with
SPARE: Final = b"Z"

Fact = str | int

START, STOP = b"\x80\x02", b"."  # protocol 2, as PyTorch
OPEN, TUPLE, CALL, PERSISTENT = b"(", b"t", b"R", b"Q"
EMPTY_DICT, SET_ITEMS, EMPTY_TUPLE, NO = b"}", b"u", b")", b"\x89"
TEXT, NUMBER, LARGE_NUMBER = b"X", b"J", b"\x8a"
SMALL_NUMBERS: Final = range(-(2**31), 2**31)
CLASSES: Final = {dtype: name for name, dtype in STORAGES.items()}


def write_checkpoint(
    file: BinaryIO, slots: Sequence[Slot], facts: Mapping[str, Fact], numbers: Numbers
) -> None:
    """Write a dictionary of the tensors ("state_dict") and of the facts beside it.

    `file` must be seekable: the sum that the archive keeps of each tensor is known only behind it
    Raises: WeightsError for a type of numbers that PyTorch does not store; OSError
    """
    with ZipFile(file, "w", ZIP_STORED) as archive:
        _enter(archive, "data.pkl", emitted(slots, facts))
        _enter(archive, "byteorder", BYTE_ORDER)
        for key, slot in enumerate(slots):
            info = ZipInfo(f"{FOLDER}/data/{key}")
            info.file_size = slot.size
            info.extra = _padding(file.tell(), len(info.filename))
            with archive.open(info, "w") as entry:
                copy_numbers(slot, numbers, entry)  # pyright: ignore[reportArgumentType]
        _enter(archive, "version", VERSION)


def _enter(archive: ZipFile, name: str, data: bytes) -> None:
    archive.writestr(ZipInfo(f"{FOLDER}/{name}"), data)


def _padding(at: int, name_length: int) -> bytes:
    """The extra field after which the bytes of an entry, whose header begins at `at`, lie evenly."""
    start = at + LOCAL.size + name_length + EXTRA.size
    length = -start % ALIGNMENT
    return EXTRA.pack(PADDING, length) + SPARE * length


# --- the pickle ---


def emitted(slots: Sequence[Slot], facts: Mapping[str, Fact]) -> bytes:
    """The pickle of the dictionary; slot k lies in storage k."""
    tensors = b"".join(_text(slot.name) + _tensor(key, slot) for key, slot in enumerate(slots))
    beside = b"".join(_text(name) + _fact(value) for name, value in facts.items())
    table = _text(STATE_DICT) + EMPTY_DICT + OPEN + tensors + SET_ITEMS
    return START + EMPTY_DICT + OPEN + table + beside + SET_ITEMS + STOP


def _tensor(key: int, slot: Slot) -> bytes:
    if slot.dtype in CLASSES:
        storage, function, more = _storage(key, "torch", CLASSES[slot.dtype], slot.count), "v2", b""
    elif slot.dtype in YOUNGER:  # no class of storages for it: its storage is bytes, the type is said apart
        storage, function = _storage(key, "torch.storage", "UntypedStorage", slot.size), "v3"
        more = _named("torch", str(slot.dtype).removeprefix("torch."))
    else:
        problem = f"{slot.name!r} is of the type {slot.dtype}, which .ckpt files do not have"
        raise WeightsError(problem, hint="give another --dtype")
    hooks = _named("collections", "OrderedDict") + EMPTY_TUPLE + CALL
    place = _number(0) + _numbers(slot.shape) + _numbers(_strides(slot.shape))
    arguments = OPEN + storage + place + NO + hooks + more + TUPLE  # NO: it needs no gradient
    return _named("torch._utils", f"_rebuild_tensor_{function}") + arguments + CALL


def _storage(key: int, module: str, name: str, count: int) -> bytes:
    identity = _text("storage") + _named(module, name) + _text(str(key)) + _text("cpu") + _number(count)
    return OPEN + identity + TUPLE + PERSISTENT


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Those of a tensor whose numbers lie in a row."""
    sides: Iterator[int] = accumulate((max(n, 1) for n in reversed(shape[1:])), int.__mul__, initial=1)
    return tuple(reversed(tuple(sides))) if shape else ()


def _fact(value: Fact) -> bytes:
    return _text(value) if isinstance(value, str) else _number(value)


def _numbers(values: tuple[int, ...]) -> bytes:
    return OPEN + b"".join(map(_number, values)) + TUPLE


def _number(value: int) -> bytes:
    if value in SMALL_NUMBERS:
        return NUMBER + pack("<l", value)
    length = value.bit_length() // 8 + 1
    return LARGE_NUMBER + bytes([length]) + value.to_bytes(length, "little", signed=True)


def _text(words: str) -> bytes:
    encoded = words.encode()
    return TEXT + pack("<L", len(encoded)) + encoded


def _named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()
