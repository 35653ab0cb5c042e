"""What a picture shows, in words: many phrasings, every one true of the scene."""

from collections.abc import Sequence
from random import Random
from typing import Final, Literal

from fromnoise.errors import RequestError, did_you_mean
from fromnoise.world.geometry import size_at
from fromnoise.world.phrases import ALSO, AND, BESIDE, INVERSE_SAID, NUMERALS
from fromnoise.world.phrasing import Phrasing, phrasing_of
from fromnoise.world.scene import Scene, Thing
from fromnoise.world.templates import bare_templates, style_templates, templates_for
from fromnoise.world.vocabulary import COUNTS, THINGS, TIMELESS
from fromnoise.world.worlds import SMALL, World, world_of

Density = Literal["full", "medium", "short", "tags"]

DENSITIES: Final[tuple[Density, ...]] = ("full", "medium", "short", "tags")
DENSITY_WEIGHTS: Final = (0.55, 0.25, 0.12, 0.08)
PLAINLY: Final = 0.6  # how often a phrase is said in its first, plain form
OTHER_NAME: Final = 0.15  # how often a thing goes by another name, where it has one
IN_DIGITS: Final = 0.25


def sample_caption(scene: Scene, seed: int) -> str:
    """A training caption; most say everything.  `seed` picks the phrasing, together with the scene's own."""
    rng = _random(scene, seed)
    return _say(scene, rng, rng.choices(DENSITIES, DENSITY_WEIGHTS)[0], held_out=False)


def caption(scene: Scene, seed: int, density: Density = "full", *, held_out: bool = False) -> str:
    """One phrasing of a scene.  Raises: RequestError for an unknown density

    `full` says everything; `medium` leaves some of it out; `short` names the things; `tags` is a comma list.
    A colour is left unsaid only where it is usual for its thing, a style never.
    `held_out`: use the test-only templates.
    """
    if density not in DENSITIES:
        raise RequestError(f"unknown density {density!r}", hint=did_you_mean(density, DENSITIES))
    return _say(scene, _random(scene, seed), density, held_out=held_out)


def size_word(scene: Scene, thing: Thing) -> str:
    """A word for its size, or "": only a thing on its own has a size worth a word."""
    if len(scene.things) > 1:
        return ""
    world = world_of(scene.world)
    below = [word for word in world.sizes if word not in ("", "big")]
    for word in below:
        if thing.size <= size_at(thing.kind, world.sizes[word][1], world) + 1e-9:
            return word
    return "big" if thing.size >= size_at(thing.kind, world.sizes["big"][0], world) - 1e-9 else ""


def plural(noun: str, world: World = SMALL) -> str:
    """More than one of it."""
    return _plural(noun, phrasing_of(world))


def _plural(noun: str, phrasing: Phrasing) -> str:
    return phrasing.plurals.get(noun, noun + "s")


def _random(scene: Scene, seed: int) -> Random:
    if seed < 0:
        raise RequestError({"seed": f"must be >= 0, not {seed}"})
    return Random(scene.seed * 0x9E3779B97F4A7C15 ^ seed * 0xD1342543DE82EF95)


def _say(scene: Scene, rng: Random, density: Density, *, held_out: bool) -> str:
    phrasing = phrasing_of(scene.world)
    nouns = [_noun(scene, group, rng, density) for group in _groups(scene)]
    if density == "tags":
        return _tags(scene, nouns, rng)
    slots = {"things": _sentence(scene, nouns, rng, density)}
    keep = {"full": 1.0, "medium": 0.65, "short": 0.0}[density]
    if rng.random() < keep:
        slots["place"] = _one(rng, phrasing.settings[scene.setting])
    if scene.setting not in TIMELESS and rng.random() < keep:
        slots["time"] = _one(rng, phrasing.times[scene.time])
    if scene.weather in phrasing.weathers and rng.random() < keep:
        _add_weather(scene, slots, rng)
    if not scene.style:
        templates = templates_for(tuple(sorted(slots)), held_out)
        return rng.choice(templates).format_map(slots)
    bare = rng.choice(bare_templates(tuple(sorted(slots)))).format_map(slots)
    noun = _one(rng, phrasing.style_nouns[scene.style])
    remark = _one(rng, phrasing.style_remarks[scene.style])
    return rng.choice(style_templates(held_out)).format(scene=bare, noun=noun, remark=remark)


