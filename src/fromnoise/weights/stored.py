"""One door to weights: tensors by name, whatever they are kept in, their numbers read when asked for."""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import torch
from torch import Tensor

from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.weights.checkpoint import open_checkpoint
from fromnoise.weights.containers import AGAIN, Closing, Container, identify, open_file
from fromnoise.weights.folders import Folder, Part, look_into, within
from fromnoise.weights.mapped import Mapped, open_mapped
from fromnoise.weights.scaled import METADATA as DESCRIBED
from fromnoise.weights.scaled import MULTIPLIED, find_scaling
from fromnoise.weights.wording import shown

Stamp = tuple[int, int]  # tells a file from one that takes its name
VARIANT: Final = "variant"  # the metadata key under which a folder says which variant was taken


@dataclass(frozen=True, eq=False)
class Stored(Closing):
    """Tensors by name in a file or a folder; their numbers are read one at a time, when asked for.

    In a folder the names begin with the component ("unet.conv_in.weight"), unless there is but one.
    Close it, or use `with`. Not for several threads at once.
    """

    name: str  # of the file or folder, fit to be shown
    path: Path
    container: Container | Literal["folder"]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    metadata: Mapping[str, str]  # of a safetensors file; a checkpoint's plain facts (global_step …) as text
    configs: Mapping[
        str, Mapping[str, Any]
    ]  # of a folder: "model_index", "unet" …; "config" if it is but one
    globals: tuple[str, ...] = ()  # what its pickles name; none of it was imported
    dropped: tuple[str, ...] = ()  # what is neither tensor nor fact, and components that no model here uses
    files: tuple[Path, ...] = ()  # every file that holds tensors
    stamps: tuple[Stamp, ...] = ()  # of each of them
    # what is multiplied by a scale when it is read, and the type in which the file keeps it
    scaled: Mapping[str, torch.dtype] = field(default_factory=dict[str, torch.dtype])
    fetch: Callable[[str], Tensor] = field(repr=False, kw_only=True)
    keep: Callable[[str], Tensor] | None = field(default=None, repr=False, kw_only=True)  # unmultiplied
    held: ExitStack = field(repr=False, kw_only=True, default_factory=ExitStack)

    def read(self, name: str) -> Tensor:
        """One tensor: a view of a safetensors file, a copy of what a checkpoint holds.

        Raises: KeyError; StorageError or WeightsError if the file has changed since it was opened
        """
        if name not in self.shapes:
            raise KeyError(name)
        return self.fetch(name)

    def read_kept(self, name: str) -> Tensor:
        """One tensor as the file keeps it: not multiplied by its scale.  Raises: as `read`"""
        return self.keep(name) if self.keep else self.read(name)

    def close(self) -> None:
        """Give the files back; tensors that were read stay."""
        self.held.close()


def open_weights(path: str | os.PathLike[str], *, variant: str | None = None) -> Stored:
    """Open a file of weights or a diffusers folder; what it is, its content says, never its name.

    `variant` chooses among the files of a folder ("fp16", "non_ema"; "" is the plain one); components that do
    not come in it are taken plain.
    Raises: RequestError for a variant of a file; StorageError if it cannot be read; WeightsError if it is
            damaged or holds no tensors
    """
    path = Path(path)
    name = shown(path.name or str(path.absolute()))
    if not _is_folder(path):
        if variant and os.path.isfile(path):
            problem = {"variant": f"{name} is one file: only diffusers folders come in several"}
            raise RequestError(problem, hint="leave the variant out")
        return _multiplied(_open_file(path, name))
    with within(name):
        return _multiplied(_open_folder(path, name, look_into(path, variant)))


