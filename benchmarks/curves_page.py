"""The curves as tables and a chart, put into the documentation."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont

from benchmarks.curves import GB, Point
from benchmarks.peers.page import LIMIT_COLOUR, OURS_COLOUR, PAGE, PEER_COLOUR
from docs.make import rewrite

CHART: Final = PAGE.parent / "pictures" / "curves.png"
WIDE, HIGH, EDGE, LETTERS, DOT = 420, 260, 56, 14, 4  # pixels

Found = Mapping[str, float]
Figure = Callable[[Point, Found], float | None]
Panel = tuple[str, str, Callable[[Point], float], Figure, Figure]
PANELS: Final[Sequence[Panel]] = (
    (
        "seconds of a guided step, by pixels along a side",
        "resolution",
        lambda point: point.size,
        lambda point, found: found.get("step"),
        lambda point, found: found.get("foretold step"),
    ),
    (
        "peak GB, by pixels along a side",
        "resolution",
        lambda point: point.size,
        lambda point, found: found["peak"] / GB if "peak" in found else None,
        lambda point, found: None,
    ),
    (
        "seconds of a guided step, by pictures at once",
        "batch",
        lambda point: point.pictures,
        lambda point, found: found.get("step"),
        lambda point, found: found.get("foretold step"),
    ),
    (
        "seconds of a picture, by steps: the embedded model",
        "steps",
        lambda point: point.steps,
        lambda point, found: found.get("total"),
        lambda point, found: found.get("foretold total"),
    ),
)


def publish(results: Mapping[str, Any], curves: Mapping[str, Sequence[Point]], tables: str) -> None:
    """Rewrite docs/performance.md between its marks, and draw its chart."""
    chart(results, curves).save(CHART, optimize=True)
    rewrite(PAGE, "curves", f"{tables}\n\n![seconds and memory, by size](pictures/{CHART.name})")


def chart(results: Mapping[str, Any], curves: Mapping[str, Sequence[Point]]) -> Image.Image:
    """Four panels with logarithmic axes: measured, and behind it in grey what was foretold."""
    rows = ceil(len(PANELS) / 2)
    page = Image.new("RGB", (2 * WIDE, rows * HIGH), "white")
    for k, (title, curve, across, measured, foretold) in enumerate(PANELS):
        known = [(point, results["points"][str(point)]) for point in curves[curve]]
        lines = [
            [(across(point), value) for point, found in known if (value := figure(point, found))]
            for figure in (foretold, measured)
        ]
        page.paste(panel(title, lines), (k % 2 * WIDE, k // 2 * HIGH))
    return page


def panel(title: str, lines: Sequence[Sequence[tuple[float, float]]]) -> Image.Image:
    """One panel: the last line is the measured one."""
    image = Image.new("RGB", (WIDE, HIGH), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(LETTERS)
    pen.text((EDGE // 4, EDGE // 4), title, fill=LIMIT_COLOUR, font=font)
    every = [spot for line in lines for spot in line]
    x, y = (axis([spot[k] for spot in every]) for k in (0, 1))

    def place(spot: tuple[float, float]) -> tuple[float, float]:
        return EDGE + x(spot[0]) * (WIDE - 1.5 * EDGE), HIGH - EDGE / 2 - y(spot[1]) * (HIGH - 1.5 * EDGE)

    for line, colour in zip(lines, (PEER_COLOUR, OURS_COLOUR), strict=True):
        spots = [place(spot) for spot in line]
        pen.line(spots, fill=colour, width=2)
        for left, top in spots:
            pen.ellipse((left - DOT, top - DOT, left + DOT, top + DOT), fill=colour)
    pen.line((EDGE, EDGE, EDGE, HIGH - EDGE / 2, WIDE - EDGE / 2, HIGH - EDGE / 2), fill=LIMIT_COLOUR)
    for spot in max(lines, key=len):
        pen.text(
            (place(spot)[0] - EDGE / 5, HIGH - EDGE / 2 + DOT), f"{spot[0]:g}", fill=LIMIT_COLOUR, font=font
        )
    for spot in (min(every, key=lambda spot: spot[1]), max(every, key=lambda spot: spot[1])):
        pen.text((DOT, place(spot)[1] - LETTERS / 2), f"{spot[1]:.3g}", fill=LIMIT_COLOUR, font=font)
    return image


def axis(values: Sequence[float]) -> Callable[[float], float]:
    """A logarithmic axis over these values, to 0..1."""
    low, high = log10(min(values)), log10(max(values))
    low, high = min(low, floor(10 * low) / 10), max(high, ceil(10 * high) / 10)
    return lambda value: (log10(value) - low) / (high - low or 1.0)
