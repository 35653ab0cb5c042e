"""How the words of the world are said in English, as data: the first phrasing is the plain one."""

from typing import Final

# Settings and times: whole phrases; the bare words of `vocabulary` are said in tag lists.
SETTING_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "sea": ("in the sea", "at sea", "on the sea", "in the ocean"),
    "beach": ("on a beach", "on the beach", "at the beach", "on a sandy beach"),
    "island": ("on an island", "on a lonely island"),
    "meadow": ("in a meadow", "on a green meadow", "in the meadow", "in a field"),
    "forest": ("in a forest", "in the forest", "in the woods"),
    "desert": ("in the desert", "in a desert", "in a sandy desert"),
    "snow": ("in the snow", "in a snowy landscape", "on snow", "in winter"),
    "space": ("in space", "among the stars", "in outer space", "floating in space"),
    "paper": ("on paper", "on a plain background", "on a sheet of paper", "on a blank page"),
}
TIME_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "day": ("by day", "on a sunny day", "in daylight", "during the day"),
    "sunset": ("at sunset", "in the evening sun", "at dusk", "in the light of sunset"),
    "night": ("at night", "under a night sky", "by night", "in the dark of night"),
}

RELATION_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "left of": ("to the left of", "left of", "on the left of"),
    "right of": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over", "high above"),
    "below": ("below", "under", "beneath"),
    "on top of": ("on top of", "sitting on", "standing on"),
    "in front of": ("in front of",),
    "behind": ("behind",),
}
INVERSE: Final = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
INVERSE_SAID: Final = INVERSE | {"in front of": "behind"}
BESIDE: Final = ("next to", "beside", "by the side of")  # left or right: less said, still true
AND: Final = ("and", "with", "together with")
ALSO: Final = (", with", ", and")  # after a relation

SIZE_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "small": ("small", "little", "tiny"),
    "big": ("big", "large", "huge"),
}
TEXTURE_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "striped": ("striped", "stripy"),
    "spotted": ("spotted", "dotted"),
}
KIND_PHRASES: Final[dict[str, tuple[str, ...]]] = {  # other names of a thing
    "ball": ("sphere",),
    "box": ("cube", "crate"),
    "boat": ("sailboat",),
    "balloon": ("air balloon",),
}
PLURALS: Final = {"fish": "fish", "cactus": "cacti", "box": "boxes"}  # all others: + s
NUMERALS: Final = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}

# {things}, {place} and {time} in any order; a caption uses the templates with exactly its slots, of which the
# first is the plain one. Some of the others are for tests only (H6).
TEMPLATES: Final = (
    "{things}",
    "a picture of {things}",
    "a drawing of {things}",
    "an image of {things}",
    "a painting of {things}",
    "{things} in a picture",
    "here is {things}",
    "this picture shows {things}",
    "{things} {place}",
    "{place}, {things}",
    "{things}, {place}",
    "a picture of {things} {place}",
    "a drawing of {things} {place}",
    "an image of {things} {place}",
    "a painting of {things}, {place}",
    "{place} you see {things}",
    "this picture shows {things} {place}",
    "a scene {place} with {things}",
    "{things} {time}",
    "{time}, {things}",
    "{things}, {time}",
    "a picture of {things} {time}",
    "a drawing of {things}, {time}",
    "an image of {things} {time}",
    "a painting of {things} {time}",
    "{time} you see {things}",
    "this picture shows {things} {time}",
    "{things} {place} {time}",
    "{things} {time} {place}",
    "{things}, {place}, {time}",
    "{time}, {things} {place}",
    "{place} {time}, {things}",
    "{place}, {things} {time}",
    "a picture of {things} {place} {time}",
    "a drawing of {things} {place} {time}",
    "an image of {things} {place}, {time}",
    "a painting of {things} {place} {time}",
    "{time} {place}, {things}",
    "{place} you see {things} {time}",
    "this picture shows {things} {place} {time}",
    "a scene {place} {time} with {things}",
    "a picture of {things} {time}, {place}",
)

# The world's word -> words people may write that the world does not know, and which come nearest to it.
NEAR: Final[dict[str, str]] = {
    "sea": "ocean water lake river waves underwater",
    "beach": "shore coast sand",
    "island": "isle",
    "meadow": "field grass hill garden park",
    "forest": "woods jungle wood",
    "desert": "dunes sahara",
    "snow": "winter ice arctic",
    "space": "galaxy universe cosmos",
    "sunset": "dusk evening sundown twilight dawn sunrise",
    "day": "daylight daytime morning noon",
    "night": "dark darkness midnight",
    "cat": "kitten kitty dog puppy tiger lion",
    "boat": "ship yacht vessel",
    "rocket": "plane airplane spaceship spacecraft",
    "house": "home cottage hut cabin building",
    "castle": "palace fortress",
    "lighthouse": "tower beacon",
    "car": "truck bus automobile",
    "robot": "android",
    "umbrella": "parasol",
    "ghost": "spirit",
    "fish": "shark",
    "whale": "dolphin orca",
    "bird": "eagle parrot duck owl",
    "flower": "rose tulip blossom",
    "tree": "pine oak palm",
    "mushroom": "toadstool",
    "mountain": "peak volcano",
    "ball": "football planet orb",
    "box": "chest",
    "heart": "love",
    "red": "crimson scarlet ruby maroon",
    "blue": "azure navy teal turquoise cyan",
    "purple": "violet lilac",
    "pink": "magenta rosy",
    "brown": "beige tan",
    "gold": "golden",
    "white": "silver",
    "black": "grey gray",
    "green": "lime emerald",
    "orange": "amber",
    "big": "enormous giant gigantic",
    "small": "miniature mini",
    "three": "several",
    "two": "couple",
    "four": "many",
    "below": "underneath",
    "on": "atop",
    "beside": "near",
    "paper": "page background sheet",
}
