"""How names from strangers' files are shown: short, on one line, without control characters."""

from typing import Final

LONGEST: Final = 80  # characters


def shown(name: str) -> str:
    """The name, fit for an error message."""
    plain = name[: LONGEST + 1]
    if not plain.isprintable():
        plain = "".join(letter if letter.isprintable() else "?" for letter in plain)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"
