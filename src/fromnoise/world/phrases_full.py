"""What the full world says that the small one does not, as data: the first phrasing is the plain one."""

from typing import Final

from fromnoise.world import phrases as small

SETTING_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    **small.SETTING_PHRASES,
    "city": ("in a city", "in the city", "in a town", "in the streets"),
    "garden": ("in a garden", "in the garden", "on a lawn", "in the back garden"),
}
TIME_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    **small.TIME_PHRASES,
    "sunrise": ("at sunrise", "at dawn", "in the morning sun", "early in the morning"),
}
WEATHER_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "foggy": ("in the fog", "in thick fog", "in the mist"),
    "rainy": ("in the rain", "while it rains", "in pouring rain"),
    "snowy": ("in falling snow", "while it snows", "in a snowfall"),
    "starry": ("under a starry sky", "under a sky full of stars", "beneath a starry sky"),
}
WEATHER_PLACES: Final[dict[str, str]] = {  # a setting and its weather in one phrase
    "sea": "on a {} sea",
    "beach": "on a {} beach",
    "island": "on a {} island",
    "meadow": "in a {} meadow",
    "forest": "in a {} forest",
    "desert": "in a {} desert",
    "city": "in a {} city",
    "garden": "in a {} garden",
}
RELATION_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    **small.RELATION_PHRASES,
    "inside": ("inside", "within", "inside of"),
}
SIZE_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "tiny": ("tiny", "very small", "teeny"),
    "small": ("small", "little"),
    "big": ("big", "large", "huge"),
}
TEXTURE_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    **small.TEXTURE_PHRASES,
    "checkered": ("checkered", "chequered"),
    "glossy": ("glossy", "shiny"),
    "glowing": ("glowing", "shining"),
}
KIND_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    **small.KIND_PHRASES,
    "pine": ("fir", "pine tree"),
    "moon": ("full moon",),
    "lantern": ("lamp",),
    "diamond": ("gem",),
}
# How a style is said: as a thing ("... of a cat"), and as a remark ("a cat, ...").
STYLE_NOUNS: Final[dict[str, tuple[str, ...]]] = {
    "flat": ("a flat drawing", "a flat picture", "a flat illustration"),
    "watercolour": ("a watercolour", "a watercolour painting", "a watercolor"),
    "paper-cut": ("a paper cut-out", "a paper cut-out picture", "a papercut"),
    "chalk": ("a chalk drawing", "a chalk picture"),
    "neon": ("a neon picture", "a neon sign", "a neon drawing"),
    "pixel": ("a pixel art picture", "a pixel picture"),
}
STYLE_REMARKS: Final[dict[str, tuple[str, ...]]] = {
    "flat": ("flat style", "in a flat style"),
    "watercolour": ("watercolour", "in watercolour", "watercolor"),
    "paper-cut": ("paper cut-out", "as a paper cut-out", "cut out of paper"),
    "chalk": ("chalk", "in chalk", "chalk on a blackboard"),
    "neon": ("neon", "in neon", "neon lights"),
    "pixel": ("pixel art", "in pixels", "as pixel art"),
}
# {scene} is a caption of slots alone. Some are for tests only (H6); the first never is.
STYLE_TEMPLATES: Final = (
    "{noun} of {scene}",
    "{scene}, {remark}",
    "{remark}: {scene}",
    "{remark}, {scene}",
    "{scene} as {noun}",
    "{noun} showing {scene}",
    "{noun}: {scene}",
    "{noun} that shows {scene}",
)
PLURALS: Final = {**small.PLURALS, "butterfly": "butterflies"}
NEAR: Final[dict[str, str]] = {
    **small.NEAR,
    "garden": "park yard orchard backyard",
    "city": "street road urban metropolis",
    "sunrise": "daybreak morning",
    "foggy": "mist hazy haze",
    "rainy": "raining storm stormy drizzle",
    "snowy": "snowing blizzard",
    "starry": "stars constellation",
    "tiny": "miniature mini wee",
    "glossy": "polished lacquered",
    "glowing": "bright luminous lit",
    "pine": "spruce conifer",
    "owl": "owlet",
    "cake": "pie cupcake gateau",
    "lantern": "torch light",
    "ring": "hoop torus donut",
    "cone": "pyramid",
    "diamond": "jewel crystal",
    "hill": "mound knoll",
    "teal": "turquoise cyan aqua",
    "watercolour": "aquarelle painting",
    "pixel": "pixelated retro",
    "chalk": "blackboard chalkboard crayon",
    "paper-cut": "collage",
    "inside": "into",
}
