"""What is said of a picture by a file beside it, by its folder's name, by its own, or by the user."""

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from fromnoise.checks import text
from fromnoise.errors import RequestError
from fromnoise.train.pictures.examples import Layout, Told
from fromnoise.train.pictures.finding import SIDECARS, Item
from fromnoise.train.pictures.places import Place

CAPTION_KEYS: Final = ("text", "caption", "prompt")
MAX_CAPTION_FILE: Final = 1 << 20  # bytes

# Source: kohya's folders, "<repeats>_<words>". With a zero in front it is a number, as in "001_albatross".
REPEATED: Final = re.compile(r"([1-9]\d{0,2})_(.*\S.*)")
NUMBERED: Final = re.compile(r"^\d+[ _.-]+(?=\D)")
COUNTER: Final = "0123456789 _.-()"  # what a file's name may end with: "red boat (3)"
CONTAINERS: Final = re.compile(
    r"(data|dataset|image|img|jpe?g|photo|pic|picture|png|webp|train|training|test|val|validation)s?"
)
CAMERAS: Final = re.compile(r"dsc[fn]?|image|img|p|pic|picture|photo|pxl|screenshot|untitled")


@dataclass(frozen=True, slots=True)
class Otherwise:
    """What becomes of a picture of which nothing is said: left out, unless the user asked for something."""

    caption: str | None = None  # may be empty
    file_names: bool = False  # first, where a name says anything

    def __post_init__(self) -> None:
        if self.caption is not None:
            try:
                cleaned(self.caption)
            except ValueError as error:
                raise RequestError({"caption": str(error)}) from error

    def __call__(self, item: Item) -> Told | None:
        """What it is called then."""
        if self.file_names and (name := spoken(item.stem.rstrip(COUNTER).replace("-", " "), CAMERAS)):
            return Told((name,), Layout.FILE_NAME, f"{name!r} for {item.name}")
        if self.caption is not None:
            return Told((cleaned(self.caption),), Layout.GIVEN, repr(cleaned(self.caption)))
        return None


def cleaned(caption: str) -> str:
    """On one line, single spaces.  Raises: ValueError if it is no text that a tokenizer could read"""
    return " ".join(str(text(caption)).split())


def of_sidecar(item: Item, beside: Mapping[str, Item]) -> Told | None:
    """What the file beside it says, all its lines in one.  Raises: ValueError if there is one, but silent"""
    silent = ""
    for suffix in SIDECARS:
        if found := beside.get(suffix):
            try:
                captions = _read_json(found) if suffix == ".json" else (cleaned(read_text(found.place)),)
            except (ValueError, OSError, RecursionError) as error:
                silent = silent or f"{found.name}: {error}"
                continue
            if any(captions):
                layout = Layout.SHARD if item.shard else Layout.SIDECAR
                return Told(captions, layout, f"{item.name} + {found.name.rpartition('/')[2]}")
            silent = silent or f"{found.name} says nothing"
    if silent:
        raise ValueError(silent)
    return None


def read_text(place: Place) -> str:
    """A small file of text, UTF-8 or marked as UTF-16.  Raises: ValueError, OSError"""
    if place.length() > MAX_CAPTION_FILE:
        raise ValueError(f"{place.length()} bytes are too long for a caption")
    data = place.read()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _read_json(item: Item) -> tuple[str, ...]:
    return captions_in(json.loads(read_text(item.place)))


def captions_in(row: Any) -> tuple[str, ...]:
    """The texts under the first of the usual keys: one, or a list of several.  Raises: ValueError"""
    if not isinstance(row, dict):
        return ()
    fields = cast(dict[Any, Any], row)
    said: Any = next((fields[key] for key in CAPTION_KEYS if fields.get(key)), ())
    several: Sequence[Any] = cast(list[Any], said) if isinstance(said, list) else (said,) if said else ()
    return tuple(caption for caption in map(cleaned, several) if caption)


def repeats_of(item: Item) -> tuple[int, str]:
    """What kohya reads in a folder's name: how often a picture is shown an epoch, and its caption."""
    match = REPEATED.fullmatch(_folder_name(item))
    return (int(match[1]), _spaced(match[2])) if match else (1, "")


def of_folder(item: Item) -> Told | None:
    """The name of its folder as a caption, unless it says nothing, as "images" does."""
    name = spoken(NUMBERED.sub("", _folder_name(item)), CONTAINERS)
    return Told((name,), Layout.CLASSES, f"{name!r} for {item.name}") if name else None


def _folder_name(item: Item) -> str:
    name = item.folder.rpartition("/")[2]
    return "" if item.shard and name.lower().endswith(".tar") else name


def spoken(name: str, meaningless: re.Pattern[str]) -> str:
    """A file's or folder's name in words; "" if it has none."""
    words = _spaced(name)
    has_letters = any(letter.isalpha() for letter in words)
    return words if has_letters and not meaningless.fullmatch(words.lower()) else ""


def _spaced(name: str) -> str:
    try:
        return cleaned(name.replace("_", " "))
    except ValueError:  # a name that is not Unicode
        return ""


def sidecars_of(items: Sequence[Item]) -> dict[tuple[str, str], dict[str, Item]]:
    """Caption files by the folder and stem they share with their pictures, then by suffix."""
    found: dict[tuple[str, str], dict[str, Item]] = {}
    for item in items:
        if item.suffix in SIDECARS:
            found.setdefault((item.folder, item.stem), {})[item.suffix] = item
    return found
