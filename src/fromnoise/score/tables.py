"""Shares with their uncertainty, and small tables of whatever was measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, sqrt
from typing import Any, Final, Self

NORMAL_95: Final = 1.959964  # 95 % of a normal distribution lie within so many standard deviations
NOTHING: Final = "–"


def wilson(right: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share.  Source: Wilson 1927 (J. Am. Stat. Assoc. 22, 209)"""
    if of == 0:
        return 0.0, 1.0
    share, z2 = right / of, NORMAL_95**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = NORMAL_95 * sqrt(share * (1 - share) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def kappa(pairs: Sequence[tuple[bool, bool]]) -> float:
    """How much better two agree than by chance: 1 always, 0 no better; NaN where chance always agrees.

    Source: Cohen 1960 (Educ. Psychol. Meas. 20, 37)
    """
    count = len(pairs)
    agreed = sum(a == b for a, b in pairs) / count
    firsts, seconds = (sum(pair[n] for pair in pairs) / count for n in (0, 1))
    by_chance = firsts * seconds + (1 - firsts) * (1 - seconds)
    return (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


@dataclass(frozen=True, slots=True)
class Share:
    """So many right, of so many that were asked."""

    right: int
    of: int

    @property
    def value(self) -> float:
        """0..1; 0 where nothing was asked."""
        return self.right / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies with 95 % certainty."""
        return wilson(self.right, self.of)

    def __str__(self) -> str:
        if not self.of:
            return NOTHING
        low, high = self.interval
        return f"{100 * self.value:.1f} [{100 * low:.0f}–{100 * high:.0f}]"

    def to_json(self) -> dict[str, Any]:
        """The counts, and what follows from them."""
        interval = [round(end, 4) for end in self.interval]
        return {"right": self.right, "of": self.of, "share": round(self.value, 4), "interval": interval}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Back from `to_json`."""
        return cls(data["right"], data["of"])


Cell = str | int | float | Share


@dataclass(frozen=True, slots=True)
class Section:
    """A measurement as a table: what the columns are called, and how to read them."""

    title: str
    rows: tuple[Mapping[str, Cell], ...]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        rows = [{k: v.to_json() if isinstance(v, Share) else v for k, v in row.items()} for row in self.rows]
        return {"title": self.title, "rows": rows, "note": self.note}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Back from `to_json`."""
        rows = tuple({head: _cell(value) for head, value in row.items()} for row in data["rows"])
        return cls(data["title"], rows, data["note"])

    def to_markdown(self) -> str:
        """A heading, a table, and its note."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from (f"### {self.title}", "")
        if self.rows:
            heads = list(dict.fromkeys(head for row in self.rows for head in row))
            yield from table(heads, [[shown(row.get(head, NOTHING)) for head in heads] for row in self.rows])
        if self.note:
            yield from (*([""] if self.rows else []), self.note)


def _cell(value: Any) -> Cell:
    return value if isinstance(value, str | int | float) else Share.from_json(value)


def known(value: float) -> Cell:
    """A number for a table; a dash where there is none."""
    return NOTHING if isnan(value) else value


def shown(cell: Cell) -> str:
    """As it stands in a table: fractions with three digits."""
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)


def table(heads: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A table in Markdown, a line at a time."""
    for cells in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(cells)} |"