def stamp_of(file: BinaryIO) -> Stamp:
    """What stays the same of an open file, whatever happens to its name."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):  # `open_file` says why
        return False


def _multiplied(stored: Stored) -> Stored:
    """The same tensors; what the file keeps beside a scale is multiplied by it when it is read."""
    try:
        scaling = find_scaling(stored.shapes, stored.dtypes, stored.metadata, stored.read)
    except BaseException:
        stored.close()
        raise
    if not scaling.gone:
        return stored
    kept = [name for name in stored.shapes if name not in scaling.gone]
    return replace(
        stored,
        shapes={name: stored.shapes[name] for name in kept},
        dtypes={name: MULTIPLIED if name in scaling.scales else stored.dtypes[name] for name in kept},
        metadata={key: text for key, text in stored.metadata.items() if key != DESCRIBED},
        dropped=(*stored.dropped, *scaling.said()),
        scaled={name: stored.dtypes[name] for name in scaling.scales},
        fetch=partial(scaling.read, stored.read, stored.name),
        keep=stored.read,
    )


# --- a file ---


def _open_file(path: Path, name: str) -> Stored:
    file, size = open_file(path)
    with ExitStack() as stack:
        stack.enter_context(file)
        try:
            container = identify(file, size)
            mapped = open_mapped(path, file, size) if container == "safetensors" else None
        except WeightsError as error:
            raise WeightsError(f"{name} {error.message}", hint=error.hint) from error
        except OSError as error:
            raise StorageError(f"cannot read {name}: {error.strerror}") from error
        if mapped is None:
            return _open_pickle(path, name, container, stamp_of(file))
        stack.callback(mapped.close)
        facts = (mapped.shapes, mapped.dtypes, mapped.metadata)
        fetch, held, stamps = partial(_read_mapped, mapped, name), stack.pop_all(), (stamp_of(file),)
        return Stored(name, path, container, *facts, {}, files=(path,), stamps=stamps, fetch=fetch, held=held)


def _read_mapped(mapped: Mapped, file: str, name: str) -> Tensor:
    try:
        return mapped.read(name)
    except WeightsError as error:
        raise WeightsError(f"{file} {error.message} ({shown(name)})", hint=error.hint) from error


def _open_pickle(path: Path, name: str, container: Container, stamp: Stamp) -> Stored:
    contents = open_checkpoint(path)
    held = ExitStack()
    held.callback(contents.close)
    return Stored(
        name,
        path,
        container,
        {name: stored.shape for name, stored in contents.tensors.items()},
        {name: stored.dtype for name, stored in contents.tensors.items()},
        {name: str(fact) for name, fact in contents.facts.items()},
        {},
        contents.globals,
        contents.dropped,
        (path,),
        (stamp,),
        fetch=contents.read,
        held=held,
    )


# --- a folder ---


def _open_folder(path: Path, name: str, folder: Folder) -> Stored:
    with ExitStack() as stack:
        files = list[Stored]()
        readers = dict[str, tuple[Stored, str]]()
        for part in folder.parts:
            with within(part.component) if part.component else nullcontext():
                opened = [stack.enter_context(_open_file(file, shown(file.name))) for file in part.files]
                readers |= _by_name(part, opened)
                files += opened
        return Stored(
            name,
            path,
            "folder",
            {full: stored.shapes[inner] for full, (stored, inner) in readers.items()},
            {full: stored.dtypes[inner] for full, (stored, inner) in readers.items()},
            _metadata(folder.parts, files),
            folder.configs,
            tuple(dict.fromkeys(each for stored in files for each in stored.globals)),
            (*(each for stored in files for each in stored.dropped), *folder.left_out),
            tuple(file for part in folder.parts for file in part.files),
            tuple(stamp for stored in files for stamp in stored.stamps),
            fetch=partial(_read, readers),
            held=stack.pop_all(),
        )


def _read(readers: Mapping[str, tuple[Stored, str]], name: str) -> Tensor:
    stored, inner = readers[name]
    return stored.read(inner)


def _by_name(part: Part, opened: Sequence[Stored]) -> dict[str, tuple[Stored, str]]:
    """Which file holds what, under full names."""
    found = dict[str, Stored]()
    for stored in opened:
        if twice := [name for name in stored.shapes if name in found]:
            both = f"{found[twice[0]].name} and {stored.name}"
            raise WeightsError(f"{shown(twice[0])} is in both {both}")
        found |= dict.fromkeys(stored.shapes, stored)
    if lost := [name for name in part.promised if name not in found]:
        there = part.promised[lost[0]]
        raise WeightsError(f"{shown(there)} lacks {shown(lost[0])}, which its index expects", hint=AGAIN)
    start = f"{part.component}." if part.component else ""
    return {start + name: (stored, name) for name, stored in found.items()}


def _metadata(parts: Sequence[Part], files: Sequence[Stored]) -> dict[str, str]:
    """What the files say beside their tensors, and which variant each component was taken in."""
    said = {key: text for stored in reversed(files) for key, text in stored.metadata.items()}
    taken = {part.component: part.variant for part in parts if part.variant}
    variants = ", ".join(f"{name} {variant}".strip() for name, variant in taken.items())
    return said | ({VARIANT: variants} if variants else {})
