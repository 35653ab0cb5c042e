"""A folder that appears whole, or not at all."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Final

from fromnoise.durable import UNFINISHED, WAY_OUT, flush
from fromnoise.errors import StorageError

REPLACED: Final = ".replaced"  # for a moment, what was there before


@contextmanager
def replacing_folder(path: Path) -> Generator[Path]:
    """Lend a new folder to write into; it then takes the place of `path`, with all that is in it.

    Raises: StorageError if it cannot be written; then `path` is as it was
    """
    part, old = path.with_name(path.name + UNFINISHED), path.with_name(path.name + REPLACED)
    try:
        if old.exists() and not path.exists():  # a run was killed between the two renames of `_exchange`
            old.replace(path)
        rmtree(part, ignore_errors=True)  # left over from a run that was killed
        part.mkdir()
        yield part
        for folder, _, _ in os.walk(part):
            flush(Path(folder))
        _exchange(part, path, old)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}", hint=WAY_OUT) from error
    finally:
        rmtree(part, ignore_errors=True)


def _exchange(part: Path, path: Path, old: Path) -> None:
    rmtree(old, ignore_errors=True)
    if path.exists():
        path.replace(old)
    try:
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            old.replace(path)
        raise
    flush(path.parent)  # before what was there is deleted
    with suppress(OSError):
        old.replace(part)  # under that name nobody takes for a model what is left of it after a kill
