"""What a score found: rows of shares, every picture's verdict, what witnesses told, and the bars to reach."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self

from fromnoise.errors import RequestError
from fromnoise.score.plans import ALL, OVERALL, SEEN, TIERS
from fromnoise.score.stamp import VERSION, Stamp, check_comparable
from fromnoise.score.tables import Cell, Section, Share

Source = Literal["model", "ceiling", "rebuilt", "retrieval", "floor"]

FORMAT: Final = 2

# What an embedded model must reach on seen single things.
BAR: Final[Mapping[str, float]] = {"object": 0.80, "colour": 0.80, "setting": 0.90, "time": 0.90}
# What the checker must reach on true renders of seen prompts, all parts together; else it is the limit.
CEILING: Final[Mapping[str, float]] = {
    **dict.fromkeys(("single", "colour"), 0.99),
    **dict.fromkeys(("two", "count", "position", "attribution"), 0.97),
}
MOST_LOST: Final = 0.02  # of the mean of T1 to T6, between true renders and their reconstructions


@dataclass(frozen=True, slots=True)
class Row:
    """One set of pictures, judged: by part, and how many pictures have each sort of fault."""

    tier: str
    split: str
    source: Source
    pictures: int
    shares: Mapping[str, Share]
    faults: Mapping[str, int]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Back from a report's JSON."""
        fields = dict(data)
        fields["shares"] = {part: Share.from_json(share) for part, share in data["shares"].items()}
        return cls(**fields)


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
    sections: tuple[Section, ...] = ()
    stamp: Stamp | None = None

    def row(self, tier: str, split: str, source: Source) -> Row | None:
        """The row of this name, if it was measured."""
        wanted = (tier, split, source)
        return next((r for r in self.rows if (r.tier, r.split, r.source) == wanted), None)

    def headline(self, tier: str) -> Share:
        """The share that counts of a tier's seen prompts, which must have been measured."""
        row = self.row(tier, SEEN, "model")
        assert row is not None, f"{tier} was not measured"
        return row.shares[TIERS[tier].headline]

    def headlines(self, source: Source = "model", *, held_out: bool = False) -> list[Share]:
        """The share that counts of each of T1 to T6; all held-out splits of a tier together."""
        found: list[Share] = []
        for name in OVERALL:
            rows = [row for row in self.rows if (row.tier, row.source) == (name, source)]
            shares = [r.shares[TIERS[name].headline] for r in rows if (r.split != SEEN) == held_out]
            if shares:
                found.append(Share(sum(s.right for s in shares), sum(s.of for s in shares)))
        return found

    def overall(self, source: Source = "model", *, held_out: bool = False) -> float | None:
        """The mean of tiers T1 to T6, 0..1; None unless all six were measured."""
        shares = self.headlines(source, held_out=held_out)
        return sum(share.value for share in shares) / len(shares) if len(shares) == len(OVERALL) else None

    def misses(self) -> list[str]:
        """Where a bar is missed, in words; empty if all are met."""
        return [*self._model_misses(), *self._checker_misses()]

    def _model_misses(self) -> Iterator[str]:
        row = self.row("single", SEEN, "model")
        if row is None:
            yield "model: the tier of single things was not scored"
            return
        for part, least in BAR.items():
            if (value := row.shares[part].value) < least:
                yield f"model: {part} is right in {100 * value:.1f} %, below {100 * least:.0f} %"

    def _checker_misses(self) -> Iterator[str]:
        for tier, least in CEILING.items():
            row = self.row(tier, SEEN, "ceiling")
            if row and (value := row.shares[ALL].value) < least:
                yield f"ceiling: {tier} is right in {100 * value:.1f} %, below {100 * least:.0f} %"
        true, rebuilt = self.overall("ceiling"), self.overall("rebuilt")
        if true is not None and rebuilt is not None and true - rebuilt > MOST_LOST:
            lost, most = 100 * (true - rebuilt), 100 * MOST_LOST
            yield f"rebuilt: the autoencoder loses {lost:.1f} points of T1 to T6, more than {most:.0f}"

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        rows = [
            asdict(row) | {"shares": {part: share.to_json() for part, share in row.shares.items()}}
            for row in self.rows
        ]
        return {
            "format": FORMAT,
            "stamp": self.stamp and self.stamp.to_json(),
            "rows": rows,
            "overall": {"seen": self.overall(), "held_out": self.overall(held_out=True)},
            "misses": self.misses(),
            "sections": [section.to_json() for section in self.sections],
            "pictures": [asdict(picture) for picture in self.pictures],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Back from `to_json`.  Raises: RequestError for what another version wrote, or nobody did"""
        try:
            made: int = (data.get("stamp") or {"version": VERSION})["version"]
            if (data.get("format"), made) != (FORMAT, VERSION):
                problem = f"format {data.get('format')} of WorldEval {made}, not {FORMAT} of {VERSION}"
                raise RequestError({"report": problem}, hint="score again with this version")
            return cls(
                tuple(map(Row.from_json, data["rows"])),
                tuple(map(_judged, data["pictures"])),
                tuple(map(Section.from_json, data["sections"])),
                Stamp.from_json(data["stamp"]) if data["stamp"] else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem, hint = f"it holds no score: {error}", "name a file that fromnoise score -o wrote"
            raise RequestError({"report": problem}, hint=hint) from error


def _judged(data: dict[str, Any]) -> Judged:
    fields = dict(data)
    fields["faults"] = tuple(data["faults"])
    return Judged(**fields)


def compared(old: Report, new: Report) -> Section:
    """Two scores side by side, by set.  Raises: RequestError unless both were made by one ruler"""
    check_comparable(old.stamp, new.stamp)
    rows: list[dict[str, Cell]] = []
    for row in new.rows:
        before = old.row(row.tier, row.split, row.source) if row.source == "model" else None
        if before:
            a, b = before.shares[ALL], row.shares[ALL]
            change = f"{100 * (b.value - a.value):+.1f}"
            rows.append({"all parts": f"{row.tier}, {row.split}", "before": a, "now": b, "change": change})
    stamps = (stamp for stamp in (old.stamp, new.stamp) if stamp)
    names = [f"{stamp.model} {stamp.model_hash[:12]}…" for stamp in stamps]
    note = f"Before: {names[0]}; now: {names[1]}."
    return Section("Beside the score before", tuple(rows), note)
