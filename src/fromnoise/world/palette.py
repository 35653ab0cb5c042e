"""The colours of the world: what a colour word looks like, and the palettes of sky, water and land."""

from dataclasses import dataclass
from typing import Final

Rgb = tuple[float, float, float]


def rgb(code: str) -> Rgb:
    """The sRGB colour, 0..1, of "#rrggbb"."""
    return int(code[1:3], 16) / 255, int(code[3:5], 16) / 255, int(code[5:7], 16) / 255


def oklab(colour: Rgb) -> Rgb:
    """Lightness and two hue axes in which distance is what the eye sees.

    Source: B. Ottosson 2020, "A perceptual color space for image processing"
    """
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    medium = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


# Chosen so that no two lie nearer than 0.1 in OKLab, and none as near to another as to its own shades.
WORDS: Final[dict[str, str]] = {
    "red": "#dc2a2e",
    "orange": "#ff7f14",
    "yellow": "#ffe23d",
    "green": "#3fa845",
    "blue": "#2a62dc",
    "purple": "#7d3cb5",
    "pink": "#ff8fbe",
    "brown": "#7a4a2b",
    "black": "#25232c",
    "white": "#faf8f3",
    "gold": "#c4930c",
    "teal": "#12a5a2",
}


@dataclass(frozen=True, slots=True)
class Sky:
    """One hour's light: the sky from top to horizon, and what it does to the land below."""

    top: str
    middle: str
    low: str
    glow: str  # around the place where the sun is, or was
    veil: str  # thin streaks of cloud; at night the stars
    water: str  # deep water, near the viewer
    light: str  # multiplies the colours of the land
    tint: str  # multiplies the colours of things; never below 0.85, so that red stays red at night


SKIES: Final[dict[str, tuple[Sky, ...]]] = {
    "day": (
        Sky("#5fa8ea", "#94caf3", "#dcf0f8", "#fffdf0", "#ffffff", "#2b87c2", "#ffffff", "#ffffff"),
        Sky("#4fb3dc", "#92d7e9", "#e8f8f0", "#fffbe8", "#ffffff", "#1f98ab", "#fffff6", "#fffffa"),
        Sky("#7fa6ee", "#b0cdf8", "#eeeffa", "#fff8f2", "#ffffff", "#4a83cf", "#fdfdff", "#fdfdff"),
        Sky("#64b2e8", "#a9d9f0", "#fdf4de", "#fff3cf", "#fffdf6", "#2f93b8", "#fffdf0", "#fffdf4"),
    ),
    "sunset": (
        Sky("#5a4a9c", "#e5778f", "#ffc777", "#ffe9a8", "#ffb7a1", "#5b4b8d", "#f6b29c", "#fff0e6"),
        Sky("#77549f", "#f38b76", "#ffdb94", "#fff0b8", "#ffc2a4", "#7a5290", "#fbb894", "#fff2e6"),
        Sky("#46549a", "#cd7fb0", "#ffba94", "#ffdfae", "#f7a9b6", "#495190", "#eea6a6", "#ffefea"),
        Sky("#93559f", "#fb8d72", "#ffe2a0", "#fff3c0", "#ffc9a0", "#8a5083", "#ffb586", "#fff3e4"),
    ),
    "night": (
        Sky("#17224f", "#2a3d79", "#5672ab", "#8aa3d6", "#f6f2df", "#1a2f66", "#7286c4", "#e4e7f4"),
        Sky("#1f1a4b", "#3a3278", "#6a5fa6", "#a096d6", "#f7ecdf", "#292763", "#7f7dc6", "#e6e4f4"),
        Sky("#0f2a44", "#1c4a69", "#467c95", "#86b6c4", "#eef6e6", "#123d5a", "#6a97bb", "#e2eaf2"),
        Sky("#182046", "#2d3768", "#5d6b9e", "#98a4cf", "#fbf3e3", "#1c2c58", "#7684be", "#e5e7f3"),
    ),
    "sunrise": (
        Sky("#d49fdc", "#ffb0ba", "#ffe6a0", "#fffbe4", "#fff3ec", "#7fa8cf", "#ffeadf", "#fff6f2"),
        Sky("#eaa9d2", "#ffbcae", "#ffeeb0", "#fffce6", "#ffffff", "#78b0c8", "#fff0e0", "#fff8f2"),
        Sky("#dc9cd0", "#ffb4a6", "#ffde90", "#fff8d8", "#fff0e6", "#8ea6cc", "#ffe8dc", "#fff5f0"),
    ),
}

