"""Prompts in tiers of difficulty, each tier with the parts of a prompt that it counts.

Source: the tiers of GenEval, Ghosh et al. 2023 (arXiv:2310.11513), in our world's words. The worlds differ,
and so the scores are not to be compared.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from fromnoise.errors import RequestError, did_you_mean
from fromnoise.world.captions import plural
from fromnoise.world.grammar import Mix, sample_held_out, sample_scene, scene_seed
from fromnoise.world.phrases import AND, RELATION_PHRASES, SETTING_PHRASES, TIME_PHRASES
from fromnoise.world.prompts import SINGLE, Prompt
from fromnoise.world.reading import parse
from fromnoise.world.scene import Scene
from fromnoise.world.vocabulary import COUNTS, TIMELESS

SEEN: Final = "seen"  # beside the names of the splits that are held out
SEED: Final = 1  # of the prompts' scenes; the embedded model's pool was made from seed 0
TRIES: Final = 300  # scenes in a row without a new prompt: there are hardly more

PAIR: Final = replace(SINGLE, single=0, pair=1)
COUNT: Final = replace(SINGLE, single=0, count=1)
RICH: Final = replace(SINGLE, single=0, rich=1)
USUAL: Final = 0.0  # chance of a colour that must be said


@dataclass(frozen=True, slots=True)
class Plan:
    """What sort of scenes a tier asks for, and what of them it counts."""

    title: str
    parts: tuple[str, ...]
    splits: tuple[str, ...]  # held out, beside the seen ones
    mix: Mix
    coloured: bool
    fits: Callable[[Scene], bool] = lambda scene: True


@dataclass(frozen=True, slots=True)
class Tier:
    """Prompts of one sort, by split: "seen", and the combinations that training never showed."""

    name: str
    title: str
    parts: tuple[str, ...]
    prompts: Mapping[str, tuple[Prompt, ...]]


def two_colours(scene: Scene) -> bool:
    """Do the things differ in colour, so that swapping them shows?"""
    return len({thing.colour for thing in scene.things}) == len(scene.things)


def two_things(scene: Scene) -> bool:
    """Is nothing there but the subject and the object of a relation?"""
    return len(scene.things) == 2


TIERS: Final[Mapping[str, Plan]] = {
    "single": Plan(
        "one thing: is it there, in its colour, where and when it should be",
        ("object", "colour", "setting", "time"),
        ("H1", "H4"),
        SINGLE,
        coloured=True,
    ),
    "two": Plan("two things", ("object",), ("H4",), replace(PAIR, any_colour=USUAL), coloured=False),
    "count": Plan(
        "two to four of a kind", ("count",), ("H3",), replace(COUNT, any_colour=USUAL), coloured=False
    ),
    "position": Plan(
        "two things, and how they stand to each other",
        ("object", "relation"),
        ("H2",),
        replace(RICH, any_colour=USUAL),
        coloured=False,
        fits=two_things,
    ),
    "attribution": Plan(
        "two things, each in its own colour",
        ("object", "colour"),
        ("H1",),
        PAIR,
        coloured=True,
        fits=two_colours,
    ),
}


def make_tiers(names: Iterable[str], seen: int, held_out: int, seed: int = SEED) -> tuple[Tier, ...]:
    """Several tiers alike.  Raises: as `make_tier`"""
    return tuple(make_tier(name, seen, held_out, seed) for name in names)


def make_tier(name: str, seen: int, held_out: int, seed: int = SEED) -> Tier:
    """A tier with this many different prompts that training may have shown, and of every split held out.

    Raises: RequestError for an unknown tier, fewer than 2 seen prompts, or more than there are
    """
    if name not in TIERS:
        raise RequestError({"tier": f"{name!r} is unknown"}, hint=did_you_mean(name, tuple(TIERS)))
    if seen < 2 or held_out < 0 or held_out == 1:
        problem = f"needs 2 or more prompts a split (or 0 held out), not {seen} and {held_out}"
        raise RequestError({"prompts": problem}, hint="the floor is measured by exchanging prompts")
    plan = TIERS[name]
    sizes = {SEEN: seen} | {split: held_out for split in plan.splits if held_out}
    prompts = {split: _prompts(plan, split, n, seed) for split, n in sizes.items()}
    return Tier(name, plan.title, plan.parts, prompts)


def _prompts(plan: Plan, split: str, n: int, seed: int) -> tuple[Prompt, ...]:
    prompts: dict[str, Prompt] = {}
    dry = 0
    for index in count():
        s = scene_seed(seed, index)
        scene = sample_scene(s, plan.mix) if split == SEEN else sample_held_out(s, split, plan.mix)
        text = say(scene, coloured=plan.coloured)
        dry = dry + 1 if text in prompts or not plan.fits(scene) else 0
        if not dry:
            prompts[text] = Prompt(text, parse(text), scene)
        if len(prompts) == n or dry == TRIES:
            break
    if len(prompts) < n:
        problem = f"the world has not many more than {len(prompts)} of split {split}, and {n} were asked for"
        raise RequestError({"prompts": problem})
    return tuple(prompts.values())


def say(scene: Scene, *, coloured: bool) -> str:
    """The plainest full caption of one thing, of two, or of several alike.

    Without colours it is true only of things in their usual ones
    """
    relation = next(iter(scene.relations), None)
    order = (relation.subject, relation.object) if relation else range(len(scene.things))
    kinds = list(dict.fromkeys(scene.things[i].kind for i in order))
    joint = RELATION_PHRASES[relation.word][0] if relation else AND[0]
    words = [f" {joint} ".join(_noun(scene, kind, coloured=coloured) for kind in kinds)]
    words.append(SETTING_PHRASES[scene.setting][0])
    if scene.setting not in TIMELESS:
        words.append(TIME_PHRASES[scene.time][0])
    return " ".join(words)


def _noun(scene: Scene, kind: str, *, coloured: bool) -> str:
    things = [thing for thing in scene.things if thing.kind == kind]
    words = [things[0].colour] if coloured else []
    if len(things) > 1:
        return " ".join((COUNTS[len(things) - 1], *words, plural(kind)))
    words.append(kind)
    return " ".join(("an" if words[0][0] in "aeiou" else "a", *words))
