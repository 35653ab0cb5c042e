"""The tools that settings are painted with (sky, ridges, land, water, soft spots), many scenes at a time."""

from dataclasses import dataclass
from itertools import pairwise
from math import pi, sqrt
from typing import Final

import torch
from torch import Tensor

from fromnoise.world.chance import Dice
from fromnoise.world.palette import rgb

STARS: Final = 4  # a branch of the dice: what only starry nights have


def table(rows: tuple[tuple[str, ...], ...], like: Tensor) -> Tensor:
    """Hex colours as numbers.  Shapes: (rows, colours, 3, 1, 1)"""
    return like.new_tensor([[rgb(code) for code in row] for row in rows])[..., None, None]


def mix(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """From a (t = 0) to b (t = 1)."""
    return a + (b - a) * t


@dataclass
class Light:
    """The hour's colours for each scene.

    Shapes: (B, 3, 1, 1); glow_x, night, sunset, stars, starry (B, 1)
    Units:  glow_x where in the frame's width the sky glows; night, sunset, starry 0 or 1;
            stars: how much of a common night's stars and a common day's streaks shows
    """

    top: Tensor
    middle: Tensor
    low: Tensor
    glow: Tensor
    veil: Tensor
    water: Tensor
    land: Tensor
    glow_x: Tensor
    night: Tensor
    sunset: Tensor
    stars: Tensor | None = None  # None: all
    starry: Tensor | None = None  # None: nowhere


class Backdrop:
    """Pictures under paint, all of one setting.

    Letters: B scenes, H x W pixels
    Shapes:  rgb (B, 3, H, W); x (1, 1, W); y (1, H, 1)
    Units:   colours sRGB 0..1; x, y parts of the frame
    """

    def __init__(self, size: int, dice: Dice, light: Light) -> None:
        self.size, self.dice, self.light = size, dice, light
        self.count = len(dice.key)
        self.edges = torch.arange(size + 1, dtype=torch.float32, device=dice.key.device) / size
        middles = (self.edges[:-1] + self.edges[1:]) / 2
        self.x, self.y = middles.view(1, 1, size), middles.view(1, size, 1)
        self.rgb = middles.new_zeros(self.count, 3, size, size)

    def pick(self, rows: tuple[tuple[str, ...], ...]) -> Tensor:
        """One row of colours for each scene, by chance.  Shapes: (colours, B, 3, 1, 1)"""
        chosen = (self.dice.roll()[:, 0] * len(rows)).long()
        return table(rows, self.rgb)[chosen].transpose(0, 1)

    def lit(self, colour: Tensor, haze: float = 0.0, bright: float = 0.0) -> Tensor:
        """A land colour in this hour's light, `haze` of the way to the colour of the air far off.

        `bright`: how much of the light it gives back however dark the hour (snow, pale sand)
        """
        return mix(colour * mix(self.light.land, torch.ones_like(colour), bright), self.light.low, haze)

    def gradient(self, *stops: tuple[float, Tensor]) -> None:
        """Fill the frame with colours that change downwards; stops are (y, colour), y increasing."""
        y = self.y[:, None]
        column = stops[0][1].expand(self.count, 3, self.size, 1)
        for (y0, _), (y1, colour) in pairwise(stops):
            t = ((y - y0) / (y1 - y0)).clamp(0, 1)
            column = mix(column, colour, t * t * (3 - 2 * t))
        self.rgb = column.expand_as(self.rgb).contiguous()

    def lay(self, mask: Tensor, colour: Tensor, top: float = 0.0) -> None:
        """Paint a colour through a mask, below y = `top`.  Shapes: mask (B, H or rows, W)"""
        below = self.rgb[:, :, self.row(top) :]
        rows = below.shape[2]
        below += mask[:, None, -rows:] * (colour[..., -rows:, :] - below)

    def row(self, y: float) -> int:
        """The first row of pixels below y."""
        return min(int(y * self.size), self.size)

    def ridge(self, base: float, height: float, waves: float, octaves: int = 3) -> Tensor:
        """A rolling line.  Shapes: (B, 1, W).  `waves`: how many fit the frame's width."""
        line = torch.full_like(self.x, base).expand(self.count, 1, self.size)
        for octave in range(octaves):
            rate = self.dice.between(0.75, 1.25) * waves * 1.9**octave
            phase = self.dice.roll()
            line = line + height * 0.5**octave * torch.sin(2 * pi * (rate * self.x[0] + phase))[:, None]
        return line

    def land(
        self,
        line: Tensor,
        near: Tensor,
        far: Tensor,
        reach: float,
        *,
        level: float | None = None,
        steep: float = 0,
    ) -> None:
        """Everything below a line: `far` at its crest, becoming `near` over `reach` downwards.

        `level`: the y where `far` is instead of at the crest; `steep`: the line's slope, to smooth its edge
        """
        top = max(0.0, float(line.min()) - (2 + steep) / self.size)
        y = self.y[:, self.row(top) :]
        depth = y - line
        t = ((depth if level is None else y - level) / reach).clamp(0, 1)[:, None]
        self.lay((depth * (self.size / sqrt(1 + steep**2)) + 0.5).clamp(0, 1), mix(far, near, t), top)

    def profile(self, centre: Tensor, width: Tensor) -> Tensor:
        """Bell curves averaged over each pixel, so that they look alike at any size.

        Shapes: (B, N) -> (B, N, W)
        Source: the integral of a Gaussian is the error function
        """
        scale = 1 / (width * sqrt(2))
        steps = torch.erf((self.edges - centre[..., None]) * scale[..., None])
        return (steps[..., 1:] - steps[..., :-1]) * (width * (self.size * sqrt(pi / 2)))[..., None]

    def spots(self, x: Tensor, y: Tensor, wide: Tensor, high: Tensor, strength: Tensor) -> Tensor:
        """A sum of soft ellipses: a bell in x times a bell in y is a product of matrices.

        Shapes: all (B, N) -> (B, H, W)
        """
        columns = self.profile(x, wide)
        rows = self.profile(y, high) * strength[..., None]
        # one product a scene: a batched one rounds differently with the batch, and a scene must not
        return torch.stack([r.T @ c for r, c in zip(rows, columns, strict=True)])

    def sky(self, horizon: float, stars: int = 64, streaks: int = 5) -> None:
        """The sky down to the horizon: three colours, the sun's glow, streaks of cloud, stars at night."""
        light, dice = self.light, self.dice
        self.gradient((0.0, light.top), (horizon * 0.55, light.middle), (horizon, light.low))
        strength = 0.35 + 0.5 * light.sunset - 0.1 * light.night
        bell_x = torch.exp(-(((self.x[0] - light.glow_x) / 0.42) ** 2)) * strength
        bell_y = torch.exp(-(((self.y[0, :, 0] - horizon) / 0.20) ** 2))
        self.lay(bell_x[:, None] * bell_y[:, None], light.glow)

        x = torch.cat([dice.roll(stars), dice.roll(streaks)], 1)
        y = torch.cat([dice.roll(stars) * horizon * 0.9, dice.between(0.25, 0.9, streaks) * horizon], 1)
        bright = dice.roll(stars) ** 3  # few bright stars, many faint ones
        wide = torch.cat([0.0032 + 0.0035 * bright, dice.between(0.08, 0.22, streaks)], 1)
        high = torch.cat([0.0032 + 0.0035 * bright, dice.between(0.010, 0.024, streaks)], 1)
        shown = torch.cat(
            [
                light.night * (0.25 + 0.7 * bright),
                dice.between(-0.3, 0.55, streaks).clamp_min(0) * (1 - 0.75 * light.night),
            ],
            1,
        )
        if light.stars is not None:
            shown = shown * light.stars
        self.lay(self.spots(x, y, wide, high, shown).clamp(0, 0.95), light.veil)
        if light.starry is not None:
            self.milky_way(horizon, light.starry)

    def milky_way(self, horizon: float, starry: Tensor, stars: int = 110) -> None:
        """A sky full of stars: a pale band across it, stars of all sizes, a few of them very bright."""
        dice = self.dice.branch(STARS)
        heart, slope = dice.between(0.25, 0.75), dice.between(-0.9, 0.9)
        offset = self.x - heart[..., None] - slope[..., None] * (self.y - horizon / 2)
        band = torch.exp(-((offset / 0.16) ** 2)) * 0.30 * (self.y < horizon) * starry[..., None]
        self.lay(band, mix(self.light.glow, self.light.glow.new_ones(1), 0.3))
        x, y = dice.roll(stars), dice.roll(stars) * horizon * 0.95
        bright = dice.roll(stars) ** 4
        wide = 0.0036 + 0.006 * bright
        shown = self.spots(x, y, wide, wide, starry * (0.35 + 0.65 * bright))
        big_x, big_y = dice.between(0.05, 0.95, 4), dice.between(0.05, 0.7, 4) * horizon
        for long, thin in ((0.03, 0.004), (0.004, 0.03)):
            shown = shown + self.spots(
                big_x, big_y, torch.full_like(big_x, long), torch.full_like(big_x, thin), starry * 0.7
            )
        self.lay(shown.clamp(0, 0.97), self.light.veil)

    def water(self, top: float, bottom: float, glints: int = 40) -> None:
        """Level water from `top` to the frame's foot: the sky's colour far off, its own near, with glints."""
        light, dice = self.light, self.dice
        depth = ((self.y[:, self.row(top) :] - top) / (bottom - top)).clamp(0, 1)
        mask = ((self.y[:, self.row(top) :] - top) * self.size + 0.5).clamp(0, 1)
        far = mix(mix(light.low, light.middle, 0.5), light.water, 0.42)
        self.lay(mask.expand(self.count, -1, self.size), mix(far, light.water, depth[:, None] ** 0.7), top)

        near = dice.roll(glints)
        path = (dice.roll(glints) < 0.35 + 0.3 * light.sunset).float()  # many lie under the glow
        x = mix(dice.roll(glints), light.glow_x + dice.between(-0.5, 0.5, glints) * (0.1 + 0.25 * near), path)
        y = top + 0.012 + (bottom - top) * near**1.3
        wide, high = 0.018 + 0.06 * near * dice.roll(glints), 0.0032 + 0.004 * near
        strength = dice.between(-0.25, 0.5, glints) + 0.35 * path * (0.5 + light.sunset) - 0.1 * light.night
        shine = mix(light.low, light.glow, 0.5)
        shown = self.spots(x, y, wide, high, strength)[:, self.row(top) :].clamp(-0.3, 0.85) * mask
        self.lay(shown, shine, top)
