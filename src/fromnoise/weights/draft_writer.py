"""A draft on its way to the disk: file by file, tensor by tensor."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal

import torch

from fromnoise.durable import make_folder
from fromnoise.weights.checkpoint_writer import write_checkpoint
from fromnoise.weights.drafts import Draft
from fromnoise.weights.model_converter import Plan
from fromnoise.weights.native import PUBLIC
from fromnoise.weights.stored import open_weights
from fromnoise.weights.supply import Supply
from fromnoise.weights.transfer import Transfer, compare_hashes
from fromnoise.weights.writers import Slot, write_safetensors, write_text

Box = Literal["safetensors", "ckpt", "folder"]
Tell = Callable[[float, str], None]  # how much is done, 0 to 1, and what is going on


class Writing:
    """A draft on its way to the disk."""

    def __init__(
        self,
        draft: Draft,
        supply: Supply,
        dtype: torch.dtype | None,
        pool: ThreadPoolExecutor,
        tell: Tell,
    ) -> None:
        self.draft, self.tell = draft, tell
        self.transfer = Transfer(supply, dtype, pool, self._made)
        self.slots = {path: self.transfer.slots(recipes) for path, recipes in draft.files.items()}
        self.size = sum(slot.size for slots in self.slots.values() for slot in slots)
        self.done, self.note = 0, ""

    def write(self, part: Path, box: Box) -> None:
        """Everything, into a file or a folder of this name.  Raises: WeightsError; OSError"""
        for path, recipes in self.draft.files.items():
            self.note = f"writing {path or 'tensors'}"
            file_path = part / path if path else part
            make_folder(file_path.parent)
            with file_path.open("wb") as file:
                self._write_file(file, box, path, recipes)
                file.flush()
                os.fsync(file.fileno())
            file_path.chmod(PUBLIC)
        for path, text in self.draft.texts.items():
            make_folder((part / path).parent)
            write_text(part / path, text)

    def _write_file(self, file: BinaryIO, box: Box, path: str, recipes: Plan) -> None:
        prefix = _prefix(path)

        def numbers(slot: Slot) -> Iterator[memoryview]:
            return self.transfer.pieces(recipes[slot.name], replace(slot, name=prefix + slot.name))

        if box == "ckpt":
            write_checkpoint(file, self.slots[path], _facts(self.draft.metadata), numbers)
        else:
            write_safetensors(file, self.slots[path], self.draft.metadata, numbers)

    def verify(self, part: Path) -> None:
        """Read everything again.  Raises: WeightsError if it is not what was written"""
        found = Supply()
        with ExitStack() as stack:
            stack.callback(found.files.close)
            for path in self.draft.files:
                found.add(stack.enter_context(open_weights(part / path if path else part)), _prefix(path))
            compare_hashes({line.name: line.after for line in self.transfer.lines}, found)

    def _made(self, count: int) -> None:
        self.done += count
        self.tell(self.done / max(self.size, 1), self.note)


def _prefix(path: str) -> str:
    """What the full names of a component's tensors begin with."""
    folder, slash, _ = path.partition("/")
    return f"{folder}." if slash else ""


def _facts(metadata: Mapping[str, str]) -> dict[str, str | int]:
    """As training programs write them: whole numbers as such."""
    return {
        name: int(text) if text.isdecimal() and str(int(text)) == text else text
        for name, text in metadata.items()
    }
