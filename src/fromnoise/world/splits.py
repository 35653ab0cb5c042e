"""Which combinations of words training never sees, so that drawing them shows composition, not memory.

H1 colour x thing · H2 relation x two things · H3 count x thing · H4 setting x thing · H5 style x thing ·
H6 caption templates. Each world has its own. A checksum of the words decides which combinations they hold.
"""

from collections.abc import Iterable
from functools import cache
from itertools import product
from math import floor
from typing import Final
from zlib import crc32

from fromnoise.errors import RequestError, did_you_mean
from fromnoise.world.scene import Scene
from fromnoise.world.vocabulary import COUNTS, THINGS
from fromnoise.world.worlds import SMALL, World, world_of

Pair = tuple[str, str]

SPLITS: Final = ("H1", "H2", "H3", "H4", "H5")  # of scenes; H6 is of captions, see `held_out_templates`
LISTED: Final = ("H1", "H3", "H4", "H5")  # splits of pairs of a word and a thing
ONE_IN: Final = {"H1": 10, "H2": 10, "H3": 10, "H4": 20, "H5": 10, "H6": 7}
MOST_LOST: Final = 0.15  # of its partners along one split; one is always allowed

# The same fact, said from the other side.
MIRRORED: Final = {"right of": "left of", "below": "above", "behind": "in front of"}
# Combinations the documentation shows off as never seen.
SHOWPIECES: Final[dict[str, tuple[Pair, ...]]] = {"H4": (("desert", "whale"),)}


def withheld(scene: Scene) -> set[str]:
    """The splits that keep this scene out of training; empty for a scene that training may show."""
    world = world_of(scene.world)
    lost = {split: withheld_pairs(split, world) for split in LISTED}
    kinds = [thing.kind for thing in scene.things]
    found: set[str] = set()
    for thing in scene.things:
        words = {"H1": thing.colour, "H4": scene.setting, "H5": scene.style}
        found |= {split for split, word in words.items() if (word, thing.kind) in lost[split]}
    for relation in scene.relations:
        if relation_is_withheld(relation.word, kinds[relation.subject], kinds[relation.object]):
            found.add("H2")
    if len(kinds) > 1 and any((COUNTS[kinds.count(kind) - 1], kind) in lost["H3"] for kind in kinds):
        found.add("H3")
    return found


@cache
def withheld_pairs(split: str, world: World = SMALL) -> frozenset[Pair]:
    """The withheld (word, thing) pairs of H1, H3, H4 or H5.  Raises: RequestError for any other split"""
    if split not in LISTED:
        raise RequestError(f"split {split!r} has no list of pairs", hint=f"choose from {', '.join(LISTED)}")
    words = partners_of(world)[split]
    pairs = [(w, k) for w, k in product(words, world.things) if w and not _at_home(split, w, k, world)]
    partners = dict.fromkeys(words, len(world.things)) | dict.fromkeys(world.things, len(words))
    drawn = sorted((pair for pair in pairs if _drawn(split, *pair)), key=lambda pair: _hash(split, *pair))
    return frozenset(_spare((*SHOWPIECES.get(split, ()), *drawn), partners))


def partners_of(world: World) -> dict[str, tuple[str, ...]]:
    """The words that a split pairs with things."""
    return {"H1": world.colours, "H3": world.count_words, "H4": world.settings, "H5": world.styles}


def _at_home(split: str, word: str, kind: str, world: World) -> bool:
    """Does the word go with the thing as a matter of course, so that it is never withheld?"""
    usual = THINGS[kind].usual
    return (split == "H1" and (word in usual or not usual)) or (
        split == "H4" and word in world.homes.get(kind, ())
    )


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
    """H2. "A left of B" and "B right of A" are one fact, and so are above and below, in front and behind."""
    if word in MIRRORED:
        word, subject, other = MIRRORED[word], other, subject
    return _drawn("H2", word, subject, other)


@cache
def held_out_templates(templates: tuple[str, ...]) -> frozenset[str]:
    """H6: those of these caption templates that are kept for testing, one in seven but never none."""
    few = max(1, round(len(templates) / ONE_IN["H6"]))
    return frozenset(sorted(templates, key=lambda template: _hash("H6", template))[:few])


def check_split(split: str, world: World = SMALL) -> None:
    """Raises: RequestError unless it is a split of scenes, and holds something of this world."""
    if split not in SPLITS:
        raise RequestError(f"no split of scenes is called {split!r}", hint=did_you_mean(split, SPLITS))
    if split in LISTED and not withheld_pairs(split, world):
        raise RequestError(f"split {split} holds nothing of the {world.name} world")


def _hash(split: str, *words: str) -> int:
    return crc32(" ".join((split, *words)).encode())


def _drawn(split: str, *words: str) -> bool:
    return _hash(split, *words) % ONE_IN[split] == 0
