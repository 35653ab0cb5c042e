"""Does a picture show what a text says? From what was seen in it to a verdict."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, cast

from fromnoise.world.geometry import size_seen
from fromnoise.world.reading import Atoms, Naming
from fromnoise.world.scene import Relation
from fromnoise.world.seeing import Found, Seen
from fromnoise.world.sides import stands
from fromnoise.world.vocabulary import TIMELESS
from fromnoise.world.worlds import SMALL, World

PARTS: Final = (
    "object",
    "count",
    "colour",
    "pattern",
    "size",
    "relation",
    "setting",
    "time",
    "weather",
    "style",
)
Sort = Literal[
    "missing",
    "too few",
    "too many",
    "wrong colour",
    "swapped colour",
    "wrong pattern",
    "wrong size",
    "wrong side",
    "wrong setting",
    "wrong time",
    "wrong weather",
    "wrong style",
]


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
    pattern: bool | None = None
    size: bool | None = None
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


def judge(atoms: Atoms, seen: Seen, world: World = SMALL) -> Verdict:
    """Compare what a text says with what was seen. What it does not name may be there or not.

    `world`: whose sizes "small" and "big" are
    """
    counts, tints = list(_count_faults(atoms, seen)), list(_colour_faults(atoms, seen))
    missing = [fault for fault in counts if fault.sort == "missing"]
    sides = [fault for relation in atoms.relations for fault in _side_faults(relation, atoms, seen)]
    look = (_place_fault(atoms, seen), _time_fault(atoms, seen), *_look_faults(atoms, seen))
    places = [fault for fault in look if fault]
    sorts = {fault.sort for fault in places}
    patterns = list(_pattern_faults(atoms, seen)) if seen.textured else []
    sizes = list(_size_faults(atoms, seen, world))
    unrelated = any(not _ends(relation, atoms, seen) for relation in atoms.relations)
    return Verdict(
        object=not missing if atoms.things else None,
        count=not counts if atoms.things else None,
        colour=_all_are("colour", tints, atoms, seen),
        pattern=_all_are("texture", patterns, atoms, seen) if seen.textured else None,
        size=_all_are("size", sizes, atoms, seen),
        relation=not sides and not unrelated if atoms.relations else None,
        setting="wrong setting" not in sorts if atoms.setting else None,
        time="wrong time" not in sorts if atoms.time and atoms.setting not in TIMELESS else None,
        weather="wrong weather" not in sorts if atoms.weather and seen.weather else None,
        style="wrong style" not in sorts if atoms.style and seen.style is not None else None,
        faults=(*counts, *tints, *patterns, *sizes, *sides, *places),
    )


def _all_are(part: str, faults: Collection[Fault], atoms: Atoms, seen: Seen) -> bool | None:
    """Is every thing there of which this is said, and as said?  None where it is said of nothing."""
    said = [naming for naming in atoms.things if getattr(naming, part)]
    return not faults and all(_matches(naming, atoms, seen) for naming in said) if said else None


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


def _pattern_faults(atoms: Atoms, seen: Seen) -> Iterator[Fault]:
    for naming in atoms.things:
        for thing in _matches(naming, atoms, seen):
            if naming.texture not in ("", thing.texture):
                yield Fault("wrong pattern", f"{thing.kind} is {thing.texture}, not {naming.texture}")


def _size_faults(atoms: Atoms, seen: Seen, world: World) -> Iterator[Fault]:
    for naming in atoms.things:
        for thing in _matches(naming, atoms, seen):
            size = size_seen(thing.kind, thing.box, world)
            if naming.size not in ("", size):
                yield Fault("wrong size", f"{thing.kind} is {size or 'of usual size'}, not {naming.size}")


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
