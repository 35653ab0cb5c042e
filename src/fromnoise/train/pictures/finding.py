"""Everything in a folder that could be a picture or say something of one; nothing is opened but archives."""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from fromnoise.train.pictures.examples import Reason, Skip
from fromnoise.train.pictures.places import Place

PICTURES: Final = (".png", ".jpg", ".jpeg", ".jfif", ".webp")
STRANGERS: Final = (
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".avif",
    ".heic",
    ".heif",
    ".jxl",
    ".jp2",
    ".psd",
    ".svg",
)
SIDECARS: Final = (".txt", ".caption", ".json")  # the first that is there counts
LISTS: Final = (".jsonl",)
TABLE: Final = "metadata"  # Hugging Face calls its tables so
TABLES: Final = (f"{TABLE}.csv",)
NOT_READ: Final = (f"{TABLE}.parquet",)
SHARD: Final = ".tar"
PACKED_SHARDS: Final = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")
HIDDEN: Final = (".", "__MACOSX")


@dataclass(frozen=True, slots=True)
class Item:
    """A file, by its path within the folder; within a shard, the shard is one more folder."""

    name: str
    place: Place
    shard: bool = False
    dotted: bool = False  # in a shard: what it shares with its caption may hold dots

    @property
    def folder(self) -> str:
        """Where it lies; "" is the folder that was named."""
        return self.name.rpartition("/")[0]

    @property
    def stem(self) -> str:
        """What it shares with its caption: up to the last dot, in a shard usually up to the first.

        Source: the webdataset format's definition of a sample's key
        """
        base = self.name.rpartition("/")[2]
        up_to_first = self.shard and not self.dotted
        return base.partition(".")[0] if up_to_first else base.rpartition(".")[0]

    @property
    def suffix(self) -> str:
        """What follows the stem, in lower case: ".png"."""
        return self.name.rpartition("/")[2][len(self.stem) :].lower()


def walk(root: Path) -> Iterator[Item | Skip]:
    """The files of a folder and those below it, in the order of their names; no link leads out."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            yield Skip(folder or root.name, Reason.UNREADABLE, error.strerror or "")
            continue
        below: list[str] = []
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(HIDDEN):
                continue
            if entry.is_dir(follow_symlinks=False):
                below.append(name)
            else:
                yield from look_at(root, name)
        waiting += reversed(below)


def look_at(root: Path, name: str) -> Iterator[Item | Skip]:
    """What a name stands for: an item, those in a shard, a reason to leave it out, or nothing of interest."""
    path, lower = root / name, name.lower()
    base = PurePosixPath(lower)
    if path.is_symlink() and not inside(root, path):
        yield Skip(name, Reason.LINK)
    elif base.suffix in STRANGERS:
        yield Skip(name, Reason.STRANGE)
    elif base.name in NOT_READ:
        yield Skip(name, Reason.PARQUET, f"save it as {TABLE}.jsonl")
    elif lower.endswith(PACKED_SHARDS):
        yield Skip(name, Reason.BAD_SHARD, "unpack it")
    elif base.suffix in (*PICTURES, *SIDECARS, *LISTS, SHARD) or base.name in TABLES:
        if path.is_dir():  # a link within the folder: its pictures are found where they are
            return
        if not path.is_file():
            yield Skip(name, Reason.NO_FILE)
        elif base.suffix == SHARD:
            yield from look_into(path, name)
        else:
            yield Item(name, Place(path))


def listed(root: Path, name: str) -> Item | Skip:
    """The file that a list names, whatever its suffix."""
    path = root / name
    try:
        if not inside(root, path):
            return Skip(name, Reason.LINK)
        if not path.exists():
            return Skip(name, Reason.MISSING)
        return Item(name, Place(path)) if path.is_file() else Skip(name, Reason.NO_FILE)
    except (OSError, ValueError):  # no file has such a name: it is too long, or holds a zero
        return Skip(name, Reason.MISSING)


def inside(root: Path, path: Path) -> bool:
    """Whether a path stays in the folder, once all links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def look_into(path: Path, name: str) -> Iterator[Item | Skip]:
    """The files in a tar archive, by where their bytes are. What comes before a damage is kept."""
    items: list[Item] = []
    damaged: list[Skip] = []
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                base = member.name.rpartition("/")[2]
                if member.isreg() and not member.issparse() and not base.startswith(HIDDEN):
                    inner = member.name.removeprefix("./")
                    place = Place(path, member.offset_data, member.size)
                    items.append(Item(f"{name}/{inner}", place, shard=True))
            _check_end(path, archive.offset)
    # a broken header also raises what the reader's arithmetic and recursion raise
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
        damaged.append(Skip(name, Reason.BAD_SHARD, str(error)))
    yield from _by_samples(items)
    yield from damaged


def _by_samples(items: list[Item]) -> Iterator[Item | Skip]:
    """What a sample's picture is, strangers left out: beside 0001.png, 0001.seg.png is another thing of it.

    Where that leaves a name without a picture, it was not meant so, and ends at its last dot: cat.v2.png.
    """
    samples = {(item.folder, item.stem) for item in items if item.suffix in PICTURES}
    for item in items:
        item = replace(item, dotted=(item.folder, item.stem) not in samples)
        yield Skip(item.name, Reason.STRANGE) if item.suffix in STRANGERS else item


def _check_end(path: Path, at: int) -> None:
    """tarfile takes a broken header for the end: look whether it is one.  Raises: ReadError"""
    with path.open("rb") as file:
        file.seek(at)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError(f"broken at byte {at}")
