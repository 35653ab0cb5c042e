"""A graphics card that is not there: it calculates on the CPU, and tells what was asked of it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final
from weakref import finalize

import torch
from torch import Tensor

LARGE: Final = 10**12


class FakeCard:
    """What `Card` does, without a card. Weights "on" it are copies, and counted as long as they live."""

    device = torch.device("cpu")

    def __init__(self, size: int = LARGE, *, refuses: str = "") -> None:
        self.size, self.refuses = size, refuses
        self.used = self.most = 0
        self.recorded = self.played = 0
        self.waited = list[Any]()

    def free(self) -> int:
        return self.size - self.used

    # --- weights on their way ---

    def pinned(self, tensor: Tensor) -> Tensor:
        return tensor.clone()

    def fetched(self, tensor: Tensor) -> Tensor:
        copy = tensor.clone()
        storage = copy.untyped_storage()
        self._count(storage.nbytes())
        finalize(storage, self._count, -storage.nbytes())
        return copy

    def _count(self, size: int) -> None:
        self.used += size
        self.most = max(self.most, self.used)

    def on_ahead(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def arrived(self) -> str:
        return "arrived"

    def after(self, moment: Any) -> None:
        assert moment == "arrived", "it would calculate with weights that are not there"

    def done(self) -> object:
        return object()

    def wait(self, moment: Any) -> None:
        self.waited.append(moment)

    # --- graphs ---

    def warm_up(self, run: Callable[[], Tensor]) -> None:
        run()

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        if self.refuses:
            raise RuntimeError(self.refuses)
        self.recorded += 1
        answer = run()

        def play() -> None:
            self.played += 1
            answer.copy_(run())

        return play, answer

    def tuned(self) -> AbstractContextManager[None]:
        return nullcontext()
