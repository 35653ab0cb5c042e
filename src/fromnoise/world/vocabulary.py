"""The words of the world, as data. A new word is a row here (and, for a thing, a drawing in `things/`)."""

from dataclasses import dataclass
from typing import Final, Literal

Place = Literal["sky", "ground", "any"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A thing that can be drawn: where it may be, and the colours it has when nobody names one."""

    place: Place
    usual: tuple[str, ...]
    aspect: float = 1.0  # width / height of its outline, for placing without overlap
    core: bool = True  # in the subset that the embedded model learns on CPU hours


THINGS: Final[dict[str, Kind]] = {
    "sun": Kind("sky", ("yellow", "orange")),
    "moon": Kind("sky", ("white", "yellow")),
    "cloud": Kind("sky", ("white", "pink"), aspect=1.7),
    "mountain": Kind("ground", ("purple", "brown", "blue"), aspect=1.6),
    "tree": Kind("ground", ("green", "orange"), aspect=0.8),
    "flower": Kind("ground", ("red", "pink", "yellow", "white", "purple"), aspect=0.7),
    "mushroom": Kind("ground", ("red", "brown")),
    "cactus": Kind("ground", ("green",), aspect=0.8),
    "cat": Kind("ground", ("orange", "black", "white", "brown"), aspect=0.8),
    "fish": Kind("any", ("orange", "blue", "gold"), aspect=1.6),
    "bird": Kind("any", ("blue", "red", "yellow", "white"), aspect=1.2),
    "whale": Kind("ground", ("blue", "purple"), aspect=1.6),
    "house": Kind("ground", ("white", "red", "brown", "yellow")),
    "castle": Kind("ground", ("white", "brown", "purple"), aspect=1.1),
    "lighthouse": Kind("ground", ("red", "white"), aspect=0.45),
    "boat": Kind("ground", ("red", "white", "blue", "brown"), aspect=1.1),
    "car": Kind("ground", ("red", "blue", "yellow", "white"), aspect=1.7),
    "rocket": Kind("any", ("white", "red"), aspect=0.55),
    "balloon": Kind("any", ("red", "yellow", "pink", "blue"), aspect=0.7),
    "umbrella": Kind("any", ("red", "yellow", "purple", "black")),
    "robot": Kind("ground", ("blue", "white", "gold"), aspect=0.8),
    "ghost": Kind("any", ("white",), aspect=0.8),
    "ball": Kind("any", ("red", "blue", "yellow", "green")),
    "box": Kind("ground", ("brown", "red", "blue")),
    "star": Kind("any", ("yellow", "gold", "white")),
    "heart": Kind("any", ("red", "pink")),
}

COLOURS: Final = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "gold",
)
SETTINGS: Final = ("sea", "beach", "island", "meadow", "forest", "desert", "snow", "space", "paper")
TIMES: Final = ("day", "sunset", "night")
TIMELESS: Final = ("space", "paper")  # settings in which no time of day shows
SIZES: Final = ("small", "", "big")
TEXTURES: Final = ("plain", "striped", "spotted")
STYLES: Final = ("flat",)
COUNTS: Final = ("one", "two", "three", "four", "five")
RELATIONS: Final = ("left of", "right of", "above", "below", "on top of", "in front of")
