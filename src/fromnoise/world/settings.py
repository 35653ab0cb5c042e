"""The places of the world. Each paints its own backdrop; nothing in it may be mistaken for a thing.

City and garden are in `built`.
Letters: see `Backdrop`. `PAINT[name](backdrop)` fills `backdrop.rgb`.
"""

from collections.abc import Callable
from functools import partial
from math import pi
from typing import Final

import torch
from torch import Tensor

from fromnoise.world import palette
from fromnoise.world.backdrop import Backdrop, mix
from fromnoise.world.built import city, garden
from fromnoise.world.layout import LAYOUTS


def sea(b: Backdrop) -> None:
    """Open water under a wide sky."""
    horizon = LAYOUTS["sea"].horizon
    b.sky(horizon)
    b.water(horizon, 1.0)


def beach(b: Backdrop) -> None:
    """Sand in front, a band of sea, a line of foam between."""
    horizon = LAYOUTS["beach"].horizon
    b.sky(horizon)
    b.water(horizon, 0.80, glints=24)
    near, far, wet = (b.lit(c, bright=0.22) for c in b.pick(palette.SANDS))
    shore = b.ridge(0.725, 0.012, 1.3, octaves=2)
    foam = mix(b.light.low, b.rgb.new_ones(1), 0.6)
    b.land(shore - 0.014, foam, foam, 0.1)
    b.land(shore, mix(wet, far, 0.35), wet, 0.03)
    b.land(shore + b.ridge(0.035, 0.006, 1.7, octaves=2), near, far, 0.26)
    drifts(b, 0.80, mix(near, wet, 0.6))


def island(b: Backdrop) -> None:
    """A green island with a rim of sand, alone in the sea."""
    horizon = LAYOUTS["island"].horizon
    b.sky(horizon)
    b.water(horizon, 1.0, glints=30)
    sand_near, sand_far, _ = (b.lit(c, bright=0.22) for c in b.pick(palette.SANDS))
    grass_near, grass_far = (b.lit(c) for c in b.pick(palette.GRASSES))
    wobble = b.ridge(0.0, 0.004, 2.0, octaves=2)
    foam = mix(b.light.low, b.rgb.new_ones(1), 0.5)
    mound(b, 0.868 + wobble, 0.50, 0.066, b.light.water, b.light.water, 0.55)
    mound(b, 0.858 + wobble, 0.475, 0.064, foam, foam, 0.75)
    mound(b, 0.852 + wobble, 0.46, 0.062, sand_far, sand_near)
    mound(b, 0.812 + wobble, 0.40, 0.074, grass_far, grass_near)


def mound(
    b: Backdrop, y: Tensor, wide: float, high: float, far: Tensor, near: Tensor, opacity: float = 1.0
) -> None:
    """A flat ellipse of land, wider than it is high."""
    across = ((b.x - 0.5) / wide).abs() ** 2.6  # fuller than an ellipse: room to stand
    half = high * (1 - across).clamp_min(0).sqrt()
    depth = torch.minimum(b.y - y + half, y + half * 0.6 - b.y)
    t = ((b.y - y + high) / (2 * high)).clamp(0, 1)[:, None]
    b.lay((depth * b.size + 0.5).clamp(0, 1) * (half > 0) * opacity, mix(far, near, t), 0.5)


def meadow(b: Backdrop) -> None:
    """Rolling green hills with small soft blossoms."""
    horizon = LAYOUTS["meadow"].horizon
    b.sky(horizon)
    near, near_top, middle, far = b.pick(palette.MEADOWS)
    b.land(b.ridge(horizon - 0.05, 0.030, 1.3), b.lit(far, 0.25), b.lit(far, 0.55), 0.12)
    b.land(b.ridge(horizon + 0.01, 0.026, 1.1), b.lit(middle, 0.05), b.lit(middle, 0.30), 0.12)
    b.land(
        b.ridge(horizon + 0.08, 0.018, 0.9, 2),
        b.lit(near, bright=0.12),
        b.lit(near_top, 0.08, bright=0.12),
        0.26,
    )
    blossoms(b, 0.76)


def blossoms(b: Backdrop, top: float, count: int = 34) -> None:
    """Small soft spots of colour in the grass, larger towards the viewer."""
    near = b.dice.roll(count)
    x, y = b.dice.roll(count), top + 0.02 + (0.98 - top) * near
    wide = 0.004 + 0.005 * near
    strength = b.dice.between(-0.3, 0.85, count).clamp_min(0)
    colour = b.lit(b.pick(tuple((code,) for code in palette.BLOSSOMS))[0])
    b.lay(b.spots(x, y, wide, wide * 0.8, strength).clamp(0, 0.85), mix(colour, colour.new_ones(1), 0.2), top)


def forest(b: Backdrop) -> None:
    """Rows of dark firs in the mist."""
    b.sky(0.60)
    ground, near, middle, far = b.pick(palette.FORESTS)
    b.land(firs(b, 0.48, 0.13, 14), b.lit(far, 0.55), b.lit(far, 0.20), 0.20, level=0.36, steep=3)
    b.land(firs(b, 0.57, 0.17, 10), b.lit(middle, 0.40), b.lit(middle), 0.22, level=0.44, steep=3)
    b.land(firs(b, 0.67, 0.21, 7), b.lit(near, 0.25), b.lit(near), 0.22, level=0.52, steep=3)
    b.land(
        b.ridge(0.70, 0.010, 1.2, 2), b.lit(ground, bright=0.12), b.lit(mix(ground, near, 0.45), 0.1), 0.18
    )
    drifts(b, 0.76, b.lit(mix(ground, near, 0.5)))


