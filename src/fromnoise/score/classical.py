"""A second checker, without any network: an audit of the first on pictures of one thing on paper.

What differs from the sheet is the thing. Its outline and shading are compared with renders of every kind, and
its colour with renders of that kind in every colour.
"""

from dataclasses import dataclass, replace
from itertools import count
from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.images.pixels import MIDDLE
from fromnoise.score.plans import PAPER
from fromnoise.world.geometry import Box
from fromnoise.world.grammar import sample_scene, scene_seed
from fromnoise.world.palette import WORDS, rgb
from fromnoise.world.prompts import PLAINEST
from fromnoise.world.render import render
from fromnoise.world.scene import Scene
from fromnoise.world.seeing import Found, Seen
from fromnoise.world.vocabulary import THINGS, TIMES
from fromnoise.world.worlds import World

SEED: Final = 3  # of the scenes that it learns the drawings from: others than those it is asked about
POSES: Final = 2  # of every kind in every colour
SIDE: Final = 24  # pixels of a cut-out
FRAME: Final = 5  # pixels at the rim of a picture of 128 that show nothing but paper
STAINED: Final = 0.03  # in OKLab: so far from the paper is no paper any more
SPECK: Final = 0.004  # of the frame: less is nothing
SHAPE: Final = 2.0  # the weight of the outline beside that of the shading
HUES: Final = (0.5, 1.0, 1.0)  # light and shade say little about the colour of a thing
SOFT: Final = 0.03  # in OKLab: how far from a word its colour still is half of it
BATCH: Final = 64
TO_CONES: Final = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_LAB: Final = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


@dataclass(frozen=True)
class CutOut:
    """The thing of each picture, in a frame of its own.

    Shapes: mask (B, 1, S, S) in 0..1, colour (B, 3, S, S) OKLab, boxes B
    """

    mask: Tensor
    colour: Tensor
    boxes: tuple[Box, ...]
    areas: tuple[float, ...]


@dataclass(frozen=True)
class ClassicalReader:
    """Names the one thing on a sheet of paper by the nearest of its templates.

    Shapes: pixels (B, 3, H, W) in [-1, 1] -> one Seen for each
    Source: template matching, e.g. Duda & Hart 1973, sec. 8.3
    """

    templates: CutOut
    kinds: tuple[str, ...]  # of each template
    colours: tuple[str, ...]

    @classmethod
    def of(cls, world: World, size: int = 128) -> "ClassicalReader":
        """One that has seen every kind of a world in every colour."""
        scenes = template_scenes(world)
        parts: list[CutOut] = []
        for at in range(0, len(scenes), BATCH):
            pixels = render(scenes[at : at + BATCH], size).pixels.float() / MIDDLE - 1
            parts.append(cut_out(pixels))
        mask, colour = torch.cat([p.mask for p in parts]), torch.cat([p.colour for p in parts])
        things = [scene.things[0] for scene in scenes]
        return cls(CutOut(mask, colour, (), ()), *zip(*((t.kind, t.colour) for t in things), strict=True))

    def __call__(self, pixels: Tensor) -> list[Seen]:
        """What each sheet shows."""
        found = cut_out(pixels)
        shape = SHAPE * torch.cdist(found.mask.flatten(1), self.templates.mask.flatten(1)) ** 2
        shape += torch.cdist(_shading(found).flatten(1), _shading(self.templates).flatten(1)) ** 2
        tint = torch.cdist(_tint(found), _tint(self.templates))
        seen: list[Seen] = []
        for n, (box, area) in enumerate(zip(found.boxes, found.areas, strict=True)):
            if area < SPECK:
                seen.append(Seen((), PAPER, ""))
                continue
            kind = self.kinds[int(shape[n].argmin())]
            alike = [i for i, other in enumerate(self.kinds) if other == kind]
            colour = self.colours[alike[int(tint[n, alike].argmin())]]
            seen.append(Seen((Found(kind, colour, box, area),), PAPER, ""))
        return seen


def template_scenes(world: World) -> list[Scene]:
    """Every kind in every colour on paper, each time in another pose."""
    needed = {kind: _tints(kind, world) * POSES for kind in world.things}
    scenes: list[Scene] = []
    for index in count():
        scene = sample_scene(scene_seed(SEED, index), PLAINEST[world])
        (thing,) = scene.things
        if needed[thing.kind]:
            coloured = replace(thing, colour=needed[thing.kind].pop())
            scenes.append(replace(scene, setting=PAPER, time=TIMES[0], things=(coloured,)))
        if not any(needed.values()):
            return scenes
    raise AssertionError("count() never ends")


def _tints(kind: str, world: World) -> list[str]:
    return list(world.colours) if THINGS[kind].usual else [""]


