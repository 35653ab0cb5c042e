"""Does a picture show what a text says? From maps of what stands where to things seen, and to a verdict.

No network in here: the maps are the renderer's own, or an oracle's. Texture and size are not checked.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot
from typing import Final, Literal, NamedTuple, cast

import torch
from torch import Tensor

from fromnoise.errors import RequestError
from fromnoise.world.geometry import Box, apart
from fromnoise.world.pieces import pieces_of, things_of
from fromnoise.world.reading import Atoms, Naming
from fromnoise.world.scene import Relation
from fromnoise.world.vocabulary import COLOURS, THINGS, TIMELESS

# Source: GenEval's rules for position, Ghosh et al. 2023 (arXiv:2310.11513)
SIZE_MARGIN: Final = 0.1  # of both things' sides, taken off the distance of their centres
DIRECTION: Final = 0.5  # the least part of the distance that must lie along the axis
ON_TOP: Final = (-0.28, 0.4)  # how far feet may stand below the top of what carries them, in its heights
OFF_CENTRE: Final = 0.5  # how far a carried thing may be from the middle of the one below, in its widths
WITHIN: Final = 0.01  # of the frame: the least rim that shows round what is inside a thing
NEAR: Final = 0.04  # of the frame: what is hidden or a label wide shifts the edges of a box by so much

PARTS: Final = ("object", "count", "colour", "relation", "setting", "time", "weather", "style")
Sort = Literal[
    "missing",
    "too few",
    "too many",
    "wrong colour",
    "swapped colour",
    "wrong side",
    "wrong setting",
    "wrong time",
    "wrong weather",
    "wrong style",
]


@dataclass(frozen=True, slots=True)
class Found:
    """A thing seen in a picture.

    Units: box in parts of the frame, area in parts of its pixels; colour "" where no pixel had one
    """

    kind: str
    colour: str
    box: Box
    area: float

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box."""
        return (self.box.left + self.box.right) / 2, (self.box.top + self.box.bottom) / 2


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in a picture; the largest thing first."""

    things: tuple[Found, ...]
    setting: str
    time: str
    weather: str = ""  # "" where the oracle does not tell
    style: str | None = None  # None where it does not; "" is the usual look


class Fault(NamedTuple):
    """One way in which a picture is not as said."""

    sort: Sort
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which parts of a text a picture shows; None for a part of which the text says nothing."""

    object: bool | None  # each named kind is there
    count: bool | None  # ... and exactly as often as said
    colour: bool | None
    relation: bool | None
    setting: bool | None
    time: bool | None
    weather: bool | None = None
    style: bool | None = None
    faults: tuple[Fault, ...] = ()

    def asked(self) -> dict[str, bool]:
        """The parts of which the text says something, and whether each is right."""
        return {
            part: right for part in PARTS if (right := cast(bool | None, getattr(self, part))) is not None
        }

    @property
    def right(self) -> bool:
        """Is everything as said?"""
        return all(self.asked().values())


# --- seeing ---


def sightings(
    kinds: Tensor,
    colours: Tensor,
    setting: str,
    time: str,
    weather: str = "",
    style: str | None = None,
) -> Seen:
    """Gather the pixels of two label maps into things.

    Shapes: kinds, colours (H, W), of integers, at any resolution
    Units:  0 for nothing, else 1 + index in THINGS and in COLOURS
    Raises: RequestError if the maps differ in shape, or hold a number that stands for no word
    """
    _check_maps(kinds, colours)
    number, height, width = colours.flatten(), *kinds.shape
    found: list[Found] = []
    for thing in things_of(pieces_of(kinds)):
        votes = torch.bincount(number[thing.pixels].long(), minlength=len(COLOURS) + 1)[1:]
        colour = COLOURS[int(votes.argmax())] if votes.any() else ""
        box, area = thing.box, len(thing.pixels) / (height * width)
        found.append(Found(tuple(THINGS)[thing.kind - 1], colour, box, area))
    return Seen(tuple(sorted(found, key=lambda thing: -thing.area)), setting, time, weather, style)


def _check_maps(kinds: Tensor, colours: Tensor) -> None:
    if kinds.ndim != 2 or kinds.shape != colours.shape or not kinds.numel():
        shapes = f"{tuple(kinds.shape)} and {tuple(colours.shape)}"
        raise RequestError(f"maps of kinds and colours must be of one shape (H, W), not {shapes}")
    for name, numbers, words in (("kinds", kinds, THINGS), ("colours", colours, COLOURS)):
        least, most = int(numbers.min()), int(numbers.max())
        if least < 0 or most > len(words):
            raise RequestError({name: f"{least}..{most} are not all in 0..{len(words)}"})


