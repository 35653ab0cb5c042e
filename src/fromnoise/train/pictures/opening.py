"""A folder of pictures, however it is laid out, becomes a list of examples to learn from."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fromnoise.errors import RequestError, StorageError
from fromnoise.train.pictures.captions import Otherwise, of_folder, of_sidecar, repeats_of, sidecars_of
from fromnoise.train.pictures.decoding import read_header
from fromnoise.train.pictures.examples import Example, Layout, Reason, Skip, Told, Unfit
from fromnoise.train.pictures.finding import LISTS, PICTURES, SHARD, Item, listed, look_at, walk
from fromnoise.train.pictures.tables import Tables, read_tables
from fromnoise.weights.wording import shown

TAKEN: Final = "PNG, JPEG or WebP files, alone or in tar shards"
CAPTIONLESS: Final = "write a .txt beside each picture, or give one caption for all that have none"


@dataclass(frozen=True)
class Pictures:
    """What a folder holds for a training, and what it is left without."""

    root: Path
    examples: tuple[Example, ...]
    skipped: tuple[Skip, ...]

    def __len__(self) -> int:
        return len(self.examples)


def open_pictures(
    path: str | os.PathLike[str], *, caption: str | None = None, file_names: bool = False
) -> Pictures:
    """Find every picture in a folder, and what is said of it; read its size, and decode nothing yet.

    Who speaks first is heard: a table's row, a file beside the picture, a folder named 10_word, a class
    folder; then, only if asked for, the picture's name (`file_names`), then `caption`. What cannot be learned
    from is left out and listed.

    path:    a folder; or a tar shard or a JSONL list, which then stands for its folder
    Raises:  StorageError if there is no such folder; RequestError if nothing in it can be learned from
    """
    otherwise = Otherwise(caption, file_names)
    root, found = _gather(Path(path))
    items, skipped = _parted(found)
    tables = read_tables(items, root.absolute().as_posix())
    known = {item.name for item in items} | {skip.name for skip in skipped}
    more, missing = _parted(listed(root, name) for name in tables.told if name not in known)
    pictures = [item for item in items if item.suffix in PICTURES] + more
    captioned, captionless = _captioned(pictures, items, tables, otherwise)
    examples, unfit = _read(captioned)
    result = Pictures(root, tuple(examples), (*skipped, *missing, *captionless, *unfit, *tables.skipped))
    if not examples:
        raise _nothing(path, result)
    return result


def _gather(path: Path) -> tuple[Path, Iterator[Item | Skip]]:
    """The folder, and what is in it, or in the one file that was named."""
    if path.is_dir():
        return path, walk(path)
    if path.is_file() and path.suffix.lower() in (*LISTS, SHARD):
        return path.parent, look_at(path.parent, path.name)
    if path.exists():
        raise RequestError({"pictures": f"{path} is no folder"}, hint="name the folder it is in")
    raise StorageError(f"there is no folder {path}", hint="name the folder that holds your pictures")


def _parted(found: Iterable[Item | Skip]) -> tuple[list[Item], list[Skip]]:
    items: list[Item] = []
    skipped: list[Skip] = []
    for one in found:
        if isinstance(one, Skip):
            skipped.append(one)
        else:
            items.append(one)
    return items, skipped


def _captioned(
    pictures: Sequence[Item], items: Sequence[Item], tables: Tables, otherwise: Otherwise
) -> tuple[list[tuple[Item, Told]], list[Skip]]:
    """What is said of each picture; those of which nothing is said."""
    beside, told, silent = sidecars_of(items), dict[str, Told](), dict[str, str]()
    for item in pictures:
        row = tables.told.get(item.name)
        try:
            said = row if row and row.captions else of_sidecar(item, beside.get((item.folder, item.stem), {}))
        except ValueError as error:
            said, silent[item.name] = None, str(error)
        if said:
            told[item.name] = said
    # where somebody says something of a picture, the folder's name is no caption of the others
    spoken_for = {item.folder for item in pictures if item.name in told}
    captioned: list[tuple[Item, Told]] = []
    captionless: list[Skip] = []
    for item in pictures:
        covered = item.folder in spoken_for or tables.cover(item.folder)
        if said := told.get(item.name) or _of_its_folder(item, covered) or otherwise(item):
            captioned.append((item, said))
        else:
            captionless.append(Skip(item.name, Reason.NO_CAPTION, silent.get(item.name, "")))
    return captioned, captionless


def _of_its_folder(item: Item, covered: bool) -> Told | None:
    repeats, words = repeats_of(item)
    if words:
        return Told((words,), Layout.REPEATS, f"{repeats} times {words!r} for {item.name}")
    return None if covered else of_folder(item)


def _read(captioned: Iterable[tuple[Item, Told]]) -> tuple[list[Example], list[Skip]]:
    """Those whose headers are sound."""
    examples: list[Example] = []
    unfit: list[Skip] = []
    for item, told in captioned:
        try:
            header = read_header(item.place)
        except Unfit as problem:
            unfit.append(problem.skip(item.name))
        else:
            repeats, _ = repeats_of(item)
            examples.append(Example(item.name, item.place, told, header.size, repeats, header.remarks))
    return examples, unfit


def _nothing(path: object, pictures: Pictures) -> RequestError:
    """What to say where no picture is left."""
    if not pictures.skipped:
        return RequestError({"pictures": f"{path} holds none"}, hint=f"put {TAKEN} into it")
    reason, count = Counter(skip.reason for skip in pictures.skipped).most_common(1)[0]
    first = next(skip.name for skip in pictures.skipped if skip.reason is reason)
    problem = f"none in {path} can be learned from; left out, {reason} ({count:,}), such as {shown(first)}"
    hint = CAPTIONLESS if reason is Reason.NO_CAPTION else f"training takes {TAKEN}"
    return RequestError({"pictures": problem}, hint=hint)
