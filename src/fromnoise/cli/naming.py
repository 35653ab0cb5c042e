"""What a picture's file is called, and the command that draws it again."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final, cast

from fromnoise.cli.app import COMMANDS
from fromnoise.errors import RequestError, StorageError

SLUG_WORDS, SLUG_LENGTH = 5, 48
ARTICLES: Final = ("a", "an", "the")


def slug(prompt: str) -> str:
    """The first words of a prompt as a file name: red-lighthouse-on-an-island."""
    words: list[str] = re.findall(r"[^\W_]+", prompt.lower())
    if words[1:] and words[0] in ARTICLES:
        words = words[1:]
    return "-".join(words[:SLUG_WORDS])[:SLUG_LENGTH].strip("-") or "picture"


def target(out: Path | None, prompt: str) -> Path:
    """Where pictures of this prompt go; `{seed}` in the name stands for the seed."""
    own = f"{slug(prompt)}-{{seed}}.png"
    if out is None:
        return Path(own)
    return out / own if out.is_dir() else out


def check_target(path: Path) -> None:
    """Find out before drawing that a picture could not be written.  Raises: RequestError, StorageError"""
    if path.suffix.lower() != ".png":
        raise RequestError({"out": f"{path.name!r} does not end in .png"}, hint=f"try {path.stem}.png")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Write a nameless file into it, which leaves nothing behind.  Raises: StorageError"""
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        hint = "choose another folder" if folder.exists() else f"mkdir -p {shlex.quote(str(folder))}"
        raise StorageError(f"cannot write into {folder}: {error.strerror}", hint=hint) from error


def again(prompt: str, options: Mapping[str, Any]) -> str:
    """A command line for the shell: `fromnoise PROMPT --seed 7 …`; options that are None are left out."""
    words = [word for name, value in options.items() for word in option(name, value)]
    is_plain = prompt not in COMMANDS and not prompt.startswith("-")
    rest = (prompt, *words) if is_plain else ("generate", *words, "--", prompt)
    return shlex.join(["fromnoise", *rest])


def option(name: str, value: Any) -> Iterator[str]:
    """One option in the words of the command line."""
    if value is None:
        return
    yield f"--{name.replace('_', '-')}"
    if value is True:  # a flag
        return
    yield from map(str, cast(tuple[Any, ...], value) if isinstance(value, tuple) else (value,))