def cut_out(pixels: Tensor) -> CutOut:
    """Part the thing from the sheet.  Shapes: (B, 3, H, W) -> cut-outs of one size"""
    lab = oklab(pixels)
    away = _length(lab - _sheet(lab), keepdim=True)
    stains = F.avg_pool2d(F.pad((away > STAINED).float(), (1,) * 4), 3, 1) > 0.5  # single pixels are grain
    height, width = lab.shape[-2:]
    boxes: list[Box] = []
    areas: list[float] = []
    masks: list[Tensor] = []
    colours: list[Tensor] = []
    for picture, stain in zip(lab, stains[:, 0], strict=True):
        rows, columns = torch.nonzero(stain.any(1))[:, 0], torch.nonzero(stain.any(0))[:, 0]
        ends = (0, 0, width, height)
        if len(rows):
            ends = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        left, top, right, bottom = ends
        inner = stain[None, None, top:bottom, left:right].float()
        masks.append(_square(inner, (right - left) / (bottom - top)))
        colours.append(
            _square(picture[None, :, top:bottom, left:right] * inner, (right - left) / (bottom - top))
        )
        boxes.append(Box(left / width, top / height, right / width, bottom / height))
        areas.append(float(stain.float().mean()))
    return CutOut(torch.cat(masks), torch.cat(colours), tuple(boxes), tuple(areas))


def _sheet(lab: Tensor) -> Tensor:
    """What the paper would look like without the thing: a parabola through the rim.  Shapes: (B, 3, H, W)"""
    height, width = lab.shape[-2:]
    y = torch.linspace(-1, 1, height, device=lab.device)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width, device=lab.device).expand(height, width)
    terms = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], dim=-1)
    rim = torch.zeros(height, width, dtype=torch.bool, device=lab.device)
    deep = max(1, FRAME * height // 128)
    rim[:deep], rim[-deep:], rim[:, :deep], rim[:, -deep:] = True, True, True, True
    known = lab[:, :, rim].permute(2, 0, 1).flatten(1)
    weights = cast(Tensor, torch.linalg.lstsq(terms[rim], known).solution)
    return (terms.flatten(0, 1) @ weights).view(height, width, *lab.shape[:2]).permute(2, 3, 0, 1)


def _square(part: Tensor, aspect: float) -> Tensor:
    """Fit a part into the middle of a square, its shape kept.  Shapes: (1, C, h, w) -> (1, C, S, S)"""
    wide, high = (max(1, round(SIDE * min(1.0, side))) for side in (aspect, 1 / aspect))
    small = F.interpolate(part, size=(high, wide), mode="area")
    left, top = (SIDE - wide) // 2, (SIDE - high) // 2
    return F.pad(small, (left, SIDE - wide - left, top, SIDE - high - top))


def _shading(cut: CutOut) -> Tensor:
    """Light and dark within the outline, whatever the colour: mean 0, standard deviation 1."""
    light, mask = cut.colour[:, :1], cut.mask
    inside = mask.sum((2, 3), keepdim=True).clamp_min(1e-3)
    light = light - mask * (light.sum((2, 3), keepdim=True) / inside)
    return light / ((light**2).sum((2, 3), keepdim=True) / inside).sqrt().clamp_min(0.02)


def _tint(cut: CutOut) -> Tensor:
    """How much of each colour word is in a cut-out.  Shapes: -> (B, words)"""
    inside = cut.mask.clamp_min(1e-3)
    words = oklab(torch.tensor([rgb(code) for code in WORDS.values()]).T[None, :, :, None] * 2 - 1)
    weight = cut.colour.new_tensor(HUES).view(1, 3, 1, 1, 1)
    near = (cut.colour / inside).unsqueeze(2) * weight - words.view(1, 3, -1, 1, 1) * weight
    share = (-_length(near) / SOFT).softmax(1) * cut.mask
    return share.sum((2, 3)) / cut.mask.sum((2, 3)).clamp_min(1e-3)


def _length(colours: Tensor, *, keepdim: bool = False) -> Tensor:
    return (colours**2).sum(1, keepdim=keepdim).sqrt()


def oklab(pixels: Tensor) -> Tensor:
    """sRGB in [-1, 1] to OKLab.  Shapes: (B, 3, H, W) -> the same

    Source: B. Ottosson 2020, "A perceptual color space for image processing"
    """
    srgb = (pixels.float().clamp(-1, 1) + 1) / 2
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    cones = torch.einsum("ij,bjhw->bihw", linear.new_tensor(TO_CONES), linear).clamp_min(0) ** (1 / 3)
    return torch.einsum("ij,bjhw->bihw", linear.new_tensor(TO_LAB), cones)
