"""How names from strangers' files are shown: short, on one line, without control characters."""

from collections.abc import Collection
from itertools import islice
from typing import Final

LONGEST: Final = 80  # characters
FEW: Final = 3  # of many names


def plain(text: str) -> str:
    """Without control characters: strangers' words must not command the terminal."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def shown(name: str) -> str:
    """The name, fit for an error message."""
    short = plain(name[: LONGEST + 1])
    return short if len(short) <= LONGEST else f"{short[: LONGEST - 1]}…"


def few(names: Collection[str], most: int = FEW) -> str:
    """The first of them, fit for an error message, and how many more there are."""
    first = ", ".join(map(shown, islice(names, most)))
    return first if len(names) <= most else f"{first} and {len(names) - most} more"
