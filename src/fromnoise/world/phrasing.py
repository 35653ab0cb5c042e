"""How each world is put into words: the tables of `phrases` under one roof."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from fromnoise.world import phrases, phrases_full
from fromnoise.world.vocabulary import LETTERS
from fromnoise.world.worlds import FULL, SMALL, SPELLING, World

Table = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Phrasing:
    """The phrases of a world, by the word they stand for; the first is the plain one."""

    settings: Table
    times: Table
    relations: Table
    sizes: Table
    textures: Table
    kinds: Table  # other names of a thing
    plurals: Mapping[str, str]  # all others: + s
    near: Mapping[str, str]  # our word -> strangers it comes nearest to
    weathers: Table = field(default_factory=dict[str, tuple[str, ...]])
    weather_places: Mapping[str, str] = field(default_factory=dict[str, str])
    style_nouns: Table = field(default_factory=dict[str, tuple[str, ...]])
    style_remarks: Table = field(default_factory=dict[str, tuple[str, ...]])


_FULL: Final = Phrasing(
    settings=phrases_full.SETTING_PHRASES,
    times=phrases_full.TIME_PHRASES,
    relations=phrases_full.RELATION_PHRASES,
    sizes=phrases_full.SIZE_PHRASES,
    textures=phrases_full.TEXTURE_PHRASES,
    kinds=phrases_full.KIND_PHRASES,
    plurals=phrases_full.PLURALS,
    near=phrases_full.NEAR,
    weathers=phrases_full.WEATHER_PHRASES,
    weather_places=phrases_full.WEATHER_PLACES,
    style_nouns=phrases_full.STYLE_NOUNS,
    style_remarks=phrases_full.STYLE_REMARKS,
)
PHRASINGS: Final[Mapping[str, Phrasing]] = {
    SMALL.name: Phrasing(
        settings=phrases.SETTING_PHRASES,
        times=phrases.TIME_PHRASES,
        relations=phrases.RELATION_PHRASES,
        sizes=phrases.SIZE_PHRASES,
        textures=phrases.TEXTURE_PHRASES,
        kinds=phrases.KIND_PHRASES,
        plurals=phrases.PLURALS,
        near=phrases.NEAR,
    ),
    FULL.name: _FULL,
    SPELLING.name: replace(
        _FULL,
        kinds={**_FULL.kinds, **{kind: (f"capital {letter}",) for kind, letter in LETTERS.items()}},
        plurals={
            **_FULL.plurals,
            **{kind: f"letters {letter}" for kind, letter in LETTERS.items()},
            **{f"capital {letter}": f"capitals {letter}" for letter in LETTERS.values()},
        },
    ),
}


def phrasing_of(world: World | str) -> Phrasing:
    """The phrases of a world."""
    return PHRASINGS[world if isinstance(world, str) else world.name]
