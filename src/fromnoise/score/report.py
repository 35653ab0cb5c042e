"""What a score found, as numbers that say how sure they are, and as a table to read."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any, Final, Literal

from fromnoise.score.plans import OVERALL, SEEN, TIERS

Source = Literal["model", "ceiling", "rebuilt", "floor"]

NORMAL_95: Final = 1.959964  # 95 % of a normal distribution lie within so many standard deviations
FORMAT: Final = 1

# What an embedded model must reach on seen single things, and its checker on true renders of the same.
BAR: Final[Mapping[str, float]] = {"object": 0.80, "colour": 0.80, "setting": 0.90, "time": 0.90}
CHECKER_BAR: Final = 0.97

LEGEND: Final = (
    "Shares of pictures in per cent, with Wilson's 95 % interval (a prompt's seeds count as independent).\n"
    "ceiling: the checker on ground-truth renders of the same scenes; rebuilt: on those renders after the\n"
    "autoencoder; floor: the model's pictures against each other's prompts."
)


def wilson(right: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share.  Source: Wilson 1927 (J. Am. Stat. Assoc. 22, 209)"""
    if of == 0:
        return 0.0, 1.0
    share, z2 = right / of, NORMAL_95**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = NORMAL_95 * sqrt(share * (1 - share) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)


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
            return "–"
        low, high = self.interval
        return f"{100 * self.value:.1f} [{100 * low:.0f}–{100 * high:.0f}]"


@dataclass(frozen=True, slots=True)
class Row:
    """One set of pictures, judged: by part, and how often each sort of fault was found."""

    tier: str
    split: str
    source: Source
    pictures: int
    shares: Mapping[str, Share]
    faults: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Judged:
    """One picture of the model."""

    tier: str
    split: str
    prompt: str
    seed: int
    parts: Mapping[str, bool]
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a score found; the last thing that `score` yields."""

    rows: tuple[Row, ...]
    pictures: tuple[Judged, ...]

    def row(self, tier: str, split: str, source: Source) -> Row | None:
        """The row of this name, if it was measured."""
        wanted = (tier, split, source)
        return next((r for r in self.rows if (r.tier, r.split, r.source) == wanted), None)

    def overall(self, source: Source = "model", *, held_out: bool = False) -> float | None:
        """The mean of tiers T1 to T6, 0..1; None unless all six were measured."""
        means: list[float] = []
        for name in OVERALL:
            rows = [row for row in self.rows if (row.tier, row.source) == (name, source)]
            shares = [r.shares[TIERS[name].headline] for r in rows if (r.split != SEEN) == held_out]
            if not shares:
                return None
            means.append(sum(share.right for share in shares) / sum(share.of for share in shares))
        return sum(means) / len(means)

    def misses(self) -> list[str]:
        """Where the bar for the embedded model is missed, in words; empty if it is met."""
        limits = {"model": BAR, "ceiling": dict.fromkeys(BAR, CHECKER_BAR)}
        return [miss for source, bar in limits.items() for miss in self._below(source, bar)]

    def _below(self, source: Any, bar: Mapping[str, float]) -> Iterator[str]:
        row = self.row("single", SEEN, source)
        if row is None:
            yield f"{source}: the tier of single things was not scored"
            return
        for part, least in bar.items():
            value = row.shares[part].value
            if value < least:
                yield f"{source}: {part} is right in {100 * value:.1f} %, below {100 * least:.0f} %"

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        rows = [asdict(row) | {"shares": _shares_json(row.shares)} for row in self.rows]
        return {
            "format": FORMAT,
            "rows": rows,
            "overall": {"seen": self.overall(), "held_out": self.overall(held_out=True)},
            "misses": self.misses(),
            "pictures": [asdict(picture) for picture in self.pictures],
        }

    def to_markdown(self) -> str:
        """A table for each tier: seen beside held out, with ceiling and floor; and what went wrong."""
        tiers = list(dict.fromkeys(row.tier for row in self.rows))
        return "\n\n".join((*(self._table(tier) for tier in tiers), *self._means(), LEGEND)) + "\n"

    def _means(self) -> Iterator[str]:
        if (seen := self.overall()) is None:
            return
        means = {"held out": self.overall(held_out=True), "ceiling": self.overall("ceiling")}
        means |= {"floor": self.overall("floor")}
        others = "".join(f", {name} {100 * mean:.1f}" for name, mean in means.items() if mean is not None)
        yield f"Mean of T1 to T6: seen {100 * seen:.1f}{others}."

    def _table(self, tier: str) -> str:
        model = [row for row in self.rows if row.tier == tier and row.source == "model"]
        others = [row for row in self.rows if (row.tier, row.split) == (tier, SEEN) and row.source != "model"]
        heads = [*(row.split if row.split == SEEN else f"held out {row.split}" for row in model)]
        heads += [row.source for row in others]
        sizes = [f"{row.pictures}" for row in (*model, *others)]
        lines = [f"### {' '.join(filter(None, (TIERS[tier].number, tier)))}: {TIERS[tier].title}", ""]
        lines += [_line("", *heads), _line(*["---"] * (len(heads) + 1)), _line("pictures", *sizes)]
        for part in model[0].shares:
            lines.append(_line(part, *(str(row.shares[part]) for row in (*model, *others))))
        lines.append("")
        for row in model:
            faults = ", ".join(f"{sort} {n}" for sort, n in row.faults.items()) or "none"
            lines.append(f"Faults ({row.split}): {faults}.")
        return "\n".join(lines)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _shares_json(shares: Mapping[str, Share]) -> dict[str, Any]:
    return {
        part: {
            "right": share.right,
            "of": share.of,
            "share": round(share.value, 4),
            "interval": [round(end, 4) for end in share.interval],
        }
        for part, share in shares.items()
    }
