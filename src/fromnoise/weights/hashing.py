"""SHA-256 of what passes by, computed by another thread: whoever hands the bytes on does not wait for it."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import Final, Self

BEHIND: Final = 8  # pieces that may wait for their turn


class Hasher:
    """A thread that hashes pieces in the order in which they come. Use `with`: behind it all is done."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1)  # one, for the order matters
        self.waiting = deque[Future[None]]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.shutdown()


class Hash:
    """The SHA-256 of pieces that go by."""

    def __init__(self, hasher: Hasher) -> None:
        self.hasher, self.state = hasher, sha256()

    def along(self, pieces: Iterable[memoryview]) -> Iterator[memoryview]:
        """The same pieces, which must stay as they are until they have been hashed."""
        thread, waiting = self.hasher.thread, self.hasher.waiting
        for piece in pieces:
            if len(waiting) == BEHIND:
                waiting.popleft().result()
            waiting.append(thread.submit(self.state.update, piece))
            yield piece

    def hexdigest(self) -> str:
        """Of all pieces, once the hasher is done."""
        return self.state.hexdigest()
