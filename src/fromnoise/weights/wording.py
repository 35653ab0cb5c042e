"""How names from strangers' files are shown: short, on one line, without control characters."""

from typing import Final

LONGEST: Final = 80  # characters


def plain(text: str) -> str:
    """Without control characters: strangers' words must not command the terminal."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def shown(name: str) -> str:
    """The name, fit for an error message."""
    short = plain(name[: LONGEST + 1])
    return short if len(short) <= LONGEST else f"{short[: LONGEST - 1]}…"
