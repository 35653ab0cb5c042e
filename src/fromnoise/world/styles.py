"""Other looks than the usual one: what each does to a backdrop before things are in it, and to a picture.

They work on pictures and leave the masks as they are, but for "pixel", which cuts both to its squares.
Letters: B pictures of one style, H x W pixels.  Shapes: rgb (B, 3, H, W); owners (B, H, W)
"""

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.world.chance import Dice
from fromnoise.world.paint import LUMA
from fromnoise.world.palette import rgb as colour_of

CELLS: Final = 42  # squares in a row of a pixel picture
SHADES: Final = 16  # of each channel in it; with fewer, each channel steps at another place and hues break up
BOARD, CHALK, SHEET, DARK = "#26332f", "#f4f1e6", "#fffdf4", "#0b0a1f"
FINE: Final = 128  # pixels at which lines are one pixel wide


def mix(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """From a (t = 0) to b (t = 1)."""
    return a + (b - a) * t


def ink(code: str, like: Tensor) -> Tensor:
    """A hex colour.  Shapes: (1, 3, 1, 1)"""
    return like.new_tensor(colour_of(code)).view(1, 3, 1, 1)


def luma(rgb: Tensor) -> Tensor:
    """Shapes: (B, 3, H, W) -> (B, 1, H, W)"""
    return (rgb * rgb.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def blur(x: Tensor, reach: float) -> Tensor:
    """Soften over `reach` of the picture's width: a box, twice."""
    r = max(1, round(reach * x.shape[-1]))
    for _ in range(2):
        x = F.avg_pool2d(F.pad(x, (r, r, 0, 0), mode="replicate"), (1, 2 * r + 1), stride=1)
        x = F.avg_pool2d(F.pad(x, (0, 0, r, r), mode="replicate"), (2 * r + 1, 1), stride=1)
    return x


def noise(dice: Dice, grid: int, size: int) -> Tensor:
    """Slow random waves in 0..1.  Shapes: (B, 1, size, size)"""
    coarse = dice.roll(grid * grid).view(-1, 1, grid, grid)
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True).clamp(0, 1)


def contrast(rgb: Tensor) -> Tensor:
    """Where the picture changes from pixel to pixel, 0..1.  Shapes: (B, 3, H, W) -> (B, 1, H, W)"""
    d = max(1, round(rgb.shape[-1] / FINE))
    padded = F.pad(rgb, (d, d, d, d), mode="replicate")
    across = padded[:, :, d:-d, 2 * d :] - padded[:, :, d:-d, : -2 * d]
    down = padded[:, :, 2 * d :, d:-d] - padded[:, :, : -2 * d, d:-d]
    return (across.square() + down.square()).sum(1, keepdim=True).sqrt().clamp_max(1)


def around(x: Tensor, pool: Callable[[Tensor, int, int, int], Tensor]) -> Tensor:
    """The greatest or the mean of what is within a line's breadth.  Shapes: (B, 1, H, W) -> (B, 1, H, W)"""
    d = max(1, round(x.shape[-1] / FINE))
    return pool(x, 2 * d + 1, 1, d)


def posterised(rgb: Tensor, levels: int) -> Tensor:
    """Few tones with smooth borders instead of gradients."""
    light = luma(rgb).clamp_min(0.02)
    step = light * levels
    low = torch.floor(step)
    tone = (low + ((step - low - 0.5) / 0.10 + 0.5).clamp(0, 1)) / levels
    return (rgb * (tone / light)).clamp(0, 1)


# --- before the things ---


def plain_areas(rgb: Tensor, dice: Dice) -> Tensor:
    """Flat: areas of one tone."""
    return posterised(rgb, 7)


def sheets(rgb: Tensor, dice: Dice) -> Tensor:
    """Paper-cut: sheets of coloured paper, each with a soft shadow on the next."""
    cut = posterised(blur(rgb, 0.024), 6)
    tone = luma(cut)
    d = max(1, round(0.02 * rgb.shape[-1]))
    above = F.pad(tone, (d, 0, d, 0), mode="replicate")[:, :, : tone.shape[2], : tone.shape[3]]
    shadow = (blur(torch.maximum(above, tone), 0.012) - tone).clamp(0, 0.25)
    return cut * (1 - shadow * 1.3)


# --- the whole picture ---


def flat(rgb: Tensor, owners: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """Areas without shading; the drawing and the backdrop are so already."""
    return rgb, owners


def watercolour(rgb: Tensor, owners: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """Pigment that pools at borders and varies over the sheet, and a sheet that stays white at its rim."""
    size = rgb.shape[-1]
    cloud = 0.6 * noise(dice, 6, size) + 0.4 * noise(dice, 15, size)
    thing = (owners > 0)[:, None].float()
    soft = blur(rgb, 0.008)
    pools = (luma(blur(rgb, 0.03)) - luma(soft)).clamp(0, 0.3)  # where it is darker than around
    density = mix(0.55 + 0.55 * cloud, 0.88 + 0.22 * cloud, thing) + 1.1 * pools
    sheet = ink(SHEET, rgb)
    thin = 0.94 - 0.12 * (1 - luma(blur(rgb, 0.05)))  # the darker the place, the more sheet shines through
    painted = sheet * (
        1 - (1 - mix(soft, rgb, 0.6 * thing)) * density * mix(thin, torch.ones_like(thin), thing)
    )
    steps = (torch.arange(size, device=rgb.device) + 0.5) / size
    rim = torch.minimum(steps, 1 - steps)
    edge = torch.minimum(rim[:, None], rim) + 0.09 * (cloud - 0.5) - 0.028
    wet = torch.maximum((edge / 0.02).clamp(0, 1), thing)
    fringe = (1 - (edge / 0.02 - 1.6).abs()).clamp(0, 1) * (1 - thing) * 0.12
    return mix(sheet.expand_as(rgb), painted, wet) * (1 - fringe), owners


def paper_cut(rgb: Tensor, owners: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """The fibres of the paper; sheets and shadows are there already."""
    fibres = noise(dice, 24, rgb.shape[-1])
    return rgb * (0.965 + 0.06 * fibres), owners


def chalk(rgb: Tensor, owners: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """Strokes of coloured chalk on a blackboard; borders are drawn hard."""
    size = rgb.shape[-1]
    steps = (torch.arange(size, device=rgb.device) + 0.5) / size
    dust = noise(dice, 9, size)
    strokes = torch.sin(80 * (steps + 0.8 * steps[:, None]) + 1.5 * dust)
    thing = (owners > 0)[:, None].float()
    rim = around(thing, F.max_pool2d) - thing  # round things, so that their colour stays whole
    lines = (contrast(blur(rgb, 0.008)) * 2.6 - 0.1).clamp(0, 1) * (1 - thing)
    cover = mix(0.26 + 0.05 * strokes + 0.10 * dust, 0.92 + 0.03 * strokes, thing)
    cover = torch.maximum(cover, lines * 0.6)
    board = ink(BOARD, rgb) * (0.88 + 0.2 * noise(dice, 5, size))
    vivid = rgb / rgb.amax(1, keepdim=True).clamp_min(0.35) * 0.92  # chalk is as bright by night
    pale = mix(mix(vivid, rgb, thing), torch.ones_like(rgb), 0.10 + 0.25 * lines)
    return mix(mix(board, pale, cover), ink(CHALK, rgb), 0.8 * rim), owners


def neon(rgb: Tensor, owners: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """Glowing tubes along all borders, in the dark."""
    thing = (owners > 0)[:, None].float()
    vivid = rgb / rgb.amax(1, keepdim=True).clamp_min(0.25)
    calm = mix(blur(rgb, 0.006), rgb, thing)  # stars and drops are lights, not tubes
    tube = (contrast(calm) * 2.4 - 0.15).clamp(0, 1) * (0.6 + 0.1 * thing)
    rim = (1 - around(thing, F.avg_pool2d)) * thing
    tube = torch.maximum(tube, (rim * 2).clamp(0, 1))
    light = tube * vivid
    base = mix(ink(DARK, rgb) + rgb * 0.20, rgb * 0.42, thing)
    shown = base + light * 0.75 + blur(light, 0.018) * 0.7 + blur(light, 0.05) * 0.5
    shown = shown / shown.amax(1, keepdim=True).clamp_min(1)  # too bright to show: the hue is kept
    return mix(shown, torch.ones_like(shown), 0.22 * tube), owners


def pixel(rgb: Tensor, owners: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """Squares, each of what stands at its middle, in few shades."""
    size = rgb.shape[-1]
    side = max(1, round(size / CELLS))
    middle = (torch.arange(-(-size // side), device=rgb.device) * side + side // 2).clamp_max(size - 1)
    chosen = owners[:, middle[:, None], middle]
    owner = spread(chosen, side, size)
    own = (owners == owner)[:, None].float()
    ends = -size % side

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (0, ends, 0, ends)), side)

    colour = mean(rgb * own) / mean(own).clamp_min(1e-6)
    few = (colour.clamp(0, 1) * (SHADES - 1)).round() / (SHADES - 1)
    return spread(few, side, size), owner


def spread(cells: Tensor, side: int, size: int) -> Tensor:
    """Each cell as a square of pixels."""
    return cells.repeat_interleave(side, -1).repeat_interleave(side, -2)[..., :size, :size]


BEFORE: Final[dict[str, Callable[[Tensor, Dice], Tensor]]] = {"flat": plain_areas, "paper-cut": sheets}
AFTER: Final[dict[str, Callable[[Tensor, Tensor, Dice], tuple[Tensor, Tensor]]]] = {
    "flat": flat,
    "watercolour": watercolour,
    "paper-cut": paper_cut,
    "chalk": chalk,
    "neon": neon,
    "pixel": pixel,
}
