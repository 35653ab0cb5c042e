"""How things come into a picture: their shadow, their reflection or their light, and then themselves.

Letters: H x W pixels.  Shapes: frame (3, H, W), changed in place
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.world.palette import WORDS, rgb
from fromnoise.world.patches import Patch
from fromnoise.world.scene import Thing
from fromnoise.world.vocabulary import THINGS

SHADOW: Final = 0.38  # how dark at its darkest
MIRROR: Final = 2  # a reflection is this many times lower than the thing
HALO: Final = 0.8  # of a glowing thing's light close to it
RIM: Final = 0.016  # of paper round a cut-out, in the frame


def shade(frame: Tensor, thing: Thing, steps: Tensor) -> None:
    """Darken the ground under a thing's foot.  Shapes: steps (H,), the middles of the pixels"""
    foot, half = thing.y + thing.size / 2, thing.size * THINGS[thing.kind].aspect / 2
    low, high = foot - 0.01, 0.016 + 0.03 * thing.size
    top, bottom = (max(0, int((low + k * high) * len(steps))) for k in (-2.5, 2.5))
    across = torch.exp(-(((steps - thing.x) / (half * 0.85)) ** 4))
    down = SHADOW * torch.exp(-(((steps[top:bottom] - low) / high) ** 2))
    frame[:, top:bottom] *= 1 - down[:, None] * across


def reflect(frame: Tensor, patch: Patch, foot: int) -> None:
    """Mirror a thing in the water at its foot, squashed and fading downwards."""
    side, size = patch.alpha.shape[-1], frame.shape[-1]
    first = foot - patch.top  # the patch's row at the water line
    above = torch.arange(first - 1, -1, -MIRROR, device=frame.device)[: max(0, size - foot)]
    fade = torch.linspace(0.5, 0, len(above) + 1, device=frame.device)[:-1, None]
    x0, x1 = max(0, patch.left), min(size, patch.left + side)
    if x0 >= x1:
        return
    columns = slice(x0 - patch.left, x1 - patch.left)
    rows = above.clamp_max(side - 1)
    target = frame[:, foot : foot + len(above), x0:x1]
    target += (patch.rgb[:, rows, columns] - target * patch.alpha[rows, columns]) * fade


def halo(frame: Tensor, thing: Thing) -> None:
    """Light round a thing that glows."""
    size = frame.shape[-1]
    steps = (torch.arange(size, device=frame.device) + 0.5) / size
    reach = 0.62 * thing.size
    across = torch.exp(-(((steps - thing.x) / (reach * (0.4 + 0.6 * THINGS[thing.kind].aspect))) ** 2))
    down = torch.exp(-(((steps - thing.y) / reach) ** 2)) * HALO
    own = frame.new_tensor(rgb(WORDS[thing.colour])).view(3, 1, 1)
    frame += (own + (1 - own) * 0.6 - frame) * (down[:, None] * across)


def rim(frame: Tensor, patch: Patch) -> None:
    """A cut-out's rim of white paper, and the soft shadow under it."""
    size = frame.shape[-1]
    r = max(1, round(RIM * size))
    wide = F.max_pool2d(F.pad(patch.alpha[None, None], (2 * r,) * 4), 2 * r + 1, 1, r)
    soft = F.avg_pool2d(F.pad(wide, (r,) * 4), 2 * r + 1, 1)[0, 0] * 0.45
    black, white = torch.zeros_like(wide[0]).expand(3, -1, -1), wide[0].expand(3, -1, -1) * 0.985
    nothing = torch.zeros(size, size, dtype=torch.uint8, device=frame.device)
    left, top = patch.left - 2 * r, patch.top - 2 * r
    paste(frame, nothing, Patch(black, soft, left + r, top + round(1.6 * r), 0), 0)
    paste(frame, nothing, Patch(white, wide[0, 0], left, top, 0), 0)


def paste(frame: Tensor, owner: Tensor, patch: Patch, number: int) -> None:
    """Lay one thing over a frame; where it covers more than half a pixel, the pixel is its own."""
    size, side = frame.shape[-1], patch.alpha.shape[-1]
    x0, y0 = max(0, patch.left), max(0, patch.top)
    x1, y1 = min(size, patch.left + side), min(size, patch.top + side)
    if x0 >= x1 or y0 >= y1:
        return
    rows, columns = slice(y0 - patch.top, y1 - patch.top), slice(x0 - patch.left, x1 - patch.left)
    alpha, target = patch.alpha[rows, columns], frame[:, y0:y1, x0:x1]
    target -= target * alpha
    target += patch.rgb[:, rows, columns]
    owner[y0:y1, x0:x1].masked_fill_(alpha > 0.5, number)
