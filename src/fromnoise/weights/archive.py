"""Where a zip archive keeps its entries: the little of the format that PyTorch writes, and nothing else.

A reader that forgives what another does not shows two people two different files. So what PyTorch does not
write (compression, encryption, a comment, two entries of one name or in one place) is refused.
Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14 to 4.3.16 (its end)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from typing import BinaryIO, Final

from fromnoise.errors import WeightsError
from fromnoise.weights.wording import shown

MOST_ENTRIES: Final = 20_000
LARGEST_DIRECTORY: Final = 8 << 20  # bytes

LOCAL: Final = Struct("<4s5H3L2H")
ENTRY: Final = Struct("<4s6H3L5H2L")
END: Final = Struct("<4s4H2LH")
END_64_PLACE: Final = Struct("<4sLQL")
END_64: Final = Struct("<4sQ2H2L4Q")
EXTRA: Final = Struct("<2H")

STORED: Final = 0  # the method of an entry that is not compressed
SIZES_FOLLOW, UTF8 = 1 << 3, 1 << 11  # the two flags that PyTorch sets
LARGE: Final = 1  # the extra field for what does not fit into 32 bits
FULL_16, FULL = 0xFFFF, 0xFFFFFFFF  # "the number is in the 64-bit field"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a file, in bytes."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Entry:
    """What the directory says of an entry; `header` is where its local header begins."""

    name: bytes
    flags: int
    size: int
    header: int


def read_directory(file: BinaryIO, size: int) -> Mapping[str, Span]:
    """The entries of the archive in `file`, which is `size` bytes long, by name.  Raises: WeightsError"""
    directory, count = _find_directory(file, size)
    entries = list(_entries(read_exactly(file, directory), count))
    if len({entry.name for entry in entries}) != count:
        raise WeightsError("holds two entries of one name")
    spans = [_locate(file, entry, directory.start) for entry in entries]
    taken = sorted((entry.header, span.end) for entry, span in zip(entries, spans, strict=True))
    if any(end > start for (_, end), (start, _) in pairwise(taken)):
        raise WeightsError("holds entries that lie over each other")
    try:
        return {entry.name.decode(): span for entry, span in zip(entries, spans, strict=True)}
    except UnicodeDecodeError as error:
        raise WeightsError("holds an entry whose name is not UTF-8") from error


def read_exactly(file: BinaryIO, span: Span) -> bytes:
    """The bytes of a span that is known to be small.  Raises: WeightsError if the file ends before it does"""
    file.seek(span.start)
    data = file.read(span.size)
    if len(data) != span.size:
        raise WeightsError("is cut short", hint="download it again")
    return data


def _find_directory(file: BinaryIO, size: int) -> tuple[Span, int]:
    """Where the directory lies, and how many entries it has."""
    start = size - END.size
    if start < 0 or not (end := read_exactly(file, Span(start, END.size))).startswith(b"PK\5\6"):
        raise WeightsError(
            "is a zip archive that is cut short, or that something follows", hint="download it again"
        )
    _, *disks, here, count, length, offset, comment = END.unpack(end)
    if large := _find_large_end(file, start - END_64_PLACE.size):
        start, *numbers = large
        if any(
            a not in (b, FULL_16, FULL) for a, b in zip((here, count, length, offset), numbers, strict=True)
        ):
            raise WeightsError("is a damaged zip archive: its two ends disagree")
        here, count, length, offset = numbers
    if any(disks) or here != count or comment:
        raise WeightsError(
            "is a zip archive of several parts or with a comment, which PyTorch does not write"
        )
    if count > MOST_ENTRIES or length > LARGEST_DIRECTORY:
        raise WeightsError(f"is a zip archive of {count} entries; {MOST_ENTRIES} is the most that is read")
    if offset + length != start:
        raise WeightsError("is a damaged zip archive: its directory does not end where its end begins")
    return Span(offset, length), count


def _find_large_end(file: BinaryIO, place: int) -> list[int]:
    """The end in 64 bits, if any: its place, entries here and in all, the directory's size and place."""
    if place < END_64.size:
        return []
    mark, disk, at, _ = END_64_PLACE.unpack(read_exactly(file, Span(place, END_64_PLACE.size)))
    if mark != b"PK\6\7":
        return []
    mark, _, _, _, *disks, here, count, length, offset = END_64.unpack(
        read_exactly(file, Span(place - END_64.size, END_64.size))
    )
    if mark != b"PK\6\6" or at != place - END_64.size or disk or any(disks):
        raise WeightsError("is a damaged zip archive: its end makes no sense")
    return [at, here, count, length, offset]


def _entries(directory: bytes, count: int) -> Iterator[Entry]:
    at = 0
    for _ in range(count):
        if at + ENTRY.size > len(directory):
            raise WeightsError("is a damaged zip archive: its directory is too short")
        mark, _, _, flags, method, *_, packed, size, n_name, n_extra, n_comment, disk, _, _, header = (
            ENTRY.unpack_from(directory, at)
        )
        name = directory[at + ENTRY.size :][:n_name]
        extra = directory[at + ENTRY.size + n_name :][:n_extra]
        at += ENTRY.size + n_name + n_extra + n_comment
        if mark != b"PK\1\2" or at > len(directory) or disk:
            raise WeightsError("is a damaged zip archive: its directory makes no sense")
        if FULL in (size, packed, header):
            size, packed, header = _large(extra, size, packed, header)
        if method != STORED or size != packed or flags & ~(SIZES_FOLLOW | UTF8):
            raise WeightsError(f"holds {shown(str(name, 'latin-1'))!r} compressed or encrypted")
        yield Entry(name, flags, size, header)
    if at != len(directory):
        raise WeightsError("is a damaged zip archive: its directory is too long")


def _large(extra: bytes, *numbers: int) -> Iterator[int]:
    """The numbers, those that did not fit into 32 bits from the extra field."""
    while len(extra) >= EXTRA.size:
        kind, length = EXTRA.unpack_from(extra)
        body, extra = extra[EXTRA.size : EXTRA.size + length], extra[EXTRA.size + length :]
        if kind == LARGE:
            rest = iter([int.from_bytes(body[i : i + 8], "little") for i in range(0, len(body) - 7, 8)])
            return iter([next(rest, FULL) if number == FULL else number for number in numbers])
    return iter(numbers)


def _locate(file: BinaryIO, entry: Entry, limit: int) -> Span:
    """Where the bytes of an entry lie, all of them before `limit`."""
    if entry.header + LOCAL.size > limit:
        raise WeightsError("is a damaged zip archive: an entry begins outside it")
    head = read_exactly(file, Span(entry.header, LOCAL.size + len(entry.name)))
    mark, _, flags, method, *_, packed, size, n_name, n_extra = LOCAL.unpack_from(head)
    unsaid = {FULL, 0} if flags & SIZES_FOLLOW else {FULL}
    if (mark, flags, method, n_name) != (b"PK\3\4", entry.flags, STORED, len(entry.name)) or not (
        head[LOCAL.size :] == entry.name and {packed, size} <= {entry.size, *unsaid}
    ):
        raise WeightsError(f"describes {shown(str(entry.name, 'latin-1'))!r} in two ways that disagree")
    span = Span(entry.header + LOCAL.size + n_name + n_extra, entry.size)
    if span.end > limit:
        raise WeightsError(
            "is a damaged zip archive: an entry reaches beyond its end", hint="download it again"
        )
    return span
