"""PyTorch's own files (.ckpt, .pt, .pth, .bin), read without running anything that is in them.

What is checked is what is used: there is one reading, by our machine, and no other to fall back to.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from re import fullmatch
from typing import Any, BinaryIO, Final, cast

from torch import Tensor

from fromnoise.errors import StorageError, WeightsError
from fromnoise.weights.archive import Span, read_directory, read_exactly
from fromnoise.weights.containers import Closing, identify, open_file
from fromnoise.weights.pickle_names import NAMES
from fromnoise.weights.pickles import Machine
from fromnoise.weights.state_dicts import Fact, sort_out
from fromnoise.weights.storages import Storage, Storages, StoredTensor, read_tensor
from fromnoise.weights.wording import shown

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # Source: torch/serialization.py, before the zip format
COUNT_BYTES: Final = 8  # before each storage of the older format: how many numbers it has


@dataclass(frozen=True)
class Contents(Closing):
    """What a checkpoint holds; its tensors are read one at a time, when they are asked for.

    Close it, or use `with`. Not for several threads at once.
    """

    name: str  # of the file, fit to be shown
    tensors: Mapping[str, StoredTensor]
    facts: Mapping[str, Fact]  # plain values beside the tensors: global_step, epoch …
    dropped: tuple[str, ...]  # what is neither: callbacks, optimizer_states …
    unwrapped: tuple[str, ...]  # the dictionaries that were around the tensors, outermost first
    globals: tuple[str, ...]  # what the pickle names; none of it was imported
    file: BinaryIO = field(repr=False)
    storages: Mapping[str, Span] = field(repr=False)

    def read(self, name: str) -> Tensor:
        """A copy of one tensor, contiguous.

        Raises: KeyError; StorageError or WeightsError if the file has changed since it was opened
        """
        stored = self.tensors[name]
        try:
            return read_tensor(self.file, stored, self.storages[stored.storage.key])
        except WeightsError as error:
            raise WeightsError(f"{self.name} {error.message} ({shown(name)})", hint=error.hint) from error
        except OSError as error:
            raise StorageError(f"cannot read {self.name}: {error.strerror}") from error

    def read_all(self) -> dict[str, Tensor]:
        """Every tensor."""
        return {name: self.read(name) for name in self.tensors}

    def close(self) -> None:
        """Give the file back."""
        self.file.close()


@dataclass(frozen=True, slots=True)
class Unpickled:
    """A pickle's value, where the storages are that it speaks of, and what it named."""

    value: Any
    storages: Mapping[str, Span]
    globals: tuple[str, ...]


def open_checkpoint(path: str | PathLike[str]) -> Contents:
    """Read everything of a checkpoint but its tensors' numbers, whatever the file is called.

    Raises: StorageError if it cannot be read; WeightsError if it is anything but tensors by name
    """
    file, size = open_file(Path(path))
    name = shown(Path(path).name)
    try:
        match identify(file, size):
            case "zip":
                found = _read_zip(file, size)
            case "pickle":
                found = _read_legacy(file, size)
            case "safetensors":
                raise WeightsError("is a safetensors file under another name", hint="name it .safetensors")
        held = sort_out(found.value)
        inside = (held.tensors, held.facts, tuple(held.dropped), held.unwrapped)
        return Contents(name, *inside, found.globals, file, found.storages)
    except BaseException as error:
        file.close()
        if isinstance(error, WeightsError):
            raise WeightsError(f"{name} {error.message}", hint=error.hint) from error
        if isinstance(error, OSError):
            raise StorageError(f"cannot read {name}: {error.strerror}") from error
        raise


def _read_zip(file: BinaryIO, size: int) -> Unpickled:
    """The format since PyTorch 1.6: an archive of one pickle and a file for each storage."""
    spans = read_directory(file, size)
    pickles = [name for name in spans if fullmatch(r"[^/]+/data\.pkl", name)]
    if len(pickles) != 1:
        raise WeightsError("is a zip archive, but not of a PyTorch checkpoint")
    folder, _, _ = pickles[0].partition("/")
    if f"{folder}/constants.pkl" in spans:
        raise WeightsError("is a TorchScript program, not weights", hint="save its state_dict instead")
    order = spans.get(f"{folder}/byteorder")
    if order and (order.size > len("little") or read_exactly(file, order) != b"little"):
        raise WeightsError("was written in another byte order than little-endian")
    inside = f"{folder}/data/"
    storages = {name.removeprefix(inside): span for name, span in spans.items() if name.startswith(inside)}
    source = spans[pickles[0]]
    file.seek(source.start)
    known = Storages({key: span.size for key, span in storages.items()})
    machine = Machine(file, source.size, NAMES, known.find)
    return Unpickled(machine.run(), storages, tuple(map(str, machine.globals)))


def _read_legacy(file: BinaryIO, size: int) -> Unpickled:
    """The format before: magic number, version, system, the value, its storages' keys; then the storages."""
    file.seek(0)
    known = Storages()
    machines = [Machine(file, size, NAMES, known.find) for _ in range(5)]
    if machines[0].run() != MAGIC:
        raise WeightsError("is a pickle, but not a PyTorch checkpoint")
    if machines[1].run() != VERSION:
        raise WeightsError("is a PyTorch checkpoint of a version that nobody wrote")
    system = machines[2].run()
    if not isinstance(system, dict) or cast(dict[Any, Any], system).get("little_endian") is not True:
        raise WeightsError("was written in another byte order than little-endian")
    value, keys = machines[3].run(), machines[4].run()
    storages = dict(_legacy_storages(file, size, known.named, keys))
    return Unpickled(value, storages, tuple(map(str, machines[3].globals)))


def _legacy_storages(
    file: BinaryIO, size: int, named: Mapping[str, Storage], keys: Any
) -> Iterator[tuple[str, Span]]:
    """Where each storage lies: one after the other, in the order of `keys`."""
    if not isinstance(keys, list) or any(not isinstance(key, str) for key in cast(list[Any], keys)):
        raise WeightsError("holds a damaged list of storages")
    keys = cast(list[str], keys)
    if len(set(keys)) != len(keys) or set(keys) != set(named):
        raise WeightsError("lists other storages than its tensors lie in", hint="download it again")
    at = file.tell()
    for key in keys:
        if size - at < COUNT_BYTES + named[key].size:
            raise WeightsError("is cut short", hint="download it again")
        count = int.from_bytes(read_exactly(file, Span(at, COUNT_BYTES)), "little")
        if count != named[key].count:
            raise WeightsError(f"says that a storage has {named[key].count:,} numbers; it has {count:,}")
        yield key, Span(at + COUNT_BYTES, named[key].size)
        at += COUNT_BYTES + named[key].size
