"""Memory that a drawing frees and asks for again stays with the process; how much of it there is."""

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

# Source: malloc.h of the GNU C library
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER: Final = 2**31 - 1
USUAL_TRIM, USUAL_MMAPS = 128 * 1024, 65536

KEEPING: Final = ContextVar("keeping", default=False)  # is freed memory kept right now?

PROC: Final = Path("/proc")
GROUPS: Final = Path("/sys/fs/cgroup")  # Source: the kernel's cgroup-v2.rst, and cgroup-v1/memory.rst
LIMITS: Final = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


@contextmanager
def kept_memory() -> Generator[None]:
    """Do not hand freed memory back to the system until the end: the system would have to clear it again.

    The GNU C library returns every large block at once; on a virtual machine, clearing 100 MB anew takes ten
    times as long as adding two pictures of that size. Elsewhere, and within itself, this does nothing. It
    holds for the whole process; where two drawings overlap, the second is only slower once the first has
    ended.
    """
    library = None if KEEPING.get() else _glibc()
    if library is None:
        yield
        return
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, NEVER)
    KEEPING.set(True)
    try:
        yield
    finally:
        KEEPING.set(False)
        library.mallopt(MMAP_MAX, USUAL_MMAPS)
        library.mallopt(TRIM_THRESHOLD, USUAL_TRIM)
        library.malloc_trim(0)


@contextmanager
def lasting_memory() -> Generator[None]:
    """What is made within stays for long: it gets memory of its own, not from among what comes and goes.

    Else holes would be left between the two, a tenth of all.
    """
    library = _glibc() if KEEPING.get() else None
    if library is None:
        yield
        return
    library.mallopt(MMAP_MAX, USUAL_MMAPS)
    KEEPING.set(False)  # one within another changes nothing
    try:
        yield
    finally:
        KEEPING.set(True)
        library.mallopt(MMAP_MAX, 0)


def hand_back() -> None:
    """Give freed memory back to the system now, also that between what is still in use."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def available(proc: Path = PROC, groups: Path = GROUPS) -> int | None:
    """Bytes that this process may come to hold: what it has, and what is free; None where nobody says."""
    try:
        facts = _table(proc / "meminfo")
        free, own = facts["MemAvailable"], _table(proc / "self" / "status")["VmRSS"]
    except (OSError, KeyError, ValueError):
        return None
    for folder in _own_groups(proc, groups):
        for limit, usage in LIMITS:
            try:
                left = int((folder / limit).read_text()) - int((folder / usage).read_text())
                free = min(free, left + _reclaimable(folder))
            except (OSError, ValueError):  # there is no such file, or it says "max"
                continue
    return own + max(0, free)


def _own_groups(proc: Path, groups: Path) -> Generator[Path]:
    """Every group of processes whose limit counts for this one."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds in ("", "memory"):
            top = groups / kinds
            inner = top / path.lstrip("/")
            yield from (inner, *(each for each in inner.parents if each.is_relative_to(top)))


def _reclaimable(folder: Path) -> int:
    """Files that the system holds for a group, and gives up where memory is short."""
    lines = (folder / "memory.stat").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.split()[0] == "inactive_file")


def _table(path: Path) -> dict[str, int]:
    """Bytes by name, of lines such as "MemAvailable:  100 kB"."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
