"""Memory for pieces of files, used again and again."""

from collections import deque
from typing import Any
from weakref import finalize

import torch
from torch import Tensor


class Buffers:
    """Lends memory, and has it back when nobody looks at it any more, whichever thread was the last.

    The system's own memory would do, but grows: after hundreds of pieces of many sizes it is full of holes.
    """

    def __init__(self, size: int) -> None:
        """`size`: bytes of a buffer, at least; who asks for more gets more."""
        self.size = size
        self.free = deque[Tensor]()  # which several threads may use

    def lend(self, count: int) -> memoryview:
        """So many bytes, of any content; they are the caller's as long as there is a view of them."""
        buffer = self.free.pop() if self.free else torch.empty(self.size, dtype=torch.uint8)
        if len(buffer) < count:
            buffer = torch.empty(count, dtype=torch.uint8)
        row: Any = buffer[:count].numpy()
        finalize(row, self.free.append, buffer).atexit = False
        return memoryview(row)  # it, and every part of it, holds the row
