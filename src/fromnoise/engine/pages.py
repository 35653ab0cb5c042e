"""Large pages: the system clears 2 MB at once, not 4 kB, when memory is touched for the first time."""

import os
from typing import Final

ASKED: Final = "THP_MEM_ALLOC_ENABLE"  # Source: torch's c10/core/alignment.h and c10/core/impl/alloc_cpu.cpp


def ask_for_large_pages() -> None:
    """Have torch ask Linux for them, in this process; says nothing if the user has said something.

    On a virtual machine, where each page costs microseconds, a network's first answer comes a fifth sooner.
    Torch looks once, when it makes its first tensor: this must come before. Elsewhere it means nothing.
    """
    os.environ.setdefault(ASKED, "1")
