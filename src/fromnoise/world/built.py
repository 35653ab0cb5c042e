"""The places that people made, city and garden; like `settings`, with nothing that looks like a thing."""

from math import pi

import torch
from torch import Tensor

from fromnoise.world import palette
from fromnoise.world.backdrop import Backdrop, mix
from fromnoise.world.layout import LAYOUTS

WINDOW = "#ffd97a"


def city(b: Backdrop) -> None:
    """Two rows of flat-roofed towers across a street, their windows lit when it is dark."""
    horizon = LAYOUTS["city"].horizon
    b.sky(horizon)
    pavement, street, near, far = b.pick(palette.CITIES)
    towers(b, horizon + 0.01, 0.24, 0.36, 9, b.lit(far, 0.45), b.lit(far, 0.25), 0.5)
    towers(b, horizon + 0.03, 0.10, 0.24, 6, b.lit(near, 0.12), b.lit(near), 0.9)
    b.land(line(b, horizon + 0.02), b.lit(pavement, bright=0.1), b.lit(pavement, 0.15, bright=0.1), 0.05)
    b.land(line(b, horizon + 0.055), b.lit(street, bright=0.08), b.lit(mix(street, pavement, 0.3)), 0.12)
    dashes(b, 0.775, b.lit(mix(pavement, pavement.new_ones(1), 0.6), bright=0.2))
    b.land(line(b, 0.80), b.lit(mix(pavement, street, 0.5)), b.lit(street * 0.8), 0.012)
    b.land(line(b, 0.812), b.lit(pavement, bright=0.12), b.lit(pavement, 0.1, bright=0.2), 0.16)


def line(b: Backdrop, y: float) -> Tensor:
    """A level line.  Shapes: (B, 1, W)"""
    return torch.full_like(b.x, y).expand(b.count, 1, b.size)


def towers(
    b: Backdrop, foot: float, low: float, high: float, count: int, top: Tensor, base: Tensor, lights: float
) -> None:
    """A row of blocks of many heights with windows in rows; `lights`: how bright those are by night."""
    heights = b.dice.between(low, high, count + 2)
    place = b.x[0] * count + b.dice.roll()
    which = torch.floor(place)
    roof = foot - torch.gather(heights, 1, which.long().clamp(0, count + 1))[:, None]
    side = (place - which)[:, None] - 0.5  # across one tower, -0.5 .. 0.5
    gap = (0.5 - side.abs()) / count * b.size  # pixels to the tower's edge
    inside = ((b.y - roof) * b.size + 0.5).clamp(0, 1) * (gap + 0.5).clamp(0, 1)
    shade = ((b.y - foot + high) / high).clamp(0, 1)[:, None]
    b.lay(inside * (b.y < foot + 0.06), mix(top, base, shade) * (1 - 0.07 * (side > 0.12)[:, None]))
    columns, rows = 3, 0.045
    across, down = side * columns * 1.25, (b.y - roof) / rows - 0.35
    spot = torch.floor(across + columns) + 7 * torch.floor(down) + 31 * which[:, None]
    lit = (torch.sin(spot * 12.9898 + 6 * b.dice.roll()[..., None]) * 43758.5).frac().abs()
    middle_x, middle_y = across - torch.floor(across) - 0.5, down - torch.floor(down) - 0.5
    wide, tall = b.size / (count * columns * 1.25), rows * b.size  # pixels a cell
    pane = ((0.24 - middle_x.abs()) * wide + 0.5).clamp(0, 1) * ((0.27 - middle_y.abs()) * tall + 0.5).clamp(
        0, 1
    )
    pane = pane * inside * (down > 0) * (side.abs() < 0.4)
    dark, gold = b.light.night[..., None], b.rgb.new_tensor(palette.rgb(WINDOW)).view(1, 3, 1, 1)
    glass = mix(b.light.low, b.light.middle, 0.5)
    b.lay(pane * (1 - dark) * 0.35, mix(glass, glass.new_ones(1), 0.3))
    b.lay(pane * (lit > 0.35) * lights * (dark + 0.45 * b.light.sunset[..., None]), gold)