# --- judging ---


def judge(atoms: Atoms, seen: Seen) -> Verdict:
    """Compare what a text says with what was seen. What it does not name may be there or not."""
    colours = any(naming.colour for naming in atoms.things)
    counts, tints = list(_count_faults(atoms, seen)), list(_colour_faults(atoms, seen))
    missing = [fault for fault in counts if fault.sort == "missing"]
    sides = [fault for relation in atoms.relations for fault in _side_faults(relation, atoms, seen)]
    look = (_place_fault(atoms, seen), _time_fault(atoms, seen), *_look_faults(atoms, seen))
    places = [fault for fault in look if fault]
    sorts = {fault.sort for fault in places}
    uncoloured = any(n.colour and not _matches(n, atoms, seen) for n in atoms.things)
    unrelated = any(not _ends(relation, atoms, seen) for relation in atoms.relations)
    return Verdict(
        object=not missing if atoms.things else None,
        count=not counts if atoms.things else None,
        colour=not tints and not uncoloured if colours else None,
        relation=not sides and not unrelated if atoms.relations else None,
        setting="wrong setting" not in sorts if atoms.setting else None,
        time="wrong time" not in sorts if atoms.time and atoms.setting not in TIMELESS else None,
        weather="wrong weather" not in sorts if atoms.weather and seen.weather else None,
        style="wrong style" not in sorts if atoms.style and seen.style is not None else None,
        faults=(*counts, *tints, *sides, *places),
    )


def _matches(naming: Naming, atoms: Atoms, seen: Seen) -> list[Found]:
    """The things that a naming means: the largest of its kind; where two mean one kind, by colour."""
    found = [thing for thing in seen.things if thing.kind == naming.kind]
    if sum(other.kind == naming.kind for other in atoms.things) > 1:
        found = sorted(found, key=lambda thing: thing.colour != naming.colour)
    return found[: naming.count]


def _count_faults(atoms: Atoms, seen: Seen) -> Iterator[Fault]:
    wanted: Counter[str] = Counter()
    for naming in atoms.things:
        wanted[naming.kind] += naming.count
    for kind, count in wanted.items():
        found = sum(thing.kind == kind for thing in seen.things)
        if found != count:
            sort = "missing" if not found else "too few" if found < count else "too many"
            yield Fault(sort, f"{found} {kind}, not {count}")


def _colour_faults(atoms: Atoms, seen: Seen) -> Iterator[Fault]:
    for naming in atoms.things:
        others = {other.colour for other in atoms.things if other is not naming}
        for thing in _matches(naming, atoms, seen):
            if naming.colour not in ("", thing.colour):
                sort = "swapped colour" if thing.colour and thing.colour in others else "wrong colour"
                yield Fault(sort, f"{thing.kind} is {thing.colour or 'colourless'}, not {naming.colour}")


def _place_fault(atoms: Atoms, seen: Seen) -> Fault | None:
    if atoms.setting in ("", seen.setting):
        return None
    return Fault("wrong setting", f"{seen.setting}, not {atoms.setting}")


def _time_fault(atoms: Atoms, seen: Seen) -> Fault | None:
    if atoms.time in ("", seen.time) or atoms.setting in TIMELESS:
        return None
    return Fault("wrong time", f"{seen.time}, not {atoms.time}")


def _look_faults(atoms: Atoms, seen: Seen) -> Iterator[Fault]:
    """Of weather and style, where an oracle tells them."""
    if atoms.weather and seen.weather not in ("", atoms.weather):
        yield Fault("wrong weather", f"{seen.weather}, not {atoms.weather}")
    if atoms.style and seen.style not in (None, atoms.style):
        yield Fault("wrong style", f"{seen.style or 'the usual look'}, not {atoms.style}")


def _ends(relation: Relation, atoms: Atoms, seen: Seen) -> tuple[Found, Found] | None:
    a, b = (_matches(atoms.things[i], atoms, seen) for i in (relation.subject, relation.object))
    return (a[0], b[0]) if a and b else None


def _side_faults(relation: Relation, atoms: Atoms, seen: Seen) -> Iterator[Fault]:
    ends = _ends(relation, atoms, seen)
    if ends and not stands(relation.word, ends[0].box, ends[1].box):
        yield Fault("wrong side", f"{ends[0].kind} is not {relation.word} {ends[1].kind}")


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
