"""Which combinations of words training never sees, so that drawing them shows composition, not memory.

H1 colour x thing · H2 relation x two things · H3 count x thing · H4 setting x thing · H6 caption templates
"""

from collections.abc import Iterable
from functools import cache
from itertools import product
from math import floor
from typing import Final
from zlib import crc32

from fromnoise.errors import RequestError, did_you_mean
from fromnoise.world.scene import Scene
from fromnoise.world.vocabulary import COLOURS, COUNTS, SETTINGS, THINGS

Pair = tuple[str, str]

SPLITS: Final = ("H1", "H2", "H3", "H4")  # of scenes; H6 is of captions, see `held_out_templates`
ONE_IN: Final = {"H1": 10, "H2": 10, "H3": 10, "H4": 20, "H6": 7}
MOST_LOST: Final = 0.15  # of its partners along one split; one is always allowed
COUNTED: Final = COUNTS[1:4]  # the counts that scenes have

# Where a thing is at home: settings it is drawn in more often and is never withheld from.
HOMES: Final[dict[str, tuple[str, ...]]] = {
    "whale": ("sea",),
    "boat": ("sea", "beach", "island"),
    "fish": ("sea",),
    "lighthouse": ("island", "beach", "sea"),
    "cactus": ("desert",),
    "tree": ("meadow", "forest", "island"),
    "flower": ("meadow",),
    "mushroom": ("forest",),
    "rocket": ("space",),
    "star": ("space",),
    "moon": ("space",),
    "sun": ("beach", "meadow"),
    "mountain": ("snow", "meadow"),
    "house": ("meadow", "snow"),
    "castle": ("meadow",),
    "umbrella": ("beach",),
    "heart": ("paper",),
}
# Combinations the documentation shows off as never seen.
SHOWPIECES: Final[dict[str, tuple[Pair, ...]]] = {"H4": (("desert", "whale"),)}


def withheld(scene: Scene) -> set[str]:
    """The splits that keep this scene out of training; empty for a scene that training may show."""
    found: set[str] = set()
    lost_colours, lost_settings = withheld_pairs("H1"), withheld_pairs("H4")
    for thing in scene.things:
        if (thing.colour, thing.kind) in lost_colours:
            found.add("H1")
        if (scene.setting, thing.kind) in lost_settings:
            found.add("H4")
    for relation in scene.relations:
        if relation_is_withheld(
            relation.word, scene.things[relation.subject].kind, scene.things[relation.object].kind
        ):
            found.add("H2")
    if len(scene.things) > 1:
        kinds = [thing.kind for thing in scene.things]
        lost_counts = withheld_pairs("H3")
        if any((COUNTS[kinds.count(kind) - 1], kind) in lost_counts for kind in kinds):
            found.add("H3")
    return found


@cache
def withheld_pairs(split: str) -> frozenset[Pair]:
    """The withheld (word, thing) pairs of H1, H3 or H4.  Raises: RequestError for any other split"""
    match split:
        case "H1":
            pairs = [(c, k) for c, k in product(COLOURS, THINGS) if c not in THINGS[k].usual]
        case "H3":
            pairs = list(product(COUNTED, THINGS))
        case "H4":
            pairs = [(s, k) for s, k in product(SETTINGS, THINGS) if s not in HOMES.get(k, ())]
        case _:
            raise RequestError(f"split {split!r} has no list of pairs", hint="choose from H1, H3, H4")
    partners = {word: len(THINGS) for word in (*COLOURS, *SETTINGS, *COUNTED)}
    partners |= dict.fromkeys(THINGS, {"H1": len(COLOURS), "H3": len(COUNTED), "H4": len(SETTINGS)}[split])
    drawn = sorted((pair for pair in pairs if _drawn(split, *pair)), key=lambda pair: _hash(split, *pair))
    return frozenset(_spare((*SHOWPIECES.get(split, ()), *drawn), partners))


def _spare(pairs: Iterable[Pair], partners: dict[str, int]) -> set[Pair]:
    """Drop the pairs that would cost one of their words too many partners."""
    lost = dict.fromkeys(partners, 0)
    kept: set[Pair] = set()
    for pair in pairs:
        if pair not in kept and all(lost[word] < max(1, floor(MOST_LOST * partners[word])) for word in pair):
            kept.add(pair)
            for word in pair:
                lost[word] += 1
    return kept


@cache
def relation_is_withheld(word: str, subject: str, other: str) -> bool:
    """H2. "A left of B" and "B right of A" are one fact, and so are above and below."""
    if word in ("right of", "below"):
        word, subject, other = {"right of": "left of", "below": "above"}[word], other, subject
    return _drawn("H2", word, subject, other)


@cache
def held_out_templates(templates: tuple[str, ...]) -> frozenset[str]:
    """H6: those of these caption templates that are kept for testing, one in seven but never none."""
    few = max(1, round(len(templates) / ONE_IN["H6"]))
    return frozenset(sorted(templates, key=lambda template: _hash("H6", template))[:few])


def check_split(split: str) -> None:
    """Raises: RequestError unless it is a split of scenes."""
    if split not in SPLITS:
        raise RequestError(f"no split of scenes is called {split!r}", hint=did_you_mean(split, SPLITS))


def publish() -> dict[str, list[str]]:
    """Every withheld combination in words, by split; H2 counts facts, not phrasings."""
    found = {split: sorted(" ".join(pair) for pair in withheld_pairs(split)) for split in ("H1", "H3", "H4")}
    found["H2"] = sorted(
        f"{a} {word} {b}"
        for word, a, b in product(("left of", "above", "on top of", "in front of"), THINGS, THINGS)
        if a != b and relation_is_withheld(word, a, b)
    )
    return found


def _hash(split: str, *words: str) -> int:
    return crc32(" ".join((split, *words)).encode())


def _drawn(split: str, *words: str) -> bool:
    return _hash(split, *words) % ONE_IN[split] == 0
