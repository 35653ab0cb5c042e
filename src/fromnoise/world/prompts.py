"""Prompts to test a model with, each with the facts that its picture must show."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from fromnoise.errors import RequestError
from fromnoise.world.captions import plural, size_word
from fromnoise.world.grammar import VARIANTS, Mix, sample_held_out, sample_scene, scene_seed
from fromnoise.world.phrases import AND
from fromnoise.world.phrasing import phrasing_of
from fromnoise.world.reading import Atoms, parse
from fromnoise.world.scene import Scene
from fromnoise.world.vocabulary import COUNTS, TIMELESS
from fromnoise.world.worlds import FULL, SMALL, SPELLING, world_of

# One thing of usual size in the usual look: what a tier asks for beside that, it says.
# In the drawings that the embedded model and its checker learned from: one of each thing, not mirrored.
SINGLE: Final = Mix(
    single=1,
    pair=0,
    count=0,
    rich=0,
    any_colour=1,
    at_home=0,
    pattern=0,
    tiny=0,
    small=0,
    big=0,
    weather=0,
    style=0,
    variants=1,
    flips=False,
)
PLAINEST: Final = {SMALL: SINGLE} | {
    world: replace(SINGLE, world=world, variants=VARIANTS, flips=True) for world in (FULL, SPELLING)
}
PLACE: Final = ("setting", "time")
MOST: Final = 2000  # of about 5,000 there are


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text, the facts it states, and a scene it is true of."""

    text: str
    atoms: Atoms
    scene: Scene


def seen_prompts(n: int, seed: int = 0) -> tuple[Prompt, ...]:
    """n different prompts "a {colour} {thing} {setting} {time}" whose combinations training may show.

    Raises: RequestError unless 1 <= n <= 2000
    """
    return _single_things(n, seed, "")


def held_out_prompts(n: int, seed: int = 0, split: str = "H4") -> tuple[Prompt, ...]:
    """The same, from combinations that training never shows; `split`: "H1" (colours) or "H4" (settings).

    Raises: RequestError for another split, and where it has fewer than n prompts
    """
    if split not in ("H1", "H4"):
        raise RequestError(f"split {split!r} is not about single things", hint="choose H1 or H4")
    return _single_things(n, seed, split)


def _single_things(n: int, seed: int, split: str) -> tuple[Prompt, ...]:
    most = 100 if split else MOST
    if not 1 <= n <= most:
        raise RequestError({"n": f"must be 1 to {most}, not {n}"})
    prompts: dict[str, Prompt] = {}
    for index in count():
        s = scene_seed(seed, index)
        scene = sample_held_out(s, split, SINGLE) if split else sample_scene(s, SINGLE)
        text = say(scene, ("colour", *PLACE))
        prompts.setdefault(text, Prompt(text, parse(text), scene))
        if len(prompts) == n:
            break
    return tuple(prompts.values())


def say(scene: Scene, parts: Collection[str]) -> str:
    """The plainest caption that tells what things there are and how they stand, and these parts beside:
    "size", "pattern", "colour", "setting", "time", "weather" and "style", in this order.

    Without colours it is true only of things in their usual ones, without its style only in the usual look
    """
    said = phrasing_of(scene.world)
    relation = next(iter(scene.relations), None)
    order = [relation.subject, relation.object] if relation else []
    order += [i for i in range(len(scene.things)) if i not in order]
    nouns = [_noun(scene, kind, parts) for kind in dict.fromkeys(scene.things[i].kind for i in order)]
    joint = said.relations[relation.word][0] if relation else AND[0]
    words = [f" {AND[0]} ".join((f" {joint} ".join(nouns[:2]), *nouns[2:]))]
    words += [said.settings[scene.setting][0]] if "setting" in parts else []
    words += [said.times[scene.time][0]] if "time" in parts and scene.setting not in TIMELESS else []
    words += said.weathers.get(scene.weather, ())[:1] if "weather" in parts else ()
    text = " ".join(words)
    return f"{text}, {said.style_remarks[scene.style][0]}" if "style" in parts and scene.style else text


def _noun(scene: Scene, kind: str, parts: Collection[str]) -> str:
    said = phrasing_of(scene.world)
    things = [thing for thing in scene.things if thing.kind == kind]
    adjectives = {
        "size": said.sizes.get(size_word(scene, things[0]), ("",))[0],
        "pattern": said.textures.get(things[0].texture, ("",))[0],
        "colour": things[0].colour,
    }
    words = [word for part, word in adjectives.items() if part in parts and word]
    if len(things) > 1:
        return " ".join((COUNTS[len(things) - 1], *words, plural(kind, world_of(scene.world))))
    words.append(kind)
    return " ".join(("an" if words[0][0] in "aeiou" else "a", *words))