def dashes(b: Backdrop, y: float, colour: Tensor) -> None:
    """The middle line of a street."""
    place = torch.remainder(b.x[0] * 5 + b.dice.roll(), 1)[:, None]
    along = ((0.25 - (place - 0.5).abs()) * b.size / 5 + 0.5).clamp(0, 1)
    b.lay(along * ((0.007 - (b.y - y).abs()) * b.size + 0.5).clamp(0, 1) * 0.8, colour)


def garden(b: Backdrop) -> None:
    """A lawn before a white picket fence and a clipped hedge, with beds of soft blossoms."""
    horizon = LAYOUTS["garden"].horizon
    b.sky(horizon)
    lawn, lawn_far, hedge, hedge_top = b.pick(palette.GARDENS)
    b.land(b.ridge(horizon - 0.10, 0.016, 1.4), b.lit(hedge_top, 0.35), b.lit(hedge_top, 0.55), 0.1)
    bumps = 0.010 * torch.sin(2 * pi * (b.x[0] * 9 + b.dice.roll()))[:, None]
    b.land(line(b, horizon - 0.03) - bumps.abs(), b.lit(hedge), b.lit(hedge_top, 0.1), 0.07)
    fence(b, horizon + 0.01, 0.10, b.lit(b.rgb.new_tensor([0.98, 0.96, 0.92]).view(1, 3, 1, 1), bright=0.15))
    b.land(
        b.ridge(horizon + 0.095, 0.006, 1.0, 2),
        b.lit(lawn, bright=0.12),
        b.lit(lawn_far, 0.1, bright=0.12),
        0.2,
    )
    stripes = torch.sin(2 * pi * (b.x - 0.5) / (0.12 + 0.35 * (b.y - horizon).clamp_min(0)))
    mown = (stripes * 3).clamp(-1, 1) * 0.5 + 0.5
    b.lay((mown * 0.14 * (b.y > horizon + 0.11)).expand(b.count, -1, -1), b.lit(lawn_far), horizon + 0.1)
    bed(b, horizon + 0.11)


def fence(b: Backdrop, top: float, high: float, colour: Tensor) -> None:
    """Pickets with pointed tops, and two rails."""
    count = 15
    side = torch.remainder(b.x * count, 1) - 0.5
    point = top + 0.02 * (side.abs() / 0.3).clamp(0, 1)
    picket = ((0.3 - side.abs()) / count * b.size + 0.5).clamp(0, 1) * ((b.y - point) * b.size + 0.5).clamp(
        0, 1
    )
    rails = [((0.008 - (b.y - top - k * high).abs()) * b.size + 0.5).clamp(0, 1) for k in (0.35, 0.75)]
    shown = torch.maximum(picket, torch.maximum(*rails).expand_as(picket)) * (b.y < top + high + 0.02)
    b.lay(shown.expand(b.count, -1, -1), colour)
    b.lay((picket * (side > 0.1) * 0.12).expand(b.count, -1, -1) * (b.y < top + high + 0.02), colour * 0.7)


def bed(b: Backdrop, y: float, count: int = 46) -> None:
    """Green tufts at the foot of the fence, with soft blossoms of two colours."""
    x, row = b.dice.roll(count), b.dice.roll(count)
    wide = 0.007 + 0.006 * row
    strength = b.dice.between(0.5, 0.95, count)
    green = b.lit(b.pick(palette.GARDENS)[2])
    b.lay(b.spots(x, y - 0.006 + 0.02 * row, wide * 2.0, wide * 1.2, strength).clamp(0, 0.85), green)
    for first in (0, 1):
        chosen = slice(first, None, 2)
        petals = b.lit(b.pick(tuple((code,) for code in palette.BEDS))[0], bright=0.25)
        at = y - 0.016 + 0.02 * row[:, chosen]
        small = wide[:, chosen] * 0.75
        b.lay(b.spots(x[:, chosen], at, small, small, strength[:, chosen]).clamp(0, 0.95), petals)
