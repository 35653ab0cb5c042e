"""The shape of what is so: the extent of things, and when a relation between two of them clearly holds.

Units: everything in parts of the frame, 0..1, y downwards
"""

from itertools import pairwise
from typing import Final, NamedTuple

from fromnoise.world.scene import Thing
from fromnoise.world.vocabulary import THINGS
from fromnoise.world.worlds import World

MARGIN: Final = 0.03  # between an outline and the frame
GAP: Final = 0.02  # between two outlines
MIN_SIDE: Final = 0.12  # two latents of an f8 autoencoder at 128 px: less cannot be drawn
TALLEST: Final = 0.78
WIDEST: Final = 0.8
CLEAR: Final = 1.3  # a direction is clear when its axis is this much longer than the other
WITHIN: Final = 0.09  # how much rim shows round what is inside a thing, in the height of that thing
HIDES: Final = (0.04, 0.35)  # how much of its box a thing behind loses, at least and at most
SINKS: Final = (0.0, 0.1)  # how far feet stand below the top of the box that carries them, in its heights
OFF_CENTRE: Final = 0.3  # how far a carried thing may be from the middle of the one below, in its widths


class Box(NamedTuple):
    """An outline's extent."""

    left: float
    top: float
    right: float
    bottom: float


def box_at(kind: str, x: float, y: float, size: float) -> Box:
    """The extent of a kind's outline."""
    half = size * THINGS[kind].aspect / 2
    return Box(x - half, y - size / 2, x + half, y + size / 2)


def box_of(thing: Thing) -> Box:
    """The extent of a thing's outline."""
    return box_at(thing.kind, thing.x, thing.y, thing.size)


def largest(kind: str) -> float:
    """The greatest height a thing may have: the measure of "small" and "big"."""
    return min(TALLEST, WIDEST / THINGS[kind].aspect)


def smallest(kind: str) -> float:
    """The height below which a side of a thing gets too short to be drawn."""
    return MIN_SIDE / min(1.0, THINGS[kind].aspect)


def size_at(kind: str, part: float, world: World) -> float:
    """The height of a thing that measures so much of what it may, in the terms of `World.sizes`."""
    least = smallest(kind) if world.sizes_from_smallest else 0.0
    return max(smallest(kind), least + part * (largest(kind) - least))


def size_seen(kind: str, box: Box, world: World) -> str:
    """The word for the size of a thing of which this is seen: that of the nearest range, "" for none."""
    height = max(box.bottom - box.top, (box.right - box.left) / THINGS[kind].aspect)
    for word, next_word in pairwise(world.sizes):
        ends = world.sizes[word][1], world.sizes[next_word][0]
        if height <= sum(size_at(kind, end, world) for end in ends) / 2:
            return word
    return tuple(world.sizes)[-1]


def apart(a: Box, b: Box, gap: float = GAP) -> bool:
    """Do two boxes stay clear of each other?"""
    return (
        a.right + gap <= b.left
        or b.right + gap <= a.left
        or a.bottom + gap <= b.top
        or b.bottom + gap <= a.top
    )


def hidden_part(behind: Box, front: Box) -> float:
    """How much of `behind` lies under `front`, 0..1, by their boxes."""
    w = min(behind.right, front.right) - max(behind.left, front.left)
    h = min(behind.bottom, front.bottom) - max(behind.top, front.top)
    area = (behind.right - behind.left) * (behind.bottom - behind.top)
    return max(0.0, w) * max(0.0, h) / area


def holds(word: str, a: Box, b: Box) -> bool:
    """Is `a` clearly `word` of `b`?  (For "in front of": is it nearer, and does it hide a part of `b`?)"""
    dx, dy = (b.left + b.right - a.left - a.right) / 2, (b.top + b.bottom - a.top - a.bottom) / 2
    match word:
        case "left of":
            return dx >= CLEAR * abs(dy) and a.right + GAP <= b.left
        case "above":
            return dy >= CLEAR * abs(dx) and a.bottom + GAP <= b.top
        case "right of":
            return holds("left of", b, a)
        case "below":
            return holds("above", b, a)
        case "behind":
            return holds("in front of", b, a) and not holds("on top of", a, b)
        case "inside":
            rim = WITHIN * (b.bottom - b.top)
            gaps = (a.left - b.left, a.top - b.top, b.right - a.right, b.bottom - a.bottom)
            return min(gaps) >= rim - 1e-9
        case "on top of":
            sunk = (a.bottom - b.top) / (b.bottom - b.top)
            return SINKS[0] <= sunk <= SINKS[1] and abs(dx) <= OFF_CENTRE * (b.right - b.left)
        case _:
            return a.bottom > b.bottom + GAP and HIDES[0] <= hidden_part(b, a) <= HIDES[1]


def inside(box: Box) -> bool:
    """Is the whole outline in the frame, margin and all?"""
    least, most = MARGIN - 1e-9, 1 - MARGIN + 1e-9
    return box.left >= least and box.top >= least and box.right <= most and box.bottom <= most
