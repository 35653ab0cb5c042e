"""The table and its chart, put into the documentation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont

from benchmarks.peers.job import BF16
from benchmarks.peers.race import ROOT
from benchmarks.peers.systems import SYSTEMS
from benchmarks.peers.table import Results, decode, limits, markdown, own, picture, step, title
from docs.make import rewrite

PAGE: Final = ROOT / "docs" / "performance.md"
CHARTS: Final = ROOT / "docs" / "pictures"
PANELS: Final[Sequence[tuple[str, Callable[[Results], float | None]]]] = (
    ("one guided step, seconds", step),
    ("decoding, seconds", decode),
    ("a whole picture, seconds", picture),
)
OURS_COLOUR, PEER_COLOUR, LIMIT_COLOUR = "#c2410c", "#94a3b8", "#0f172a"
LETTERS, BAR, GAP, LABEL, WIDE, NUMBER = 16, 22, 8, 280, 420, 70  # pixels


def publish(results: dict[str, Any]) -> None:
    """Rewrite docs/performance.md between its marks, and draw its chart."""
    number = results["number"]
    kind = "" if number == BF16 else f"-{number}"
    picture = CHARTS / f"performance{kind}.png"
    chart(results).save(picture, optimize=True)
    link = f"![{' and '.join(what for what, _ in PANELS[:2])}](pictures/{picture.name})"
    rewrite(PAGE, f"peers{kind}", f"{markdown(results)}\n\n{link}")


def chart(results: Results) -> Image.Image:
    """Bars, shortest first; a line where the limit at the measured peaks lies."""
    systems = results["systems"].items()
    panels = [
        (what, sorted((value, name) for name, found in systems if (value := figure(found))))
        for what, figure in PANELS
    ]
    panels = [(what, bars) for what, bars in panels if bars]
    high = sum(LETTERS + 3 * GAP + len(bars) * (BAR + GAP) for _, bars in panels)
    page = Image.new("RGB", (LABEL + WIDE + NUMBER, high), "white")
    pen, top = ImageDraw.Draw(page), GAP
    names = {name: title(name, results) for name, _ in systems}
    for (what, bars), limit in zip(panels, (*limits(results, own(results)), None), strict=False):
        top = panel(pen, top, what, bars, names, limit)
    return page


def panel(
    pen: ImageDraw.ImageDraw,
    top: int,
    what: str,
    bars: list[tuple[float, str]],
    names: Mapping[str, str],
    limit: float | None,
) -> int:
    """One figure of every system; gives where the next panel begins."""
    font, longest = ImageFont.load_default(LETTERS), bars[-1][0]
    pen.text((GAP, top), what, fill=LIMIT_COLOUR, font=font)
    top += LETTERS + GAP
    begin = top
    numbers: list[tuple[tuple[int, int], str]] = []
    for value, name in bars:
        right = LABEL + round(WIDE * value / longest)
        colour = OURS_COLOUR if SYSTEMS[name].ours else PEER_COLOUR
        pen.text((GAP, top), names[name], fill=LIMIT_COLOUR, font=font)
        pen.rectangle((LABEL, top, right, top + BAR), fill=colour)
        numbers.append(((right + GAP, top), f"{value:.1f}"))
        top += BAR + GAP
    if limit:
        at = LABEL + round(WIDE * limit / longest)
        pen.line((at, begin, at, top - GAP), fill=LIMIT_COLOUR, width=2)
    for place, number in numbers:  # last, with a rim: readable on top of the line
        pen.text(place, number, fill=LIMIT_COLOUR, font=font, stroke_width=3, stroke_fill="white")
    return top + GAP
