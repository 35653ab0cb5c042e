"""Tables that say what pictures show: metadata.jsonl, metadata.csv, and lists of JSON objects, one a line."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from pathlib import PurePosixPath
from typing import Any, Final, cast

from fromnoise.train.pictures.captions import captions_in
from fromnoise.train.pictures.examples import Layout, Reason, Skip, Told
from fromnoise.train.pictures.finding import LISTS, TABLE, TABLES, Item

PATH_KEYS: Final = ("file_name", "path", "image", "filename", "file")
UTF8: Final = "utf-8-sig"
LONGEST_LINE: Final = 1 << 20  # characters


@dataclass
class Tables:
    """What all tables of a folder say of its pictures, by their names."""

    told: dict[str, Told] = field(default_factory=dict[str, Told])  # captions may be (): a row without a text
    folders: set[str] = field(default_factory=set[str])  # they speak for everything below
    skipped: list[Skip] = field(default_factory=list[Skip])

    def cover(self, folder: str) -> bool:
        """Whether a table speaks for a folder."""
        return any(place in ("", folder) or folder.startswith(f"{place}/") for place in self.folders)


def read_tables(items: Iterable[Item], root: str) -> Tables:
    """Read those items that are tables. Lines that cannot be used are counted.

    `root`: the folder's own path, which absolute paths are compared with
    """
    tables = Tables()
    for item in items:
        if item.suffix in LISTS or item.name.rpartition("/")[2].lower() in TABLES:
            rows = list(_rows(item))
            if any(not isinstance(row, Skip) for row in rows):
                tables.folders.add(item.folder)
                for row in rows:
                    _enter(tables, item, row, root)
            else:
                tables.skipped.append(Skip(item.name, Reason.BAD_LINE, "no line of it names a picture"))
    return tables


Row = tuple[int, str, tuple[str, ...]]
"""A line's number, the picture's path as written, and its captions."""


def _enter(tables: Tables, item: Item, row: Row | Skip, root: str) -> None:
    if isinstance(row, Skip):
        tables.skipped.append(row)
        return
    line, path, captions = row
    where = f"{item.name}, line {line}"
    name = _within(item.folder, path, root)
    if name is None:
        tables.skipped.append(Skip(path, Reason.OUTSIDE, where))
        return
    layout = Layout.TABLE if item.stem.lower() == TABLE else Layout.LIST
    told = tables.told.get(name, Told((), layout, where))
    tables.told[name] = replace(told, captions=told.captions + captions)  # a picture may have several rows


def _within(folder: str, path: str, root: str) -> str | None:
    """A row's path as a name within the folder that was opened; None if it leads out of it."""
    pure = PurePosixPath(path.replace("\\", "/"))
    if pure.is_absolute():
        if not pure.is_relative_to(root):
            return None
        pure, folder = pure.relative_to(root), ""
    parts: list[str] = []
    for part in (*PurePosixPath(folder).parts, *pure.parts):
        if part != "..":
            parts.append(part)
        elif not parts:
            return None
        else:
            parts.pop()
    return "/".join(parts)


def _rows(item: Item) -> Iterator[Row | Skip]:
    lines = _objects(item) if item.suffix in LISTS else _records(item)
    for number, fields in lines:
        where = f"{item.name}, line {number}"
        if isinstance(fields, Skip):
            yield fields
            continue
        path = next((fields[key] for key in PATH_KEYS if isinstance(fields.get(key), str)), "")
        if not path.strip():
            yield Skip(where, Reason.BAD_LINE, f"it has no {PATH_KEYS[0]}")
            continue
        try:
            yield number, path.strip(), captions_in(fields)
        except ValueError as error:
            yield Skip(where, Reason.BAD_LINE, str(error))


def _objects(item: Item) -> Iterator[tuple[int, dict[str, Any] | Skip]]:
    for number, line in _lines(item):
        if isinstance(line, Skip):
            yield number, line
        elif line.strip():
            try:
                row: Any = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            where = f"{item.name}, line {number}"
            good = isinstance(row, dict)
            yield number, cast(dict[str, Any], row) if good else Skip(where, Reason.BAD_LINE, "not JSON")


def _lines(item: Item) -> Iterator[tuple[int, str | Skip]]:
    number = 0
    try:
        with item.place.open() as file, TextIOWrapper(file, encoding=UTF8) as text:
            while line := text.readline(LONGEST_LINE):
                number += 1
                yield number, line
    except (OSError, ValueError) as error:
        yield number, Skip(item.name, Reason.UNREADABLE, str(error))


def _records(item: Item) -> Iterator[tuple[int, dict[str, Any] | Skip]]:
    number = 1
    try:
        with item.place.open() as file, TextIOWrapper(file, encoding=UTF8, newline="") as text:
            reader = csv.DictReader(text)
            for row in reader:
                number = reader.line_num
                yield number, cast(dict[str, Any], row)
    except (OSError, ValueError, csv.Error) as error:
        yield number, Skip(item.name, Reason.UNREADABLE, str(error))
