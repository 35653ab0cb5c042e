"""A report to read: a table for each tier, why pictures are wrong, and what the witnesses told."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from fromnoise.score.plans import SEEN, TIERS
from fromnoise.score.report import Report, Row
from fromnoise.score.tables import NOTHING, Cell, Section, Share, table
from fromnoise.score.weakness import weaknesses
from fromnoise.world.worlds import world_of

LEGEND: Final = (
    "Shares of pictures in per cent, with Wilson's 95 % interval (a prompt's pictures count as\n"
    "independent). all: every part; atoms: the parts one by one. ceiling: the checker on ground-truth\n"
    "renders of the same scenes; rebuilt: on those renders after the autoencoder; retrieval: on the render\n"
    "of that training scene whose caption shares most words with the prompt; floor: the model's pictures\n"
    "against each other's prompts."
)
ORDER: Final = ("ceiling", "rebuilt", "retrieval", "floor")


def to_markdown(report: Report) -> str:
    """The whole report, without the single pictures."""
    tiers = list(dict.fromkeys(row.tier for row in report.rows))
    parts = [*(_tier(report, tier) for tier in tiers), *_summary(report)]
    told = (*_reasons(report), *_weaknesses(report), *report.sections)
    parts += [section.to_markdown() for section in told]
    parts += [LEGEND, f"Made by {report.stamp}." if report.stamp else ""]
    return "\n\n".join(filter(None, parts)) + "\n"


def _tier(report: Report, tier: str) -> str:
    rows = [row for row in report.rows if row.tier == tier]
    model = [row for row in rows if row.source == "model"]
    others = [row for source in ORDER for row in rows if (row.split, row.source) == (SEEN, source)]
    memory = [row for row in rows if row.source == "retrieval" and row.split != SEEN]
    heads = ["", *(row.split if row.split == SEEN else f"held out {row.split}" for row in model)]
    heads += [*(row.source for row in others), *(f"retrieval {row.split}" for row in memory)]
    shown = (*model, *others, *memory)
    body = [["pictures", *(f"{row.pictures}" for row in shown)]]
    body += [[part, *(str(row.shares[part]) for row in shown)] for part in model[0].shares]
    lines = [f"### {' '.join(filter(None, (TIERS[tier].number, tier)))}: {TIERS[tier].title}", ""]
    lines += [*table(heads, body), ""]
    for row in model:
        faults = ", ".join(f"{sort} {n}" for sort, n in row.faults.items()) or "none"
        lines.append(f"Faults ({row.split}): {faults}.")
    return "\n".join(lines)


def _summary(report: Report) -> Iterator[str]:
    """The mean of T1 to T6, and all their pictures together for its interval."""
    rows: list[list[str]] = []
    for source in ("model", *ORDER):
        cells = [source]
        for held_out in (False, True):
            mean = report.overall(source, held_out=held_out)
            shares = report.headlines(source, held_out=held_out)
            pooled = Share(sum(s.right for s in shares), sum(s.of for s in shares))
            cells += [NOTHING, NOTHING] if mean is None else [f"{100 * mean:.1f}", str(pooled)]
        rows.append(cells)
    if report.overall() is not None:
        heads = ["", "seen: mean", "together", "held out: mean", "together"]
        yield "\n".join(["### Mean of T1 to T6", "", *table(heads, rows)])


def _reasons(report: Report) -> Iterator[Section]:
    """Why the model's pictures are wrong, all tiers together."""
    seen, held_out = (
        [row for row in report.rows if row.source == "model" and (row.split == SEEN) == known]
        for known in (True, False)
    )
    counted = _faults(seen) + _faults(held_out)
    rows: list[dict[str, Cell]] = [
        {"": sort, "seen": _share(seen, sort), "held out": _share(held_out, sort)}
        for sort, _ in counted.most_common()
    ]
    note = "Of all pictures of the model; one may have several. extra: a thing that the prompt does not name."
    if rows:
        yield Section("Why pictures are wrong", tuple(rows), note)


def _weaknesses(report: Report) -> Iterator[Section]:
    section = weaknesses(report, world_of(report.stamp.world)) if report.stamp else None
    if section and section.rows:
        yield section


def _faults(rows: list[Row]) -> Counter[str]:
    return sum((Counter(row.faults) for row in rows), Counter[str]())


def _share(rows: list[Row], sort: str) -> Share:
    return Share(_faults(rows)[sort], sum(row.pictures for row in rows))
