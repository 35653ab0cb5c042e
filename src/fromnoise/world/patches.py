"""Things on patches of their own, cut to the frame's pixel grid, ready to be pasted."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, cos, sin
from typing import Final, cast

import torch
from torch import Tensor

from fromnoise.world.chance import Dice
from fromnoise.world.paint import CHECKERED, GLOSSY, GLOWING, SPOTTED, STRIPED, Brush
from fromnoise.world.palette import WORDS, rgb
from fromnoise.world.scene import Scene, Thing
from fromnoise.world.vocabulary import THINGS

Place = tuple[int, int]  # which scene, which of its things
Draw = Mapping[str, Callable[[Brush], None]]

MARGIN: Final = 1.12  # of a thing's box: room for glow and for outlines a little over it
STEP: Final = 16  # patch sides are multiples of this, so that many things share a batch
TRAITS: Final = 8  # random numbers that a drawing gets
STREAM: Final = 2  # of a thing's seed
PATTERNS: Final = {
    "plain": 0.0,
    "striped": STRIPED,
    "spotted": SPOTTED,
    "checkered": CHECKERED,
    "glossy": GLOSSY,
    "glowing": GLOWING,
}
RELIEF: Final = {"flat": 0.0, "paper-cut": 0.3, "chalk": 0.3, "neon": 0.4}  # of styles; 1 in all others
SHADES: Final = 0.03  # how much lighter or darker than its word a colour may be
SUNS: Final = ("sun", "moon")
NO_COLOUR: Final = "white"  # what a thing with colours of its own is painted with where it uses none of them


@dataclass(frozen=True, slots=True)
class Patch:
    """One painted thing.

    Shapes: rgb (3, S, S), premultiplied; alpha (S, S); left, top: where its first pixel lies in the frame
    """

    rgb: Tensor
    alpha: Tensor
    left: int
    top: int
    area: int  # pixels that are more than half covered


def side_of(thing: Thing, size: int) -> int:
    """The side of a thing's patch in pixels."""
    high = thing.size * size
    wide = high * THINGS[thing.kind].aspect
    c, s = abs(cos(thing.lean)), abs(sin(thing.lean))
    return ceil(max(wide * c + high * s, wide * s + high * c) * MARGIN / STEP) * STEP


def sun_of(scene: Scene) -> Thing | None:
    """The thing that lights the scene, if it is in the picture."""
    return next((t for t in scene.things if t.kind in SUNS), None)


def light_of(scene: Scene) -> tuple[float, float]:
    """The direction towards the light, (right, up), of length 1."""
    sun = sun_of(scene)
    side = 1.0 if (sun.x > 0.5 if sun else scene.seed % 2) else -1.0
    return (side * 0.8, 0.6) if scene.time in ("sunset", "sunrise") else (side * 0.6, 0.8)


def paint_things(scenes: Sequence[Scene], size: int, draw: Draw, tints: Tensor) -> dict[Place, Patch]:
    """Paint every thing of every scene; those of one kind and one patch size together.

    Shapes: tints (B, 3, 1, 1)
    """
    groups: dict[tuple[str, int], list[Place]] = defaultdict(list)
    for b, scene in enumerate(scenes):
        for i, thing in enumerate(scene.things):
            groups[thing.kind, side_of(thing, size)].append((b, i))
    patches: dict[Place, Patch] = {}
    for (kind, side), places in groups.items():
        brush, corners = ready(places, scenes, size, side, tints)
        draw[kind](brush)
        tint = tints[[b for b, _ in places]]
        colours, alphas = brush.rgb * tint, brush.alpha
        areas = cast(list[int], (alphas > 0.5).sum((1, 2)).tolist())
        for n, place in enumerate(places):
            patches[place] = Patch(colours[n], alphas[n], *corners[n], areas[n])
    return patches


def ready(
    places: Sequence[Place], scenes: Sequence[Scene], size: int, side: int, like: Tensor
) -> tuple[Brush, list[tuple[int, int]]]:
    """A brush for things of one kind, and where their patches lie."""
    things = [scenes[b].things[i] for b, i in places]
    corners = [(round(t.x * size - side / 2), round(t.y * size - side / 2)) for t in things]
    rows = [
        pose(scenes[b], thing, size, *corner)
        for (b, _), thing, corner in zip(places, things, corners, strict=True)
    ]
    field = like.new_tensor(rows).T[..., None, None]  # (17, N, 1, 1)
    u0, u_right, u_down, v0, v_right, v_down, light_u, light_v, pixel, variant, night, pattern = field[:12]
    relief, opened = field[15:]
    steps = torch.arange(side, dtype=like.dtype, device=like.device)
    right, down = steps.view(1, 1, side), steps.view(1, side, 1)
    dice = Dice([t.seed for t in things], STREAM, like.device)
    shade = 1 + SHADES * dice.between(-1, 1)[:, :, None, None]
    brush = Brush(
        u=u0 + right * u_right + down * u_down,
        v=v0 + right * v_right + down * v_down,
        pixel=pixel,
        colour=(field[12:15].transpose(0, 1) * shade).clamp(0, 1),
        jitter=dice.between(-1, 1, TRAITS).T[..., None, None],
        variant=variant,
        night=night,
        light=torch.stack([light_u, light_v]),
        pattern=pattern,
        relief=None if bool((relief == 1).all()) else relief,
        open=opened if bool(opened.any()) else None,
    )
    return brush, corners


def pose(scene: Scene, thing: Thing, size: int, left: int, top: int) -> list[float]:
    """What a brush must know of one thing, in the order that `ready` reads it."""
    c, s, turn = cos(thing.lean), sin(thing.lean), -1.0 if thing.flip else 1.0
    half = thing.size * size / 2
    x, y = (left + 0.5 - thing.x * size) / half, (thing.y * size - top - 0.5) / half
    right, up = light_of(scene)
    dark = scene.time == "night" or scene.setting == "space"
    return [
        *(turn * (x * c - y * s), turn * c / half, turn * s / half),  # u at the first pixel, its steps
        *(x * s + y * c, s / half, -c / half),  # v likewise
        *(turn * (right * c - up * s), right * s + up * c),
        *(1 / half, float(thing.variant), float(dark), PATTERNS[thing.texture]),
        *rgb(WORDS[thing.colour or NO_COLOUR]),
        *(RELIEF.get(scene.style, 1.0), float(thing.open)),
    ]
