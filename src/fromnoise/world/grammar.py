"""Scenes by chance: a seed becomes a picture's ground truth, the same one every time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from fromnoise.errors import RequestError
from fromnoise.world.geometry import box_at, size_at
from fromnoise.world.placing import (
    Spot,
    place_beside,
    place_one,
    place_pair,
    place_row,
    possible,
)
from fromnoise.world.scene import Relation, Scene, Thing
from fromnoise.world.splits import check_split, withheld
from fromnoise.world.vocabulary import THINGS, TIMELESS, TIMES
from fromnoise.world.worlds import SMALL, World

VARIANTS: Final = 12  # a multiple of 2, 3 and 4, so that every drawing of a kind is equally frequent
NOT_AT_NIGHT: Final = ("sun", "rainbow")
ONLY_AT_NIGHT: Final = ("starry",)  # weathers
# Styles in which a colour or a setting cannot be told: dark things on a dark ground, a sheet on a board.
UNFIT: Final = {"neon": ("black", "brown", "paper"), "chalk": ("black", "brown", "paper")}
CRUDE: Final = ("pixel",)  # styles in which only larger things can be told
CRUDE_LEAST: Final = 0.26  # the shorter side that a thing has in them at least, of the frame


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
    tiny: float = 0.06  # in worlds that have the word
    small: float = 0.08
    big: float = 0.12
    variants: int = VARIANTS  # how many drawings of a kind come up; 1: always the first
    flips: bool = True  # things may face the other way
    weather: float = 0.35  # fog, rain, snow or stars, in worlds that have them
    style: float = 0.3  # another than the usual look, in worlds that have others
    world: World = SMALL  # whose words

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


def sample_held_out(seed: int, split: str, mix: Mix | None = None, world: World = SMALL) -> Scene:
    """A scene kept out of training by this split and no other; `world` counts where there is no `mix`.

    Raises: RequestError for an unknown split, or one that holds nothing of this world
    """
    world = mix.world if mix else world
    check_split(split, world)
    likely = {
        "H2": Mix(single=0, pair=0, count=0, rich=1, world=world),
        "H3": Mix(single=0, pair=0, count=1, rich=0, world=world),
        "H5": Mix(style=1, world=world),
    }
    mix = mix or likely.get(split, Mix(world=world))
    return _sample(seed, mix, lambda scene: withheld(scene) == {split})


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
    part = rng.uniform(*mix.world.sizes[_size_word(rng, mix)])
    thing = _thing(rng, kind, place_one(rng, kind, setting, size_at(kind, part, mix.world)), mix)
    return _scene(rng, seed, mix, setting, [thing])


def _size_word(rng: Random, mix: Mix) -> str:
    luck = rng.random()
    if luck < mix.small:
        return "small"
    if luck < mix.small + mix.big:
        return "big"
    return "tiny" if luck < mix.small + mix.big + mix.tiny and "tiny" in mix.world.sizes else ""


def _count(rng: Random, seed: int, mix: Mix) -> Scene | None:
    kind, count = _kind(rng, mix), rng.choice(mix.world.counts)
    setting = _setting(rng, kind, mix)
    model = _thing(rng, kind, Spot(0, 0, 0), mix)
    things = [
        replace(model, **s._asdict(), lean=_lean(rng), flip=_flip(rng, kind, mix), seed=_seed(rng))
        for s in place_row(rng, kind, setting, count)
    ]
    return _scene(rng, seed, mix, setting, things)


def _pair(rng: Random, seed: int, mix: Mix) -> Scene | None:
    a, b = _kinds(rng, mix, 2)
    setting = _setting(rng, a, mix)
    spots = place_pair(rng, "", a, b, setting)
    if spots is None:
        return None
    things = [_thing(rng, k, s, mix) for k, s in zip((a, b), spots, strict=True)]
    scene = _scene(rng, seed, mix, setting, things)
    return scene and _ordered(scene)


def _rich(rng: Random, seed: int, mix: Mix) -> Scene | None:
    word = rng.choice(mix.world.relations)
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
    if word == "inside":
        things[1] = replace(things[1], open=True, lean=0.0, flip=False)
    scene = _scene(rng, seed, mix, setting, things)
    return scene and _ordered(replace(scene, relations=(Relation(word, 0, 1),)))


def _ordered(scene: Scene) -> Scene:
    """List the things back to front: nearer feet are lower, and what rides on a thing comes after it."""
    depth = [thing.y + thing.size / 2 for thing in scene.things]
    for relation in scene.relations:
        if relation.word in ("on top of", "inside"):
            depth[relation.subject] = depth[relation.object] + 1e-6
    order = sorted(range(len(depth)), key=depth.__getitem__)
    relations = tuple(
        replace(r, subject=order.index(r.subject), object=order.index(r.object)) for r in scene.relations
    )
    return replace(scene, things=tuple(scene.things[i] for i in order), relations=relations)


def _kind(rng: Random, mix: Mix) -> str:
    return _kinds(rng, mix, 1)[0]


def _kinds(rng: Random, mix: Mix, n: int) -> list[str]:
    return rng.sample(mix.world.things, n)


def _setting(rng: Random, kind: str, mix: Mix) -> str:
    homes = mix.world.homes.get(kind)
    return rng.choice(homes if homes and rng.random() < mix.at_home else mix.world.settings)


def _scene(rng: Random, seed: int, mix: Mix, setting: str, things: Sequence[Thing]) -> Scene | None:
    """The things in a setting, at an hour, in a weather and a style; None where they do not go together."""
    time = _time(rng, setting, mix, [thing.kind for thing in things])
    weather, style = _weather(rng, setting, time, mix), _style(rng, mix)
    if {setting, *(thing.colour for thing in things)} & {*UNFIT.get(style, ())}:
        return None
    if style in CRUDE and min(t.size * min(1.0, THINGS[t.kind].aspect) for t in things) < CRUDE_LEAST:
        return None
    return Scene(seed, setting, time, tuple(things), weather=weather, style=style, world=mix.world.name)


def _time(rng: Random, setting: str, mix: Mix, kinds: Sequence[str]) -> str:
    if setting in TIMELESS:
        return TIMES[0]
    by_day = {*NOT_AT_NIGHT} & {*kinds}
    return rng.choice([time for time in mix.world.times if time != "night" or not by_day])


def _weather(rng: Random, setting: str, time: str, mix: Mix) -> str:
    calm, *others = mix.world.weathers
    others += ONLY_AT_NIGHT * 2 if others else ()  # which makes up for the days
    if not others or setting in TIMELESS or rng.random() >= mix.weather:
        return calm
    return rng.choice([w for w in others if time == "night" or w not in ONLY_AT_NIGHT])


def _style(rng: Random, mix: Mix) -> str:
    usual, *others = mix.world.styles
    return rng.choice(others) if others and rng.random() < mix.style else usual


def _thing(rng: Random, kind: str, spot: Spot, mix: Mix) -> Thing:
    colours = THINGS[kind].usual
    if colours and rng.random() < mix.any_colour:
        colours = mix.world.colours
    colour = rng.choice(colours) if colours else ""
    plain, *patterns = mix.world.textures
    patterned = rng.random() < mix.pattern
    looks = mix.world.looks.get(kind)
    return Thing(
        kind=kind,
        colour=colour,
        x=spot.x,
        y=spot.y,
        size=spot.size,
        texture=rng.choice(patterns) if patterned and colours else plain,
        variant=looks[rng.randrange(mix.variants) % len(looks)] if looks else rng.randrange(mix.variants),
        lean=_lean(rng),
        flip=_flip(rng, kind, mix),
        seed=_seed(rng),
    )


def _lean(rng: Random) -> float:
    return rng.uniform(-0.08, 0.08)


def _flip(rng: Random, kind: str, mix: Mix) -> bool:
    return mix.flips and rng.random() < 0.5 and THINGS[kind].flips


def _seed(rng: Random) -> int:
    return rng.getrandbits(31)
