"""The log of a training: one JSON object a line, appended to and never rewritten; TensorBoard's beside it."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from fromnoise.errors import StorageError
from fromnoise.train.recipe import Progress

LOG = "log.jsonl"
BOARD = "tensorboard"  # a folder, where TensorBoard is installed


class Log:
    """A folder's log. A session begins with a line without figures; after a kill, some steps appear twice."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG

    def write(self, progress: Progress) -> Progress:
        """Append a line, and hand its contents on.  Raises: StorageError"""
        self._append({"time": time.time(), **asdict(progress)})
        if progress.figures and self._board is not None:
            for name, value in {**progress.figures, "rate": progress.rate}.items():
                self._board.add_scalar(name, value, progress.step)
            self._board.flush()
        return progress

    def recall(self, moment: float, figures: Mapping[str, float], step: int = 0) -> None:
        """Append what is known of a training whose own log is gone.  Raises: StorageError"""
        self._append({"time": moment, "step": step, "figures": dict(figures), "notes": []})

    def _append(self, told: dict[str, Any]) -> None:
        line = json.dumps(told) + "\n"
        try:
            with self.path.open("a+b") as file:
                torn = (
                    file.tell() > 0 and _last_byte(self.path) != b"\n"
                )  # a power cut in the middle of a line
                file.write(b"\n" * torn + line.encode())
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror}") from error

    @cached_property
    def _board(self) -> Any:
        """TensorBoard's writer; None where it is not installed."""
        try:
            return import_module("torch.utils.tensorboard").SummaryWriter(self.path.with_name(BOARD))
        except ImportError:
            return None

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every whole line, oldest first."""
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    yield json.loads(line)
                except ValueError:
                    continue  # torn by a power cut; the steps it told of were trained again

    def seconds(self) -> float:
        """How long was trained, the pauses between sessions not counted."""
        return sum(b["time"] - a["time"] for a, b in pairwise(self.lines()) if b["figures"])


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read()