def _add_weather(scene: Scene, slots: dict[str, str], rng: Random) -> None:
    """Say the weather together with the place or with the time, if those are said."""
    phrasing = phrasing_of(scene.world)
    if "place" in slots and scene.setting in phrasing.weather_places and rng.random() < 0.3:
        slots["place"] = phrasing.weather_places[scene.setting].format(scene.weather)
        return
    said = [_one(rng, phrasing.weathers[scene.weather]), *([slots["time"]] if "time" in slots else [])]
    rng.shuffle(said)
    slots["time"] = " ".join(said)


def _groups(scene: Scene) -> list[list[int]]:
    """Things said together: all of a kind.  The subject of a relation comes first, then its object."""
    order = [i for r in scene.relations for i in (r.subject, r.object)]
    order += [i for i in range(len(scene.things)) if i not in order]
    groups: dict[str, list[int]] = {}
    for i in order:
        groups.setdefault(scene.things[i].kind, []).append(i)
    return list(groups.values())


def _noun(scene: Scene, group: Sequence[int], rng: Random, density: Density) -> str:
    thing, chance = scene.things[group[0]], {"full": 1.0, "medium": 0.6, "short": 0.4, "tags": 0.7}[density]
    phrasing = phrasing_of(scene.world)
    size, texture = size_word(scene, thing), phrasing.textures.get(thing.texture, ())
    words: list[str] = []
    if texture and density != "short" and rng.random() < chance:
        words.append(_one(rng, texture))
    if thing.colour and (thing.colour not in THINGS[thing.kind].usual or rng.random() < chance):
        words.insert(rng.randrange(len(words) + 1), thing.colour)
    if size and density != "short" and rng.random() < chance:
        words.insert(0, _one(rng, phrasing.sizes[size]))
    others = phrasing.kinds.get(thing.kind)
    noun = rng.choice(others) if others and rng.random() < OTHER_NAME else thing.kind
    words.append(noun if len(group) == 1 else _plural(noun, phrasing))
    if len(group) > 1:
        count = COUNTS[len(group) - 1]
        return " ".join((NUMERALS[count] if rng.random() < IN_DIGITS else count, *words))
    if density == "tags":
        return " ".join(words)
    return " ".join(("an" if words[0][0] in "aeiou" else "a", *words))


def _sentence(scene: Scene, nouns: list[str], rng: Random, density: Density) -> str:
    if not scene.relations or (density == "short" and rng.random() < 0.5):
        rng.shuffle(nouns)
        return f" {_one(rng, AND)} ".join(nouns)
    first, second, *rest = nouns
    word = scene.relations[0].word
    if density != "full" and word in ("left of", "right of") and rng.random() < 0.3:
        said = rng.choice(BESIDE)
    else:
        if word in INVERSE_SAID and rng.random() < 0.25:
            first, second, word = second, first, INVERSE_SAID[word]
        said = _one(rng, phrasing_of(scene.world).relations[word])
    sentence = f"{first} {said} {second}"
    return f"{_one(rng, ALSO)} ".join((sentence, *rest))


def _tags(scene: Scene, nouns: list[str], rng: Random) -> str:
    phrasing = phrasing_of(scene.world)
    if scene.relations and rng.random() < 0.5:
        said = _one(rng, phrasing.relations[scene.relations[0].word])
        nouns = [f"{nouns[0]} {said} {nouns[1]}", *nouns[2:]]
    rng.shuffle(nouns)
    places = [scene.setting] if scene.setting in TIMELESS else [scene.setting, scene.time]
    places += [scene.weather] if scene.weather in phrasing.weathers else []
    places += [phrasing.style_remarks[scene.style][0]] if scene.style else []
    rng.shuffle(places)
    return ", ".join((*nouns, *places))


def _one(rng: Random, phrases: Sequence[str]) -> str:
    return phrases[0] if rng.random() < PLAINLY else rng.choice(phrases)
