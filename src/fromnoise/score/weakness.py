"""What a model cannot draw: its worst words, and the tiers in which most pictures are wrong."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from fromnoise.score.plans import ALL, SEEN, TIERS
from fromnoise.score.report import Judged, Report
from fromnoise.score.tables import Cell, Section, Share
from fromnoise.world.reading import parse
from fromnoise.world.worlds import World

SINGLES: Final = ("single", "colour", "paper")  # tiers of one thing, in its colour and its place
FEWEST: Final = 4  # pictures of a word, at least
WORST: Final = 10  # words
HALF: Final = 0.5


def weaknesses(report: Report, world: World) -> Section:
    """The words that are most often wrong in pictures of one thing, the worst first."""
    found: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for picture in report.pictures:
        if picture.tier in SINGLES:
            for part, word in _words(picture, world):
                found[part, word].append(picture.parts[part])
    shares = {key: Share(sum(right), len(right)) for key, right in found.items() if len(right) >= FEWEST}
    wrong = (key for key, share in shares.items() if share.right < share.of)
    worst = sorted(wrong, key=lambda key: (shares[key].value, key))[:WORST]
    rows: list[dict[str, Cell]] = [
        {"word": word, "is a": part, "right": shares[part, word]} for part, word in worst
    ]
    note = f"Of pictures of one thing, all prompts together; only words with {FEWEST} pictures or more."
    if missed := ", ".join(_missed(report)):
        note += f"\nWrong more often than right, on seen prompts: {missed}."
    return Section("What it draws worst", tuple(rows), note)


def _words(picture: Judged, world: World) -> Iterator[tuple[str, str]]:
    atoms = parse(picture.prompt, world)
    said = {"object": atoms.things[0].kind, "colour": atoms.things[0].colour}
    said |= {"setting": atoms.setting, "time": atoms.time}
    yield from ((part, word) for part, word in said.items() if word and part in picture.parts)


def _missed(report: Report) -> Iterator[str]:
    for tier in TIERS:
        row = report.row(tier, SEEN, "model")
        if row and row.shares[ALL].value < HALF:
            yield f"{TIERS[tier].title} ({row.shares[ALL]} %)"