# Land colours from near to far (or lit to shaded); each row is one look.
MEADOWS: Final = (
    ("#6fb23f", "#a5d060", "#8fc774", "#b5dba5"),
    ("#7fb547", "#b7d566", "#a4cc76", "#c6e0b0"),
    ("#57a552", "#8fca6c", "#7cbf85", "#a9d8b6"),
    ("#8fb83f", "#c9d75f", "#a9c568", "#cfe0a8"),
)
FORESTS: Final = (  # ground, trees near, middle, far
    ("#5f8a45", "#24523f", "#3c7257", "#86ae97"),
    ("#6d8a3f", "#2f5a38", "#4d7d4b", "#94b58a"),
    ("#4f7f52", "#1f4a4a", "#376c6a", "#82adab"),
)
DESERTS: Final = (
    ("#e9b46c", "#f8d795", "#d18f58", "#f0c08c"),
    ("#e3a162", "#f5c98c", "#c67e52", "#ecb288"),
    ("#efc277", "#fbe2a6", "#d89d5f", "#f3cf9a"),
)
SNOWS: Final = (
    ("#d3e2f3", "#f6fafd", "#b7cde8", "#c9d8ea"),
    ("#d9e3f4", "#fbfbff", "#bcc8e8", "#cdd3ec"),
    ("#d0e6ef", "#f4fbfc", "#aed0e0", "#c3dde6"),
)
SANDS: Final = (  # near, far, wet
    ("#f3d9a2", "#f9e8c3", "#cfae7d"),
    ("#f0d2a0", "#f8e2c2", "#c9a27a"),
    ("#f4dfb0", "#fbeed0", "#d0b488"),
)
GRASSES: Final = (("#7dbb4b", "#b0d868"), ("#63ab52", "#9ad07a"), ("#93b846", "#cbdc72"))
CITIES: Final = (  # pavement, street, towers near and far
    ("#cfc6bd", "#8f8c98", "#6d7fb3", "#a9bfe0"),
    ("#d3c3ae", "#998c8c", "#b0728a", "#d9b3bd"),
    ("#c3cac8", "#82919a", "#4f93a0", "#9fcfd2"),
    ("#d0c3b4", "#8e8a92", "#c08a5c", "#dfc39c"),
)
GARDENS: Final = (  # lawn, its far edge, hedge, its light
    ("#79b94c", "#a9d667", "#3f7f45", "#5fa257"),
    ("#6cb257", "#a0d47c", "#34775a", "#55a07a"),
    ("#8dbd4a", "#c3da6b", "#587f3a", "#86aa55"),
)
SPACES: Final = (  # top, bottom, three nebula colours
    ("#150f33", "#2a1a52", "#7a3fa0", "#2f6fb5", "#c2568f"),
    ("#0c1534", "#1b2b5c", "#2f7fa8", "#5a4fb8", "#3fb0a8"),
    ("#1c0f30", "#35184c", "#b0487f", "#6a3fa8", "#d98a5f"),
    ("#0d1a2e", "#16344f", "#2f8f92", "#3f5fb5", "#7fc2a0"),
)
PAPERS: Final = ("#f6eedd", "#f3e6d0", "#efe9e2", "#f7e9e1", "#e8eee6", "#e9edf3")
BEDS: Final = ("#ff9cc2", "#ffdf5c", "#d3a6ff", "#ffb070", "#fff4ea")
BLOSSOMS: Final = ("#fff8ea", "#ffd6e6", "#ffe9a0", "#e6d4ff")
