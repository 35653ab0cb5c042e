"""Files appear whole or not at all, and never over another one."""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from secrets import token_hex

from fromnoise.errors import StorageError


def place(path: Path, data: bytes) -> Path:
    """Give the data the first free name of name.png, name-2.png, …  Raises: StorageError"""
    partial = _written(path, data)
    try:
        return next(target for target in _names(path) if _claimed(partial, target))
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _names(path: Path) -> Iterator[Path]:
    yield path
    for number in count(2):
        yield path.with_stem(f"{path.stem}-{number}")


def _claimed(partial: Path, target: Path) -> bool:
    """Give the file its name unless that is taken; two writers never get the same one."""
    try:
        os.link(partial, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        return _moved(partial, target)
    return True


def _moved(partial: Path, target: Path) -> bool:
    if not _reserved(target):
        return False
    try:
        partial.replace(target)
    except OSError:
        target.unlink()  # the empty file that kept the name
        raise
    return True


def _reserved(target: Path) -> bool:
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


def replace(path: Path, data: bytes) -> Path:
    """Give the data this name, whatever had it before.  Raises: StorageError"""
    partial = _written(path, data)
    try:
        return partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def _written(path: Path, data: bytes) -> Path:
    """The data, safe on the disk, under a name that nobody looks for."""
    partial = path.with_name(f".{token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StorageError(f"cannot write {path}: {error.strerror}", hint=_way_out(path)) from error
    return partial


def _way_out(path: Path) -> str:
    return "choose another folder, or free some space" if path.parent.exists() else f"mkdir -p {path.parent}"
