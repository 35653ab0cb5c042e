"""Prompts to test a model with, each with the facts that its picture must show."""

from dataclasses import dataclass
from itertools import count

from fromnoise.errors import RequestError
from fromnoise.world.grammar import Mix, sample_held_out, sample_scene, scene_seed
from fromnoise.world.phrases import SETTING_PHRASES, TIME_PHRASES
from fromnoise.world.reading import Atoms, parse
from fromnoise.world.scene import Scene
from fromnoise.world.vocabulary import TIMELESS

# In the drawings that the embedded model and its checker learned from: one of each thing, not mirrored.
SINGLE = Mix(
    single=1,
    pair=0,
    count=0,
    rich=0,
    any_colour=1,
    at_home=0,
    pattern=0,
    small=0,
    big=0,
    variants=1,
    flips=False,
)
MOST = 2000  # of about 5,000 there are


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
        text = plain(scene)
        prompts.setdefault(text, Prompt(text, parse(text), scene))
        if len(prompts) == n:
            break
    return tuple(prompts.values())


def plain(scene: Scene) -> str:
    """The plainest full caption of a single thing."""
    thing = scene.things[0]
    words = [thing.colour, thing.kind, SETTING_PHRASES[scene.setting][0]]
    if scene.setting not in TIMELESS:
        words.append(TIME_PHRASES[scene.time][0])
    return " ".join(("an" if thing.colour[0] in "aeiou" else "a", *words))
