"""Which words a model learns: a world is a choice among the words that can be drawn, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from fromnoise.errors import RequestError, did_you_mean
from fromnoise.world.vocabulary import (
    COLOURS,
    COUNTS,
    LETTERS,
    RELATIONS,
    SETTINGS,
    STYLES,
    TEXTURES,
    THINGS,
    TIMES,
)

Range = tuple[float, float]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class World:
    """The words that scenes are made of, and where things are at home.

    Units: sizes as parts of what a kind may measure at most; with `sizes_from_smallest` 0 is the least it may
    """

    name: str
    things: tuple[str, ...]
    colours: tuple[str, ...]
    settings: tuple[str, ...]
    times: tuple[str, ...]
    textures: tuple[str, ...]
    relations: tuple[str, ...]
    counts: tuple[int, ...]  # of things of one kind, where there are several
    sizes: Mapping[str, Range]  # from small to big; "" is what nobody names
    sizes_from_smallest: bool = False
    weathers: tuple[str, ...] = ("",)  # the first is what nobody names
    styles: tuple[str, ...] = ("",)  # likewise
    homes: Mapping[str, tuple[str, ...]]  # settings a thing is drawn in more often and is never withheld from
    looks: Mapping[str, tuple[int, ...]] = field(
        default_factory=dict[str, tuple[int, ...]]
    )  # not all variants

    @property
    def count_words(self) -> tuple[str, ...]:
        """How many of a kind there may be, in words."""
        return tuple(COUNTS[count - 1] for count in self.counts)

    @property
    def has_looks(self) -> bool:
        """Do weather and style vary? Then training and checkers learn of them, and of patterns too."""
        return len(self.weathers) > 1 or len(self.styles) > 1


SMALL: Final = World(
    name="small",
    things=tuple(THINGS)[:26],
    colours=COLOURS[:11],
    settings=SETTINGS[:9],
    times=TIMES[:3],
    textures=TEXTURES[:3],
    relations=RELATIONS[:6],
    counts=(2, 3, 4),
    sizes={"small": (0.26, 0.36), "": (0.46, 0.78), "big": (0.87, 1.0)},
    homes={
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
    },
)

FULL: Final = World(
    name="full",
    things=tuple(THINGS)[:39],
    colours=COLOURS,
    settings=SETTINGS,
    times=TIMES,
    textures=TEXTURES,
    relations=RELATIONS,
    counts=(2, 3, 4, 5),
    sizes={"tiny": (0.0, 0.07), "small": (0.20, 0.32), "": (0.46, 0.74), "big": (0.87, 1.0)},
    sizes_from_smallest=True,
    weathers=("clear", "foggy", "rainy", "snowy", "starry"),
    styles=STYLES,
    homes={
        **SMALL.homes,
        "flower": ("meadow", "garden"),
        "house": ("meadow", "snow", "garden"),
        "car": ("city",),
        "robot": ("city",),
        "hill": ("meadow",),
        "pine": ("snow", "forest"),
        "rainbow": ("meadow", "sea"),
        "snail": ("garden", "forest"),
        "butterfly": ("garden", "meadow"),
        "penguin": ("snow",),
        "owl": ("forest",),
        "cake": ("garden",),
        "lantern": ("garden", "city"),
        "crescent": ("space",),
        "ring": ("paper",),
        "cone": ("paper",),
        "diamond": ("paper",),
    },
    looks={"tree": (0, 2), "moon": (1,)},  # the pine and the crescent are things of their own here
)

# The full world and the alphabet; a letter is a thing as any other.
SPELLING: Final = replace(
    FULL,
    name="letters",
    things=tuple(THINGS),
    homes={**FULL.homes, **dict.fromkeys(LETTERS, ("paper",))},
)

WORLDS: Final[Mapping[str, World]] = {world.name: world for world in (SMALL, FULL, SPELLING)}


def world_of(name: str) -> World:
    """The world of that name.  Raises: RequestError"""
    if name not in WORLDS:
        raise RequestError({"world": f"{name!r} is unknown"}, hint=did_you_mean(name, tuple(WORLDS)))
    return WORLDS[name]
