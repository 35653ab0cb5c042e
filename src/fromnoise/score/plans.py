"""What each tier of a score asks for, and what of that it counts: the table of all tiers.

Source: the tiers of GenEval, Ghosh et al. 2023 (arXiv:2310.11513), in our world's words. The worlds differ,
and so the scores are not to be compared.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fromnoise.world.captions import size_word
from fromnoise.world.prompts import PLACE
from fromnoise.world.scene import Scene
from fromnoise.world.vocabulary import LETTERS
from fromnoise.world.worlds import World

SEEN: Final = "seen"  # beside the names of the splits that are held out
WORDINGS: Final = "H6"  # the split of templates: its scenes are seen ones, its words are not
ALL: Final = "all"  # every part that a tier counts
ATOMS: Final = "atoms"  # the parts one by one, of all pictures together
PAPER: Final = "paper"  # the plainest setting, and the tier that a second checker audits

SINGLE: Final[Mapping[str, float]] = {}  # changes to the plainest mix
PAIR: Final = {"single": 0.0, "pair": 1.0}
COUNT: Final = {"single": 0.0, "count": 1.0}
RICH: Final = {"single": 0.0, "rich": 1.0}
USUAL: Final = {"any_colour": 0.0}  # no colour that must be said
LOOKS: Final = {"weather": 0.35, "style": 0.3}  # as often as in training
LOOK_PARTS: Final = ("weather", "style")


@dataclass(frozen=True, slots=True)
class Plan:
    """What sort of scenes a tier asks for, what is said of them, and what of that it counts."""

    title: str
    number: str  # among the nine that a score of the whole is made of; "" beside them
    parts: tuple[str, ...]
    splits: tuple[str, ...]  # held out, beside the seen ones
    mix: Mapping[str, float]
    says: tuple[str, ...]
    fits: Callable[[Scene], bool] = lambda scene: True
    headline: str = ALL  # the share that counts in the mean of tiers
    worded: bool = False  # said as captions are, in many ways
    kinds: tuple[str, ...] = ()  # the first thing is one of these; worlds without them have no such tier

    def counted(self, world: World) -> tuple[str, ...]:
        """The parts that a world has words for."""
        return self.parts if world.has_looks else tuple(p for p in self.parts if p not in LOOK_PARTS)


def coloured(scene: Scene) -> bool:
    """Has everything a colour that can be said?"""
    return all(thing.colour for thing in scene.things)


def two_colours(scene: Scene) -> bool:
    """Do the things differ in colour, so that swapping them shows?"""
    return coloured(scene) and len({thing.colour for thing in scene.things}) == len(scene.things)


def two_things(scene: Scene) -> bool:
    """Is nothing there but the subject and the object of a relation?"""
    return len(scene.things) == 2


def on_paper(scene: Scene) -> bool:
    """Is there nothing but a thing of one colour?"""
    return scene.setting == PAPER and coloured(scene)


def patterned(scene: Scene) -> bool:
    """Is the first thing not plain?"""
    return coloured(scene) and scene.things[0].texture != "plain"


def lettered(scene: Scene) -> bool:
    """Is the first thing a letter in its colour?"""
    return coloured(scene) and scene.things[0].kind in LETTERS


def sized(scene: Scene) -> bool:
    """Is the size of the first thing worth a word?"""
    return coloured(scene) and size_word(scene, scene.things[0]) != ""


TIERS: Final[Mapping[str, Plan]] = {
    "single": Plan(
        "one thing: is it there, in its colour, where and when it should be",
        "T1",
        ("object", "colour", *PLACE),
        ("H1", "H4"),
        SINGLE,
        ("colour", *PLACE),
        coloured,
        headline="object",
    ),
    "two": Plan("two things", "T2", ("object",), ("H4",), {**PAIR, **USUAL}, PLACE),
    "count": Plan("several of a kind", "T3", ("count",), ("H3",), {**COUNT, **USUAL}, PLACE),
    "colour": Plan(
        "one thing in its colour",
        "T4",
        ("object", "colour"),
        ("H1",),
        SINGLE,
        ("colour", "setting"),
        coloured,
    ),
    "position": Plan(
        "two things, and how they stand to each other",
        "T5",
        ("object", "relation"),
        ("H2",),
        {**RICH, **USUAL},
        PLACE,
        two_things,
    ),
    "attribution": Plan(
        "two things, each in its own colour",
        "T6",
        ("object", "colour"),
        ("H1",),
        PAIR,
        ("colour", *PLACE),
        two_colours,
    ),
    "place": Plan(
        "one thing: where and when, and in which weather",
        "T7",
        (*PLACE, "weather"),
        ("H4",),
        {"weather": 0.7},
        ("colour", *PLACE, "weather"),
        coloured,
    ),
    "style": Plan(
        "one thing in a style of drawing",
        "T8",
        ("object", "style"),
        ("H5",),
        {**USUAL, "style": 1.0},
        (*PLACE, "style"),
    ),
    "pattern": Plan(
        "one thing in its colour and pattern",
        "T8",
        ("object", "colour", "pattern"),
        ("H1",),
        {"pattern": 1.0},
        ("pattern", "colour", *PLACE),
        patterned,
    ),
    "size": Plan(
        "one thing in its size",
        "T8",
        ("object", "size"),
        ("H4",),
        {"tiny": 0.2, "small": 0.4, "big": 0.4},
        ("size", "colour", *PLACE),
        sized,
    ),
    "complex": Plan(
        "two or three things in their colours, how they stand, where, when and in which look",
        "T9",
        ("object", "colour", "relation", *PLACE, *LOOK_PARTS),
        ("H2",),
        {**RICH, **LOOKS},
        ("colour", *PLACE, *LOOK_PARTS),
        coloured,
    ),
    "wording": Plan(
        "one thing, said in many ways",
        "",
        ("object", "colour", *PLACE, *LOOK_PARTS),
        (WORDINGS,),
        LOOKS,
        (),
        coloured,
        worded=True,
    ),
    "letter": Plan(
        "a letter in its colour",
        "",
        ("object", "colour"),
        ("H1",),
        SINGLE,
        ("colour", "setting"),
        lettered,
        kinds=tuple(LETTERS),
    ),
    PAPER: Plan(
        "one thing in its colour on paper, for a second checker",
        "",
        ("object", "colour"),
        (),
        SINGLE,
        ("colour", "setting"),
        on_paper,
    ),
}
OVERALL: Final = tuple(name for name, plan in TIERS.items() if plan.number in {f"T{n}" for n in range(1, 7)})
