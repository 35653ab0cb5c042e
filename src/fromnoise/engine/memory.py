"""Memory that a drawing frees and asks for again, a thousand times a second, stays with the process."""

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

# Source: malloc.h of the GNU C library
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER: Final = 2**31 - 1
USUAL_TRIM, USUAL_MMAPS = 128 * 1024, 65536


@contextmanager
def kept_memory() -> Generator[None]:
    """Do not hand freed memory back to the system until the end: the system would have to clear it again.

    The GNU C library returns every large block at once; on a virtual machine, clearing 100 MB anew takes ten
    times as long as adding two pictures of that size. Elsewhere this does nothing. It holds for the whole
    process; where two drawings overlap, the second is only slower once the first has ended.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        library.mallopt(MMAP_MAX, USUAL_MMAPS)
        library.mallopt(TRIM_THRESHOLD, USUAL_TRIM)
        library.malloc_trim(0)


def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
