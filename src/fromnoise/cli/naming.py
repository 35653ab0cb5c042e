"""What a picture's file is called, and the command that draws it again."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final, cast

from fromnoise.cli.app import COMMANDS
from fromnoise.errors import RequestError, StorageError

SLUG_WORDS, SLUG_LENGTH = 5, 48
ARTICLES: Final = ("a", "an", "the")
SUFFIX: Final = ".png"


def slug(prompt: str) -> str:
    """The first words of a prompt as a file name: red-lighthouse-on-an-island."""
    words: list[str] = re.findall(r"[^\W_]+", prompt.lower())
    if words[1:] and words[0] in ARTICLES:
        words = words[1:]
    return "-".join(words[:SLUG_WORDS])[:SLUG_LENGTH].strip("-") or "picture"


def target(out: Path | None, prompt: str) -> Path:
    """Where pictures of this prompt go; `{seed}` in the name stands for the seed."""
    own = f"{slug(prompt)}-{{seed}}{SUFFIX}"
    if out is None:
        return Path(own)
    return out / own if os.path.isdir(out) else out


def seeded(path: Path, seed: int) -> Path:
    """With the seed where the name says `{seed}`."""
    return path.with_name(path.name.replace("{seed}", str(seed)))


def check_target(path: Path, seed: int = 0) -> None:
    """Find out before drawing that a picture could not be written.  Raises: RequestError, StorageError"""
    if path.name.lower() == SUFFIX:
        raise RequestError({"out": f"{path.name!r} is an ending without a name"}, hint=f"try picture{SUFFIX}")
    if path.suffix.lower() != SUFFIX:
        folder = "" if path.suffix else f"; for a folder of that name: {make(path)}"
        problem = f"{path.name!r} does not end in {SUFFIX}"
        raise RequestError({"out": problem}, hint=f"try {path.stem}{SUFFIX}{folder}")
    check_file(seeded(path, seed))


def check_file(path: Path) -> None:
    """Find out before long work that its file could not be written.  Raises: StorageError"""
    check_folder(path.parent)
    if os.path.isdir(path):
        raise StorageError(f"{path} is a folder", hint="name a file in it")
    try:
        with suppress(FileNotFoundError):
            os.lstat(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}", hint="choose another name") from error


def check_folder(folder: Path) -> None:
    """Write a nameless file into it, which leaves nothing behind.  Raises: StorageError"""
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        hint = "choose another folder" if os.path.exists(folder) else make(folder)
        raise StorageError(f"cannot write into {folder}: {error.strerror}", hint=hint) from error


def make(folder: Path) -> str:
    """The command that makes a folder."""
    return f"mkdir -p {shlex.quote(str(folder))}"


def again(prompt: str, options: Mapping[str, Any]) -> str:
    """A command line for the shell: `fromnoise PROMPT --seed 7 …`; options that are None are left out."""
    words = [word for name, value in options.items() for word in option(name, value)]
    is_plain = prompt not in COMMANDS and not prompt.startswith("-")
    rest = (prompt, *words) if is_plain else ("generate", *words, "--", prompt)
    return shlex.join(["fromnoise", *rest])


def option(name: str, value: Any) -> Iterator[str]:
    """One option in the words of the command line; a list is one that is given several times."""
    if isinstance(value, list):
        for each in cast(list[Any], value):
            yield from option(name, each)
        return
    if value is None:
        return
    yield f"--{name.replace('_', '-')}"
    if value is True:  # a flag
        return
    yield from map(str, cast(tuple[Any, ...], value) if isinstance(value, tuple) else (value,))
