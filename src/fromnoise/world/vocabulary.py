"""All words that can be drawn, as data. A new word is a row here (and, for a thing, a drawing in `things/`).

The order of a table is the numbering of label maps: new words go to its end. Which of the words a model
learns is a `World`, see `worlds`.
"""

from dataclasses import dataclass
from typing import Final, Literal

Place = Literal["sky", "ground", "any"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A thing that can be drawn: where it may be, and the colours it has when nobody names one.

    `usual` is empty for what has colours of its own, which nobody names (a rainbow)
    """

    place: Place
    usual: tuple[str, ...]
    aspect: float = 1.0  # width / height of its outline, for placing without overlap
    flips: bool = True  # does it stay what it is, seen in a mirror?


LETTERS: Final = {f"letter {letter}": letter for letter in "abcdefghijklmnopqrstuvwxyz"}
WIDTHS: Final = {"i": 0.5, "j": 0.65, "m": 0.95, "o": 0.85, "q": 0.85, "w": 1.15}  # of letters; else WIDTH
WIDTH: Final = 0.74

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
    "hill": Kind("ground", ("green", "brown"), aspect=1.9),
    "pine": Kind("ground", ("green", "teal"), aspect=0.65),
    "rainbow": Kind("sky", (), aspect=1.8),
    "snail": Kind("ground", ("brown", "orange", "pink"), aspect=1.4),
    "butterfly": Kind("any", ("orange", "blue", "purple", "pink"), aspect=1.25),
    "penguin": Kind("ground", ("black", "blue"), aspect=0.8),
    "owl": Kind("ground", ("brown", "purple", "teal"), aspect=0.8),
    "cake": Kind("ground", ("pink", "brown", "white")),
    "lantern": Kind("ground", ("red", "gold", "black"), aspect=0.65),
    "ring": Kind("any", ("gold", "red", "teal")),
    "cone": Kind("ground", ("orange", "red", "yellow"), aspect=0.9),
    "diamond": Kind("any", ("blue", "teal", "white"), aspect=1.15),
    "crescent": Kind("any", ("yellow", "gold"), aspect=0.85),
    **{
        kind: Kind("any", ("red", "blue", "green"), aspect=WIDTHS.get(letter, WIDTH), flips=False)
        for kind, letter in LETTERS.items()
    },
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
    "teal",
)
SETTINGS: Final = (
    "sea",
    "beach",
    "island",
    "meadow",
    "forest",
    "desert",
    "snow",
    "space",
    "paper",
    "city",
    "garden",
)
TIMES: Final = ("day", "sunset", "night", "sunrise")
TIMELESS: Final = ("space", "paper")  # settings in which neither time of day nor weather shows
WEATHERS: Final = ("", "clear", "foggy", "rainy", "snowy", "starry")  # "": as it comes, which nobody names
SIZES: Final = ("tiny", "small", "", "big")
TEXTURES: Final = ("plain", "striped", "spotted", "checkered", "glossy", "glowing")
STYLES: Final = ("", "flat", "watercolour", "paper-cut", "chalk", "neon", "pixel")  # "": the usual look
COUNTS: Final = ("one", "two", "three", "four", "five")
RELATIONS: Final = ("left of", "right of", "above", "below", "on top of", "in front of", "behind", "inside")
