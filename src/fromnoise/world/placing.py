"""Where things go in the frame by chance, so that what a scene says of them holds.

Units: everything in parts of the frame, 0..1, y downwards
"""

from collections.abc import Sequence
from random import Random
from typing import Final, Literal, NamedTuple

from fromnoise.world.geometry import GAP, MARGIN, Box, apart, box_at, holds, inside, smallest
from fromnoise.world.layout import layout
from fromnoise.world.splits import MIRRORED
from fromnoise.world.vocabulary import THINGS

Level = Literal["sky", "ground", "free"]

FOOT: Final = 0.03  # from a standing thing's middle to the end of the ground
ROW_SWAY: Final = 0.012  # how far things in a row stray from their line
ROW_TALLEST: Final = {2: 0.40, 3: 0.34, 4: 0.30, 5: 0.28}  # one row, by how many there are
TWO_ROWS_TALLEST: Final = 0.24
TRIES: Final = 12
FLOATING: Final = ("space", "paper")  # settings without a ground
# Things with a top broad enough to stand on.
CARRIERS: Final = (
    *("box", "house", "car", "boat", "whale", "mushroom", "castle", "mountain", "robot", "ball"),
    *("hill", "snail", "cake"),
)
CONTAINERS: Final = {"ring": 0.44, "box": 0.42, "heart": 0.37}  # the room in it, of its height
MIDDLES: Final = {"box": (-0.11, 0.10), "heart": (0.0, -0.09)}  # of that room, in its width and height


class Spot(NamedTuple):
    """The place of one thing: the centre and the height of its outline."""

    x: float
    y: float
    size: float


def level_of(rng: Random, kind: str, setting: str) -> Level:
    """Does this thing fly, stand, or float freely?"""
    if setting in FLOATING:
        return "free"
    place = THINGS[kind].place
    if place == "any":
        return "sky" if rng.random() < 0.5 else "ground"
    return place


def place_one(rng: Random, kind: str, setting: str, size: float) -> Spot:
    """One thing, roughly in the middle."""
    half = size * THINGS[kind].aspect / 2
    x = 0.5 + rng.uniform(-1, 1) * min(0.5 - MARGIN - half, 0.14)
    return Spot(x, height_at(rng, level_of(rng, kind, setting), setting, size), size)


def height_at(rng: Random, level: Level, setting: str, size: float) -> float:
    """The y of a thing's centre at its level."""
    if level == "ground":
        bottom = layout(setting).ground + rng.uniform(-0.01, 0.08)
        return min(max(bottom, MARGIN + size), 1 - MARGIN) - size / 2
    top = MARGIN + size / 2
    if level == "sky":
        return rng.uniform(top, max(top, 0.40))
    return 0.5 + rng.uniform(-1, 1) * min(0.5 - top, 0.14)


