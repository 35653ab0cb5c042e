"""Fog, rain, snow and stars: what they do to the light, and what they lay over the picture.

Letters: B scenes of one weather, H x W pixels
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from fromnoise.world.backdrop import Backdrop, Light, mix
from fromnoise.world.paint import LUMA
from fromnoise.world.scene import Scene

FALLING: Final = 5  # a branch of the dice
# Of each weather: how grey the sky gets, how bright it stays, how much of stars and streaks is left.
SKY: Final = {
    "clear": (0.0, 1.0, 0.35),
    "starry": (0.0, 0.92, 0.6),
    "foggy": (0.32, 1.02, 0.1),
    "rainy": (0.44, 0.82, 0.0),
    "snowy": (0.28, 0.98, 0.0),
}
THROUGH_FOG: Final = 0.20  # how much of a thing the fog takes
DROPS: Final = (
    (16.0, 2.6, 0.22, 0.42),
    (26.0, 4.0, 0.20, 0.26),
)  # columns, rows, length, strength: near, far
SLANT: Final = 0.22


def overcast(light: Light, scenes: Sequence[Scene]) -> Light:
    """The light under each scene's weather; the same where the weather is as it comes."""
    if not any(scene.weather for scene in scenes):
        return light
    rows = [SKY.get(scene.weather, (0.0, 1.0, 1.0)) for scene in scenes]
    grey, bright, stars = light.top.new_tensor(rows).T
    grey, bright = grey.view(-1, 1, 1, 1), bright.view(-1, 1, 1, 1)
    weights = light.top.new_tensor(LUMA).view(1, 3, 1, 1)

    def dull(colour: Tensor, part: float = 1.0) -> Tensor:
        luma = (colour * weights).sum(1, keepdim=True)
        return (
            mix(colour, luma * light.top.new_tensor([0.97, 1.0, 1.05]).view(1, 3, 1, 1), grey * part) * bright
        )

    starry = light.top.new_tensor([[float(scene.weather == "starry")] for scene in scenes])
    return replace(
        light,
        top=dull(light.top),
        middle=dull(light.middle),
        low=dull(light.low, 0.8),
        glow=dull(light.glow, 0.5),
        water=dull(light.water, 0.8),
        land=dull(light.land, 0.5).clamp(0, 1),
        stars=torch.where(light.night > 0, stars.view(-1, 1), (stars.view(-1, 1) * 3).clamp(0, 1)),
        starry=starry if bool(starry.any()) else None,
    )


def haze(b: Backdrop) -> None:
    """Fog in the distance, thickest where land and sky meet; before the things are there."""
    dice = b.dice.branch(FALLING)
    far = torch.exp(-(((b.y - 0.58) / 0.30) ** 2)) * 0.58 + 0.10
    b.lay(far.expand(b.count, -1, b.size), fog_colour(b.light))
    veils(b, dice.between(0.45, 0.95, 7), dice.roll(7), 0.45)


def veils(b: Backdrop, y: Tensor, x: Tensor, most: float) -> None:
    """Long soft banks of fog."""
    wide, high = torch.full_like(x, 0.30), torch.full_like(x, 0.028)
    b.lay(b.spots(x, y, wide, high, torch.full_like(x, most)).clamp(0, most), fog_colour(b.light))


def fog_colour(light: Light) -> Tensor:
    """Paler than the sky above the land."""
    return mix(light.low, torch.ones_like(light.low), 0.30 * (1 - 0.7 * light.night[..., None, None]))


def fog(b: Backdrop) -> None:
    """A thin veil over everything, and banks before its foot."""
    dice = b.dice.branch(FALLING + 1)
    b.lay(torch.full_like(b.rgb[:, 0], THROUGH_FOG), fog_colour(b.light))
    veils(b, dice.between(0.80, 0.98, 4), dice.roll(4), 0.42)


def rain(b: Backdrop) -> None:
    """Slanting streaks in two layers, the near one longer."""
    dice = b.dice.branch(FALLING)
    pale = mix(b.light.low, torch.ones_like(b.light.low), 0.65)
    for columns, rows, length, strength in DROPS:
        place = (b.x + SLANT * b.y) * columns + 40 * dice.roll()[..., None]
        column = torch.floor(place)
        start = torch.sin(column * 78.233 + 37.7).mul(4375.85).frac().abs()
        fall = torch.remainder(b.y * rows * (0.8 + 0.4 * start) + 7 * start, 1)
        tail = (fall / length).clamp(0, 1) * ((length - fall) * b.size / rows / 2 + 0.5).clamp(0, 1)
        middle = (place - column - 0.3 - 0.4 * start).abs() / columns * b.size  # pixels from the streak
        thin = (0.0048 * b.size - middle + 0.5).clamp(0, 1) * min(1.0, 0.0096 * b.size)
        b.lay(tail * thin * strength * (start > 0.25), pale)


def snowfall(b: Backdrop) -> None:
    """Soft flakes, some near and large."""
    dice = b.dice.branch(FALLING)
    near = dice.roll(70) ** 3
    wide = 0.0045 + 0.0085 * near
    flakes = b.spots(dice.roll(70), dice.roll(70), wide, wide, 0.55 + 0.5 * near)
    b.lay(flakes.clamp(0, 0.92), torch.ones_like(b.light.low))


BEHIND: Final = {"foggy": haze}
BEFORE: Final = {"foggy": fog, "rainy": rain, "snowy": snowfall}
