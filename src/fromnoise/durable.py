"""Files that survive a kill or a power cut: after it, the old file is there, or the new one, whole."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import disk_usage
from typing import Final

from fromnoise.errors import StorageError

ON_WINDOWS: Final = os.name == "nt"
UNFINISHED = ".part"
WAY_OUT = "free some space, or name another folder"


@contextmanager
def replacing(path: Path, keep_as: Path | None = None) -> Generator[Path]:
    """Lend a name to write to; what is written there then takes the place of `path`, durably.

    `keep_as`: what `path` held until then moves there; one of the two is whole at every moment
    Raises: StorageError if it cannot be written; then `path` is as it was
    """
    part = path.with_name(path.name + UNFINISHED)
    try:
        yield part
        flush(part)
        if keep_as is not None and path.exists():
            path.replace(keep_as)
        part.replace(path)
        flush(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}", hint=WAY_OUT) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    if ON_WINDOWS and path.is_dir():  # which cannot be opened there
        return
    handle = os.open(path, os.O_RDWR if ON_WINDOWS else os.O_RDONLY)  # there, a reader may not flush
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where missing.  Raises: StorageError"""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}", hint="name another folder") from error


def require_room(folder: Path, needed: int, what: str = "checkpoints") -> None:
    """Find out early that a disk is too full.  Units: bytes  Raises: StorageError"""
    free = disk_usage(folder).free
    if free < needed:
        there = f"its disk has {readable(free)} free"
        raise StorageError(f"{folder} needs {readable(needed)} for {what}, {there}", hint=WAY_OUT)


def readable(size: int) -> str:
    """512 bytes, 83.2 MB."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size} bytes"