def firs(b: Backdrop, base: float, height: float, count: float) -> Tensor:
    """The outline of a row of pointed trees, grown together.  Shapes: (B, 1, W)"""
    place = b.x[0] * count * b.dice.between(0.9, 1.1) + 8 * b.dice.roll()
    place = place + 0.22 * torch.sin(place * 2.4)
    which = torch.floor(place)
    side = (2 * (place - which) - 1).abs()
    tall = 0.72 + 0.28 * torch.sin(which * 2.4 + 6 * b.dice.roll())
    tall = tall + 0.15 * torch.sin(2 * pi * (b.x[0] + b.dice.roll()))
    boughs = 0.035 * torch.sin(26 * side) * side
    return base - (height * tall * ((1 - side) ** 1.1 + boughs))[:, None]


def desert(b: Backdrop) -> None:
    """Dunes: one side of each crest in the light, the other in its own shadow."""
    horizon = LAYOUTS["desert"].horizon
    b.sky(horizon)
    near, crest, shade, far = b.pick(palette.DESERTS)
    lit = partial(b.lit, bright=0.18)
    b.land(b.ridge(horizon - 0.03, 0.022, 1.5, 2), b.lit(far, 0.2), b.lit(far, 0.5), 0.10)
    dune(b, horizon + 0.03, 0.040, 1.2, lit(mix(near, far, 0.4), 0.1), lit(crest, 0.25), lit(shade, 0.2))
    dune(b, horizon + 0.11, 0.042, 0.8, lit(near), lit(crest, 0.05), lit(shade))


def dune(
    b: Backdrop, base: float, height: float, waves: float, sand: Tensor, lit: Tensor, dark: Tensor
) -> None:
    """One row of dunes."""
    turn = 2 * pi * (b.x[0] * waves * b.dice.between(0.8, 1.2) + b.dice.roll())
    line = base - height * torch.sin(turn + 0.6 * torch.sin(turn))[:, None]  # leaning: gentle up, steep down
    b.land(line, sand, lit, 0.14)
    depth = b.y - line
    lee = (-torch.cos(turn + 0.9)).clamp(0, 1)[:, None]
    fades = (1 - depth / (0.02 + 0.13 * lee)).clamp(0, 1)
    b.lay((depth * b.size + 0.5).clamp(0, 1) * lee * fades * 0.75, dark, base - height - 0.02)


def snow(b: Backdrop) -> None:
    """A snowfield with blue shadows."""
    horizon = LAYOUTS["snow"].horizon
    b.sky(horizon)
    near, bright, shade, far = (b.lit(c, bright=0.3) for c in b.pick(palette.SNOWS))
    b.land(b.ridge(horizon - 0.05, 0.034, 1.6), mix(far, b.light.low, 0.2), mix(far, b.light.low, 0.5), 0.14)
    b.land(b.ridge(horizon + 0.02, 0.022, 1.0, 2), shade, mix(bright, b.light.low, 0.2), 0.13)
    b.land(b.ridge(horizon + 0.09, 0.020, 0.8, 2), near, bright, 0.20)
    drifts(b, 0.76, shade)


def drifts(b: Backdrop, top: float, colour: Tensor, count: int = 9) -> None:
    """Wide soft hollows in level ground."""
    near = b.dice.roll(count)
    y = top + 0.03 + (0.97 - top) * near
    shown = b.spots(
        b.dice.roll(count),
        y,
        b.dice.between(0.06, 0.16, count),
        0.006 + 0.010 * near,
        b.dice.between(0.0, 0.6, count),
    )
    b.lay(shown.clamp(0, 0.6), colour, top)


def space(b: Backdrop) -> None:
    """Far stars and a glowing nebula; no ground."""
    top, bottom, *clouds = b.pick(palette.SPACES)
    b.gradient((0.0, top), (1.0, bottom))
    for cloud in clouds:
        x, y = b.dice.between(-0.1, 1.1, 4), b.dice.between(-0.1, 1.1, 4)
        wide, high = b.dice.between(0.12, 0.32, 4), b.dice.between(0.06, 0.16, 4)
        b.lay(b.spots(x, y, wide, high, b.dice.between(0.15, 0.42, 4)).clamp(0, 0.6), cloud)
    bright = b.dice.roll(90) ** 4
    wide = 0.003 + 0.004 * bright
    stars = b.spots(b.dice.roll(90), b.dice.roll(90), wide, wide, 0.25 + 0.75 * bright)
    b.lay(stars.clamp(0, 0.95), b.rgb.new_tensor([1.0, 0.97, 0.90]).view(3, 1, 1))


def paper(b: Backdrop) -> None:
    """A clean sheet, a little darker towards its corners."""
    (sheet,) = b.pick(tuple((code,) for code in palette.PAPERS))
    b.gradient((0.0, mix(sheet, sheet.new_ones(1), 0.25)), (1.0, sheet))
    corner = ((b.x - 0.5) ** 2 + (b.y - 0.5) ** 2) * 0.30
    b.lay(corner.expand(b.count, -1, -1), sheet * sheet.new_tensor([0.74, 0.66, 0.60]).view(3, 1, 1))


PAINT: Final[dict[str, Callable[[Backdrop], None]]] = {
    "sea": sea,
    "beach": beach,
    "island": island,
    "meadow": meadow,
    "forest": forest,
    "desert": desert,
    "snow": snow,
    "space": space,
    "paper": paper,
    "city": city,
    "garden": garden,
}
