"""The log of a training: one JSON object a line, appended to and never rewritten; TensorBoard's beside it."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from importlib import import_module
from itertools import pairwise
from math import inf
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
        self.has_board = True  # until it turns out otherwise

    def write(self, progress: Progress) -> Progress:
        """Append a line, and hand its contents on.  Raises: StorageError"""
        if problem := self._show(progress):
            progress = replace(progress, notes=(*progress.notes, problem))
        self._append({"time": time.time(), **asdict(progress)})
        return progress

    def _show(self, progress: Progress) -> str:
        """Tell TensorBoard the figures; what is wrong with it, once."""
        if not self.has_board or not progress.figures:
            return ""
        try:
            for name, value in {**progress.figures, "rate": progress.rate}.items():
                self._board.add_scalar(name, value, progress.step)
            self._board.flush()
        except ImportError:
            self.has_board = False
        except Exception as error:  # an old one beside a new protobuf raises this and that
            self.has_board = False
            return f"TensorBoard does not work, and is told nothing: {error}"
        return ""

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
        """TensorBoard's writer.  Raises: ImportError where it is not installed; anything if it is broken"""
        return import_module("torch.utils.tensorboard").SummaryWriter(self.path.with_name(BOARD))

    def lines(self, until: float = inf) -> Iterator[dict[str, Any]]:
        """Every whole line, oldest first; of steps up to `until`."""
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    told: dict[str, Any] = json.loads(line)
                except ValueError:
                    continue  # torn by a power cut; the steps it told of were trained again
                if told["step"] <= until:
                    yield told

    def has(self, step: int) -> bool:
        """Whether it tells the figures of a step."""
        return any(line["step"] == step and line["figures"] for line in self.lines(step))

    def seconds(self, until: float = inf) -> float:
        """How long was trained, up to this step; the pauses between sessions are not counted."""
        return sum(b["time"] - a["time"] for a, b in pairwise(self.lines(until)) if b["figures"])


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read()
