"""One process at a time in a folder: two would replace each other's files."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from fromnoise.durable import ON_WINDOWS
from fromnoise.errors import StorageError


@contextmanager
def only_one_in(folder: Path) -> Generator[None]:
    """Hold a folder against other processes; it is free again once this one has ended, in whatever way.

    The folder itself is locked, so nothing is left in it. Windows cannot do that, and goes on without.
    Raises: StorageError if another process holds it
    """
    if ON_WINDOWS:
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # of drives that know no locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                hint = "wait for it, or stop it, or name another folder"
                raise StorageError(f"another process is at work in {folder}", hint=hint) from error
        yield
    finally:
        os.close(handle)
