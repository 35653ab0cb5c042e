"""How each thing looks: one short drawing per kind, painted back to front (coordinates: see `Brush`)."""

from collections.abc import Callable
from functools import partial
from typing import Final

from fromnoise.world.paint import Brush
from fromnoise.world.things import creatures, critters, letters, made, nature, shapes
from fromnoise.world.vocabulary import LETTERS, THINGS

Drawing = Callable[[Brush], None]

DRAW: Final[dict[str, Drawing]] = {
    "sun": nature.sun,
    "moon": nature.moon,
    "cloud": nature.cloud,
    "mountain": nature.mountain,
    "tree": nature.tree,
    "flower": nature.flower,
    "mushroom": nature.mushroom,
    "cactus": nature.cactus,
    "cat": creatures.cat,
    "fish": creatures.fish,
    "bird": creatures.bird,
    "whale": creatures.whale,
    "ghost": creatures.ghost,
    "house": made.house,
    "castle": made.castle,
    "lighthouse": made.lighthouse,
    "boat": made.boat,
    "car": made.car,
    "rocket": made.rocket,
    "balloon": made.balloon,
    "umbrella": made.umbrella,
    "robot": made.robot,
    "ball": shapes.ball,
    "box": shapes.box,
    "star": shapes.star,
    "heart": shapes.heart,
    "hill": nature.hill,
    "pine": nature.pine,
    "rainbow": nature.rainbow,
    "snail": critters.snail,
    "butterfly": critters.butterfly,
    "penguin": critters.penguin,
    "owl": critters.owl,
    "cake": made.cake,
    "lantern": made.lantern,
    "ring": shapes.ring,
    "cone": shapes.cone,
    "diamond": shapes.diamond,
    "crescent": shapes.crescent,
    **{kind: partial(letters.draw, letter, THINGS[kind].aspect) for kind, letter in LETTERS.items()},
}
