"""The capital letters, as strokes of a broad pen: our own, so that no font is needed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import cos, radians, sin
from typing import Final

from torch import Tensor

from fromnoise.world import sdf
from fromnoise.world.paint import Brush

DEGREES: Final = 18  # of a bow that one straight piece stands for


@dataclass(frozen=True, slots=True)
class Bow:
    """A part of an ellipse round (x, y).  Units: degrees from the right, counter-clockwise if they rise"""

    x: float
    y: float
    across: float
    up: float
    begins: float
    ends: float

    def points(self) -> list[tuple[float, float]]:
        """Along it, both ends among them."""
        count = max(1, round(abs(self.ends - self.begins) / DEGREES))
        turns = (radians(self.begins + (self.ends - self.begins) * k / count) for k in range(count + 1))
        return [(self.x + self.across * cos(turn), self.y + self.up * sin(turn)) for turn in turns]


Stroke = tuple[tuple[float, float] | Bow, ...]

_P: Final[Stroke] = ((-1, -1), (-1, 1), (0.3, 1), Bow(0.3, 0.45, 0.7, 0.55, 90, -90), (-1, -0.1))
_RING: Final[Stroke] = (Bow(0, 0, 1, 1, 0, 360),)

# The pen's middle, in a square from -1 to 1.
STROKES: Final[Mapping[str, tuple[Stroke, ...]]] = {
    "a": (((-1, -1), (0, 1), (1, -1)), ((-0.62, -0.3), (0.62, -0.3))),
    "b": (
        ((-1, -1), (-1, 1), (0.25, 1), Bow(0.25, 0.52, 0.6, 0.48, 90, -90), (-1, 0.04)),
        ((0.25, 0.04), Bow(0.3, -0.48, 0.7, 0.52, 90, -90), (-1, -1)),
    ),
    "c": ((Bow(0.15, 0, 1.15, 1, 42, 318),),),
    "d": (((-1, -1), (-1, 1), (-0.2, 1), Bow(-0.2, 0, 1.2, 1, 90, -90), (-1, -1)),),
    "e": (((1, 1), (-1, 1), (-1, -1), (1, -1)), ((-1, 0.03), (0.7, 0.03))),
    "f": (((1, 1), (-1, 1), (-1, -1)), ((-1, 0.03), (0.7, 0.03))),
    "g": ((Bow(0.12, 0, 1.12, 1, 45, 322), (1, -0.08), (0.2, -0.08)),),
    "h": (((-1, -1), (-1, 1)), ((1, -1), (1, 1)), ((-1, 0), (1, 0))),
    "i": (((-1, 1), (1, 1)), ((0, 1), (0, -1)), ((-1, -1), (1, -1))),
    "j": (((0.1, 1), (1, 1), (1, -0.3), Bow(0, -0.3, 1, 0.7, 0, -168)),),
    "k": (((-1, -1), (-1, 1)), ((1, 1), (-1, -0.15)), ((-0.3, 0.25), (1, -1))),
    "l": (((-1, 1), (-1, -1), (1, -1)),),
    "m": (((-1, -1), (-1, 1), (0, -0.3), (1, 1), (1, -1)),),
    "n": (((-1, -1), (-1, 1), (1, -1), (1, 1)),),
    "o": (_RING,),
    "p": (_P,),
    "q": (_RING, ((0.25, -0.4), (1, -1))),
    "r": (_P, ((0.05, -0.1), (1, -1))),
    "s": ((Bow(0, 0.51, 0.94, 0.49, 25, 270), Bow(0, -0.49, 1, 0.51, 90, -155)),),
    "t": (((-1, 1), (1, 1)), ((0, 1), (0, -1))),
    "u": (((-1, 1), (-1, -0.2), Bow(0, -0.2, 1, 0.8, 180, 360), (1, 1)),),
    "v": (((-1, 1), (0, -1), (1, 1)),),
    "w": (((-1, 1), (-0.52, -1), (0, 0.45), (0.52, -1), (1, 1)),),
    "x": (((-1, 1), (1, -1)), ((-1, -1), (1, 1))),
    "y": (((-1, 1), (0, 0), (1, 1)), ((0, 0), (0, -1))),
    "z": (((-1, 1), (1, 1), (-1, -1), (1, -1)),),
}


def draw(letter: str, aspect: float, b: Brush) -> None:
    """A letter: plain, with a dark rim, or broad with a pale line along its middle."""
    pen = b.by_variant(0.19, 0.2, 0.24) + 0.02 * b.jitter[0]
    shape = _written(letter, b, pen, aspect - pen, 0.98 - pen)
    rim = b.by_variant(0, 0.06, 0)
    b.fill(shape, dark=0.35, shade=0)
    b.fill(shape + rim, bevel=0.2, shade=0.22)
    b.fill(shape + 0.75 * pen, b.accent(0.7), shade=0, opacity=b.by_variant(0, 0, 0.9))


def _written(letter: str, b: Brush, pen: Tensor, wide: Tensor, high: Tensor) -> Tensor:
    pieces = (piece for stroke in STROKES[letter] for piece in pairwise(_along(stroke)))
    lines = (((x * wide, y * high), (to_x * wide, to_y * high)) for (x, y), (to_x, to_y) in pieces)
    return sdf.union(*(sdf.segment(b.u, b.v, start, end, pen) for start, end in lines))


def _along(stroke: Stroke) -> Iterator[tuple[float, float]]:
    for part in stroke:
        yield from part.points() if isinstance(part, Bow) else (part,)
