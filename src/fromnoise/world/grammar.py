"""Scenes by chance: a seed becomes a picture's ground truth, the same one every time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from fromnoise.errors import RequestError
from fromnoise.world.geometry import box_at, largest, smallest
from fromnoise.world.placing import (
    Spot,
    place_beside,
    place_one,
    place_pair,
    place_row,
    possible,
)
from fromnoise.world.scene import Relation, Scene, Thing
from fromnoise.world.splits import HOMES, check_split, withheld
from fromnoise.world.vocabulary import COLOURS, RELATIONS, SETTINGS, TEXTURES, THINGS, TIMELESS, TIMES

SMALL: Final = (0.26, 0.36)  # parts of the largest height a kind may have
MIDDLE: Final = (0.46, 0.78)
BIG: Final = (0.87, 1.0)
VARIANTS: Final = 12  # a multiple of 2, 3 and 4, so that every drawing of a kind is equally frequent
ALL: Final = tuple(THINGS)
CORE: Final = tuple(name for name, kind in THINGS.items() if kind.core)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """How often each sort of scene comes up (weights), and how varied the things in it are (chances)."""

    single: float = 0.62
    pair: float = 0.12
    count: float = 0.13
    rich: float = 0.13
    any_colour: float = 0.5  # otherwise one of the kind's usual colours
    pattern: float = 0.12  # striped or spotted
    at_home: float = 0.25  # a setting where the thing belongs, if it has one
    small: float = 0.08
    big: float = 0.12
    variants: int = VARIANTS  # how many drawings of a kind come up; 1: always the first
    flips: bool = True  # things may face the other way
    core: bool = True  # only the kinds that the embedded model learns

    def __post_init__(self) -> None:
        weights = (self.single, self.pair, self.count, self.rich)
        if min(weights) < 0 or sum(weights) <= 0:
            raise RequestError(f"mix: weights must be >= 0 and not all 0, not {weights}")


def scene_seed(seed: int, index: int) -> int:
    """The seed of the index-th scene of a run, 0 .. 2^63 - 1.  Source: SplitMix64, Steele et al. 2014"""
    z = (seed * 0xD1342543DE82EF95 + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return (z ^ z >> 31) >> 1


def sample_scene(seed: int, mix: Mix | None = None) -> Scene:
    """A scene that training may show.  Raises: RequestError for a negative seed"""
    return _sample(seed, mix or Mix(), lambda scene: not withheld(scene))


def sample_held_out(seed: int, split: str, mix: Mix | None = None) -> Scene:
    """A scene kept out of training by this split and no other.  Raises: RequestError for an unknown split"""
    check_split(split)
    likely = {"H2": Mix(single=0, pair=0, count=0, rich=1), "H3": Mix(single=0, pair=0, count=1, rich=0)}
    return _sample(seed, mix or likely.get(split, Mix()), lambda scene: withheld(scene) == {split})


def _sample(seed: int, mix: Mix, wanted: Callable[[Scene], bool]) -> Scene:
    if seed < 0:
        raise RequestError({"seed": f"must be >= 0, not {seed}"})
    rng = Random(seed)
    sort = rng.choices((_single, _pair, _count, _rich), (mix.single, mix.pair, mix.count, mix.rich))[0]
    while True:  # by far most draws are wanted and fit
        scene = sort(rng, seed, mix)
        if scene is not None and wanted(scene):
            return scene


def _single(rng: Random, seed: int, mix: Mix) -> Scene | None:
    kind = _kind(rng, mix)
    setting = _setting(rng, kind, mix)
    luck = rng.random()
    part = SMALL if luck < mix.small else BIG if luck < mix.small + mix.big else MIDDLE
    size = max(smallest(kind), rng.uniform(*part) * largest(kind))
    thing = _thing(rng, kind, place_one(rng, kind, setting, size), mix)
    return Scene(seed, setting, _time(rng, setting, kind), (thing,))


def _count(rng: Random, seed: int, mix: Mix) -> Scene | None:
    kind, count = _kind(rng, mix), rng.choice((2, 3, 4))
    setting = _setting(rng, kind, mix)
    model = _thing(rng, kind, Spot(0, 0, 0), mix)
    things = tuple(
        replace(model, x=s.x, y=s.y, size=s.size, lean=_lean(rng), flip=_flip(rng, mix), seed=_seed(rng))
        for s in place_row(rng, kind, setting, count)
    )
    return Scene(seed, setting, _time(rng, setting, kind), things)


def _pair(rng: Random, seed: int, mix: Mix) -> Scene | None:
    a, b = _kinds(rng, mix, 2)
    setting = _setting(rng, a, mix)
    spots = place_pair(rng, "", a, b, setting)
    if spots is None:
        return None
    things = tuple(_thing(rng, k, s, mix) for k, s in zip((a, b), spots, strict=True))
    return _ordered(Scene(seed, setting, _time(rng, setting, a, b), things))


def _rich(rng: Random, seed: int, mix: Mix) -> Scene | None:
    word = rng.choice(RELATIONS)
    while True:
        a, b, c = _kinds(rng, mix, 3)
        setting = _setting(rng, a, mix)
        if possible(word, a, b, setting):
            break
    spots = place_pair(rng, word, a, b, setting)
    if spots is None:
        return None
    things = [_thing(rng, k, s, mix) for k, s in zip((a, b), spots, strict=True)]
    if rng.random() < 0.4:
        boxes = [box_at(k, *s) for k, s in zip((a, b), spots, strict=True)]
        third = place_beside(rng, c, setting, boxes)
        if third is None:
            return None
        things.append(_thing(rng, c, third, mix))
    time = _time(rng, setting, *(thing.kind for thing in things))
    return _ordered(Scene(seed, setting, time, tuple(things), (Relation(word, 0, 1),)))


def _ordered(scene: Scene) -> Scene:
    """List the things back to front: nearer feet are lower, and what rides on a thing comes after it."""
    depth = [thing.y + thing.size / 2 for thing in scene.things]
    for relation in scene.relations:
        if relation.word == "on top of":
            depth[relation.subject] = depth[relation.object] + 1e-6
    order = sorted(range(len(depth)), key=depth.__getitem__)
    relations = tuple(
        replace(r, subject=order.index(r.subject), object=order.index(r.object)) for r in scene.relations
    )
    return replace(scene, things=tuple(scene.things[i] for i in order), relations=relations)


def _kind(rng: Random, mix: Mix) -> str:
    return _kinds(rng, mix, 1)[0]


def _kinds(rng: Random, mix: Mix, n: int) -> list[str]:
    return rng.sample(CORE if mix.core else ALL, n)


def _setting(rng: Random, kind: str, mix: Mix) -> str:
    homes = HOMES.get(kind)
    return rng.choice(homes if homes and rng.random() < mix.at_home else SETTINGS)


def _time(rng: Random, setting: str, *kinds: str) -> str:
    if setting in TIMELESS:
        return TIMES[0]
    return rng.choice(TIMES[:2] if "sun" in kinds else TIMES)


def _thing(rng: Random, kind: str, spot: Spot, mix: Mix) -> Thing:
    return Thing(
        kind=kind,
        colour=rng.choice(COLOURS if rng.random() < mix.any_colour else THINGS[kind].usual),
        x=spot.x,
        y=spot.y,
        size=spot.size,
        texture=rng.choice(TEXTURES[1:]) if rng.random() < mix.pattern else TEXTURES[0],
        variant=rng.randrange(mix.variants),
        lean=_lean(rng),
        flip=_flip(rng, mix),
        seed=_seed(rng),
    )


def _lean(rng: Random) -> float:
    return rng.uniform(-0.08, 0.08)


def _flip(rng: Random, mix: Mix) -> bool:
    return mix.flips and rng.random() < 0.5


def _seed(rng: Random) -> int:
    return rng.getrandbits(31)