def place_row(rng: Random, kind: str, setting: str, count: int) -> list[Spot]:
    """Several things of one kind: in a row, or in two when one row would make them small."""
    aspect, level = THINGS[kind].aspect, level_of(rng, kind, setting)
    narrow = level == "ground" and layout(setting).left > 0
    rows, room = [count], _row_height(aspect, setting, count, level)
    two_fit = count >= 4 and not narrow and smallest(kind) <= 0.8 * TWO_ROWS_TALLEST
    if room < max(smallest(kind), 0.13 if narrow else 0.18) or (two_fit and rng.random() < 0.5):
        rows = [count // 2, count - count // 2]
        room = _row_height(aspect, setting, max(rows), level)
    tallest = min(ROW_TALLEST[count] if len(rows) == 1 else TWO_ROWS_TALLEST, room)
    size = rng.uniform(max(smallest(kind), 0.75 * tallest), tallest)
    y = height_at(rng, level, setting, size)
    step = size + GAP + 2 * ROW_SWAY + rng.uniform(0.0, 0.03)
    if len(rows) == 2:
        bottom = {"ground": 1 - MARGIN - ROW_SWAY, "sky": 0.62, "free": 0.54 + step / 2 + size / 2}[level]
        y = bottom - size / 2 - step
    spots: list[Spot] = []
    for row, n in enumerate(rows):
        spots += _row(rng, n, kind, size, y + row * step, setting, level)
    return spots


def _row_height(aspect: float, setting: str, n: int, level: Level) -> float:
    """The greatest height at which n things stand side by side; their middles stay on the ground."""
    gaps, lines = GAP * (n - 1), layout(setting)
    width = (1 - 2 * MARGIN - gaps) / n
    if level == "ground":
        width = min(width, (lines.right - lines.left - 2 * FOOT - gaps) / (n - 1)) if n > 1 else width
    return width / aspect


def _row(rng: Random, n: int, kind: str, size: float, y: float, setting: str, level: Level) -> list[Spot]:
    width = size * THINGS[kind].aspect
    low, high = _reach(setting, width / 2, level)
    spare = high - low - (n - 1) * (width + GAP)
    stride = width + GAP + min(spare / n, 0.10) * rng.random()
    high -= (n - 1) * stride
    left = 0.4 * rng.uniform(low, high) + 0.3 * (low + high)  # rather in the middle
    top = MARGIN + size / 2
    heights = [min(max(y + rng.uniform(-ROW_SWAY, ROW_SWAY), top), 1 - top) for _ in range(n)]
    return [Spot(left + k * stride, height, size) for k, height in enumerate(heights)]


def possible(word: str, a: str, b: str, setting: str) -> bool:
    """Can a kind be `word` of another here: does it fly high enough, stand, or carry?"""
    floating = setting in FLOATING
    match word:
        case "above":
            return floating or THINGS[a].place != "ground"
        case "below":
            return floating or THINGS[b].place != "ground"
        case "on top of":
            return b in CARRIERS and THINGS[a].place != "sky"
        case "behind":
            return possible("in front of", b, a, setting)
        case "inside":
            return b in CONTAINERS and a not in CONTAINERS and THINGS[a].aspect < 1.5
        case "in front of":
            return floating or THINGS[a].place != "sky"
        case _:
            return True


def place_pair(rng: Random, word: str, a: str, b: str, setting: str) -> tuple[Spot, Spot] | None:
    """Two things of which `word` (or "": no relation) holds; None where chance found no such place."""
    if word in MIRRORED:
        swapped = place_pair(rng, MIRRORED[word], b, a, setting)
        return swapped and (swapped[1], swapped[0])
    propose = {"above": _stacked, "on top of": _carried, "in front of": _nearer, "inside": _contained}.get(
        word, _side_by_side
    )
    for _ in range(TRIES):
        one, two = propose(rng, a, b, setting)
        box, other = box_at(a, *one), box_at(b, *two)
        if inside(box) and inside(other) and (holds(word, box, other) if word else apart(box, other)):
            return one, two
    return None


def place_beside(rng: Random, kind: str, setting: str, others: Sequence[Box]) -> Spot | None:
    """A further thing, clear of the others; None where there is no room."""
    size = max(smallest(kind), rng.uniform(0.2, 0.3))
    half = size * THINGS[kind].aspect / 2
    for _ in range(TRIES):
        level = level_of(rng, kind, setting)
        x = rng.uniform(*_reach(setting, half, level))
        spot = Spot(x, height_at(rng, level, setting, size), size)
        box = box_at(kind, *spot)
        if all(apart(box, other) for other in others):
            return spot
    return None


def _reach(setting: str, half: float, level: Level) -> tuple[float, float]:
    """The least and greatest x for the middle of a thing that is 2 * half wide."""
    left, right = MARGIN + half, 1 - MARGIN - half
    if level != "ground":
        return left, right
    lines = layout(setting)
    return max(left, lines.left + FOOT), min(right, lines.right - FOOT)


def _size(rng: Random, kind: str, low: float, high: float, widest: float) -> float:
    size = min(rng.uniform(low, high), widest / THINGS[kind].aspect)
    return max(size, smallest(kind))


def _side_by_side(rng: Random, a: str, b: str, setting: str) -> tuple[Spot, Spot]:
    size_a, size_b = _size(rng, a, 0.26, 0.45, 0.43), _size(rng, b, 0.26, 0.45, 0.43)
    half_a, half_b = size_a * THINGS[a].aspect / 2, size_b * THINGS[b].aspect / 2
    level_a, level_b = level_of(rng, a, setting), level_of(rng, b, setting)
    low, high = _reach(setting, half_a, level_a)[0], _reach(setting, half_b, level_b)[1]
    slack = high - low - half_a - half_b - GAP
    x_a = low + slack * rng.uniform(0, 0.5)
    x_b = x_a + half_a + GAP + half_b + slack * rng.uniform(0, 0.5)
    return (
        Spot(x_a, height_at(rng, level_a, setting, size_a), size_a),
        Spot(x_b, height_at(rng, level_b, setting, size_b), size_b),
    )


def _stacked(rng: Random, a: str, b: str, setting: str) -> tuple[Spot, Spot]:
    size_a, size_b = _size(rng, a, 0.24, 0.38, 0.6), _size(rng, b, 0.26, 0.42, 0.6)
    level = level_of(rng, b, setting)
    bottom = height_at(rng, level, setting, size_b) + size_b / 2
    if level != "ground":
        bottom = max(bottom, min(MARGIN + size_a + GAP + size_b + rng.uniform(0.02, 0.08), 0.9))
    y = bottom - size_b / 2
    x = rng.uniform(0.32, 0.68)
    above = bottom - size_b - GAP - rng.uniform(0.0, 0.06) - size_a / 2
    return Spot(x + rng.uniform(-0.18, 0.18), above, size_a), Spot(x, y, size_b)


def _carried(rng: Random, a: str, b: str, setting: str) -> tuple[Spot, Spot]:
    size_a, size_b = _size(rng, a, 0.24, 0.38, 0.5), _size(rng, b, 0.3, 0.45, 0.7)
    low = Spot(rng.uniform(0.36, 0.64), height_at(rng, _low(setting), setting, size_b), size_b)
    if setting in FLOATING:
        low = low._replace(y=0.5 + size_a / 2 + rng.uniform(-0.05, 0.05))
    sunk = rng.uniform(0.02, 0.08) * size_b  # the feet overlap the top
    sway = rng.uniform(-0.2, 0.2) * size_b * THINGS[b].aspect
    return Spot(low.x + sway, low.y - size_b / 2 + sunk - size_a / 2, size_a), low


def _nearer(rng: Random, a: str, b: str, setting: str) -> tuple[Spot, Spot]:
    size_a, size_b = _size(rng, a, 0.24, 0.34, 0.5), _size(rng, b, 0.42, 0.6, 0.75)
    level = level_of(rng, b, setting)
    behind = Spot(rng.uniform(0.36, 0.64), height_at(rng, level, setting, size_b), size_b)
    if level == "sky":
        behind = behind._replace(y=rng.uniform(0.36, 0.5))
    bottom = behind.y + size_b / 2 + rng.uniform(0.04, 0.12)
    if level == "sky":
        bottom = height_at(rng, _low(setting), setting, size_a) + size_a / 2
    reach = (size_b * THINGS[b].aspect + size_a * THINGS[a].aspect) / 2
    low, high = _reach(setting, size_a * THINGS[a].aspect / 2, _low(setting))
    x = min(max(behind.x + rng.uniform(-0.8, 0.8) * reach, low), high)
    return Spot(x, bottom - size_a / 2, size_a), behind


def _contained(rng: Random, a: str, b: str, setting: str) -> tuple[Spot, Spot]:
    size_b = _size(rng, b, 0.64, 0.76, 0.8)
    outer = Spot(rng.uniform(0.42, 0.58), height_at(rng, level_of(rng, b, setting), setting, size_b), size_b)
    room = CONTAINERS[b] * rng.uniform(0.92, 1.0)
    right, down = MIDDLES.get(b, (0.0, 0.0))
    size_a = max(smallest(a), size_b * room / max(1.0, THINGS[a].aspect))
    return Spot(outer.x + right * size_b * THINGS[b].aspect, outer.y + down * size_b, size_a), outer


def _low(setting: str) -> Level:
    return "free" if setting in FLOATING else "ground"
