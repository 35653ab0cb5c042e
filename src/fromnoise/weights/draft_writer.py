"""A draft on its way to the disk: file by file, tensor by tensor."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from re import fullmatch
from typing import BinaryIO, Final, Literal, Self

import torch

from fromnoise.durable import make_folder
from fromnoise.errors import WeightsError
from fromnoise.weights.checkpoint_writer import write_checkpoint
from fromnoise.weights.conversion_report import Line
from fromnoise.weights.drafts import Draft
from fromnoise.weights.hashing import Hasher
from fromnoise.weights.native import PUBLIC
from fromnoise.weights.stored import open_weights
from fromnoise.weights.supply import Supply
from fromnoise.weights.transfer import Transfer, slots_of
from fromnoise.weights.wording import shown
from fromnoise.weights.writers import Slot, write_safetensors, write_text

Box = Literal["safetensors", "ckpt", "folder"]
Tell = Callable[[float, str], None]  # how much is done, 0 to 1, and what is going on

COUNT: Final = "0|[1-9][0-9]{0,17}"  # a whole number, as everybody writes it
LAG: Final = 64 << 20  # bytes that are written before the disk is asked to take them


class Disk:
    """Has a file put on the disk while it is being written, so that little is left to wait for at its end."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.thread = file, ThreadPoolExecutor(1)
        self.flushed: Future[None] | None = None
        self.late = 0  # bytes

    def __enter__(self) -> Self:
        return self

    def more(self, count: int) -> None:
        """So many bytes have been written since it was told last.  Raises: OSError if some cannot stay"""
        self.late += count
        if self.late >= LAG and (self.flushed is None or self.flushed.done()):
            self._check()
            self.flushed, self.late = self.thread.submit(os.fsync, self.file.fileno()), 0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.thread.shutdown()
        if kind is None:
            self._check()
            self.file.flush()
            os.fsync(self.file.fileno())

    def _check(self) -> None:
        if self.flushed is not None:
            self.flushed.result()


class Writing:
    """A draft on its way to the disk."""

    def __init__(self, draft: Draft, supply: Supply, dtype: torch.dtype | None, tell: Tell) -> None:
        self.draft, self.supply, self.tell = draft, supply, tell
        self.slots = {path: slots_of(recipes, supply, dtype) for path, recipes in draft.files.items()}
        self.size = sum(slot.size for slots in self.slots.values() for slot in slots)
        self.done = 0

    def write(self, part: Path, box: Box) -> list[Line]:
        """Everything, into a file or a folder of this name; gives what became of each tensor.

        Raises: WeightsError; OSError
        """
        with Hasher() as reading, Hasher() as writing:
            transfer = Transfer(self.supply, reading, writing)
            for path in self.draft.files:
                self._write_file(part / path if path else part, box, path, transfer)
        for path, text in self.draft.texts.items():
            make_folder((part / path).parent)
            write_text(part / path, text)
        return transfer.lines()

    def _write_file(self, file_path: Path, box: Box, path: str, transfer: Transfer) -> None:
        recipes, prefix, note = self.draft.files[path], _prefix(path), f"writing {path or 'tensors'}"
        make_folder(file_path.parent)
        with file_path.open("wb") as file, Disk(file) as disk:

            def numbers(slot: Slot) -> Iterator[memoryview]:
                for piece in transfer.pieces(recipes[slot.name], replace(slot, name=prefix + slot.name)):
                    yield piece
                    disk.more(len(piece))
                    self.done += len(piece)
                    self.tell(self.done / self.size, note)

            if box == "ckpt":
                write_checkpoint(file, self.slots[path], _facts(self.draft.metadata), numbers)
            else:
                write_safetensors(file, self.slots[path], self.draft.metadata, numbers)
        file_path.chmod(PUBLIC)

    def verify(self, part: Path, lines: Sequence[Line]) -> None:
        """Read everything again.  Raises: WeightsError if it is not what was written"""
        found = Supply()
        with ExitStack() as stack:
            stack.callback(found.files.close)
            for path in self.draft.files:
                found.add(stack.enter_context(open_weights(part / path if path else part)), _prefix(path))
            for line in lines:
                if line.name not in found.slots or _digest(found.pieces(line.name)) != line.after:
                    problem = f"{shown(line.name)!r} is not on the disk as it was written"
                    raise WeightsError(problem, hint="is the disk healthy?")


def _prefix(path: str) -> str:
    """What the full names of a component's tensors begin with."""
    folder, slash, _ = path.partition("/")
    return f"{folder}." if slash else ""


def _digest(pieces: Iterator[memoryview]) -> str:
    state = sha256()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()


def _facts(metadata: Mapping[str, str]) -> dict[str, str | int]:
    """As training programs write them: whole numbers as such."""
    return {name: int(text) if fullmatch(COUNT, text) else text for name, text in metadata.items()}
