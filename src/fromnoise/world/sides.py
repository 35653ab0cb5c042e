"""How two things in a picture appear to stand to each other, by the boxes of what is seen of them."""

from math import hypot
from typing import Final

from fromnoise.world.geometry import Box, apart

# Source: GenEval's rules for position, Ghosh et al. 2023 (arXiv:2310.11513)
SIZE_MARGIN: Final = 0.1  # of both things' sides, taken off the distance of their centres
DIRECTION: Final = 0.5  # the least part of the distance that must lie along the axis
ON_TOP: Final = (-0.28, 0.4)  # how far feet may stand below the top of what carries them, in its heights
OFF_CENTRE: Final = 0.5  # how far a carried thing may be from the middle of the one below, in its widths
WITHIN: Final = 0.01  # of the frame: the least rim that shows round what is inside a thing
NEAR: Final = 0.04  # of the frame: what is hidden or a label wide shifts the edges of a box by so much


def stands(word: str, a: Box, b: Box) -> bool:
    """Does thing `a` appear to be `word` of thing `b`, by their boxes?"""
    match word:
        case "on top of":
            sunk = (a.bottom - b.top) / (b.bottom - b.top)
            off = abs(a.left + a.right - b.left - b.right) / 2 / (b.right - b.left)
            return ON_TOP[0] <= sunk <= ON_TOP[1] and off <= OFF_CENTRE
        case "in front of":
            return a.bottom > b.bottom - NEAR and not apart(a, b, NEAR)
        case "behind":
            return stands("in front of", b, a)
        case "inside":
            gaps = (a.left - b.left, a.top - b.top, b.right - a.right, b.bottom - a.bottom)
            return min(gaps) >= WITHIN
        case "beside":
            return stands("left of", a, b) or stands("right of", a, b)
        case _:
            return word in directions(a, b)


def directions(a: Box, b: Box) -> set[str]:
    """On which sides of `b` thing `a` clearly is."""
    dx, dy = (a.left + a.right - b.left - b.right) / 2, (a.top + a.bottom - b.top - b.bottom) / 2
    wide, high = (a.right - a.left) + (b.right - b.left), (a.bottom - a.top) + (b.bottom - b.top)
    distance = hypot(dx, dy)
    found: set[str] = set()
    for offset, sides, words in ((dx, wide, ("left of", "right of")), (dy, high, ("above", "below"))):
        if abs(offset) - SIZE_MARGIN * sides > DIRECTION * distance:
            found.add(words[offset > 0])
    return found
