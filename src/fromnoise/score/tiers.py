"""The prompts of tiers, made from scenes by chance."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from fromnoise.errors import RequestError, did_you_mean
from fromnoise.score.plans import SEEN, TIERS, WORDINGS, Plan
from fromnoise.world.captions import caption
from fromnoise.world.grammar import sample_held_out, sample_scene, scene_seed
from fromnoise.world.prompts import PLAINEST, Prompt, say
from fromnoise.world.reading import parse
from fromnoise.world.splits import LISTED, withheld_pairs
from fromnoise.world.worlds import SMALL, World

SEED: Final = 1  # of the prompts' scenes; the embedded model's pool was made from seed 0
TRIES: Final = 300  # scenes in a row without a new prompt: there are hardly more


@dataclass(frozen=True, slots=True)
class Tier:
    """Prompts of one sort, by split: "seen", and the combinations that training never showed."""

    name: str
    title: str
    parts: tuple[str, ...]
    prompts: Mapping[str, tuple[Prompt, ...]] = field(repr=False)


def tiers_for(world: World, blind: Collection[str] = ()) -> tuple[str, ...]:
    """The tiers that ask for what a world has, and that a checker `blind` to these parts can judge."""
    return tuple(
        name
        for name, plan in TIERS.items()
        if not {*plan.counted(world)} & {*blind}
        and (world.has_looks or plan.mix.get("style", 0) < 1)
        and (not plan.kinds or {*plan.kinds} & {*world.things})
    )


def make_tiers(
    names: Iterable[str], seen: int, held_out: int, seed: int = SEED, world: World = SMALL
) -> tuple[Tier, ...]:
    """Several tiers alike.  Raises: as `make_tier`"""
    return tuple(make_tier(name, seen, held_out, seed, world) for name in names)


def make_tier(name: str, seen: int, held_out: int, seed: int = SEED, world: World = SMALL) -> Tier:
    """A tier with this many different prompts that training may have shown, and of every split held out.

    Raises: RequestError for an unknown tier, one of which the world has nothing, fewer than 2 seen prompts,
            or more than there are
    """
    if name not in TIERS:
        raise RequestError({"tier": f"{name!r} is unknown"}, hint=did_you_mean(name, tuple(TIERS)))
    offered = tiers_for(world)
    if name not in offered:
        problem = f"the {world.name} world has nothing for {name!r}"
        raise RequestError({"tier": problem}, hint=f"it has {', '.join(offered)}")
    if seen < 2 or held_out < 0 or held_out == 1:
        problem = f"needs 2 or more prompts a split (or 0 held out), not {seen} and {held_out}"
        raise RequestError({"prompts": problem}, hint="the floor is measured by exchanging prompts")
    plan = TIERS[name]
    kept = [s for s in plan.splits if s not in LISTED or withheld_pairs(s, world)]
    sizes = {SEEN: seen} | {split: held_out for split in kept if held_out}
    prompts = {split: _prompts(plan, split, n, seed, world) for split, n in sizes.items()}
    return Tier(name, plan.title, plan.counted(world), prompts)


def _prompts(plan: Plan, split: str, n: int, seed: int, world: World) -> tuple[Prompt, ...]:
    mix = replace(PLAINEST[world], **plan.mix)
    prompts: dict[str, Prompt] = {}
    dry = 0
    for index in count():
        s = scene_seed(seed, index)
        scene = sample_scene(s, mix) if split in (SEEN, WORDINGS) else sample_held_out(s, split, mix)
        text = caption(scene, seed, held_out=split == WORDINGS) if plan.worded else say(scene, plan.says)
        dry = dry + 1 if text in prompts or not plan.fits(scene) else 0
        if not dry:
            prompts[text] = Prompt(text, parse(text, world), scene)
        if len(prompts) == n or dry == TRIES:
            break
    if len(prompts) < n:
        problem = f"the world has not many more than {len(prompts)} of split {split}, and {n} were asked for"
        raise RequestError({"prompts": problem})
    return tuple(prompts.values())
