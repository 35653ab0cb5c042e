"""From a map of kinds to things: which of its pixels belong together.

A thing may be in pieces (a sail above its hull, a mountain behind a tree), and things may touch. The referee
of both is the aspect of the kind's outline: pieces are joined where together they fit it, and a piece that
has the aspect of several in a row is cut where it is narrow.
"""

from dataclasses import dataclass
from functools import cached_property
from math import exp, log
from typing import Final

import torch
from torch import Tensor

from fromnoise.world.geometry import Box
from fromnoise.world.vocabulary import THINGS

SPECK: Final = 0.004  # of the frame: pieces below this are not things; the smallest things have 0.006
SEVERAL: Final = 1.7  # times the aspect of one
SHORTEST: Final = 3  # pixels: a piece is not cut into parts below this
NECK: Final = 0.65  # of the greatest breadth: so narrow must a piece be where it is cut
REACH: Final = 0.5  # of the larger piece's longer side: pieces of one thing are no further apart
FITS: Final = 0.25  # in log(aspect): as near as this to its kind's outline, pieces together are one thing
LEVEL: Final = 0.75  # of the shorter side: pieces of one thing lie beside each other, not askew
NEIGHBOURS: Final = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows down, columns right; the other four by symmetry


@dataclass(frozen=True, eq=False)
class Piece:
    """Pixels of one kind. Shapes: pixels (N,), row by row numbers in a map of height x width"""

    kind: int
    pixels: Tensor
    height: int
    width: int

    @cached_property
    def box(self) -> Box:
        """Units: parts of the frame."""
        rows, columns = self.pixels // self.width, self.pixels % self.width
        left, right = int(columns.min()) / self.width, (int(columns.max()) + 1) / self.width
        return Box(left, int(rows.min()) / self.height, right, (int(rows.max()) + 1) / self.height)

    @cached_property
    def stretch(self) -> float:
        """How much wider than its kind's outline it is; 1 is just right, 1/2 half as wide."""
        sides = self.box.right - self.box.left, self.box.bottom - self.box.top
        return sides[0] / sides[1] / tuple(THINGS.values())[self.kind - 1].aspect

    @property
    def misfit(self) -> float:
        """How far it is from its kind's outline."""
        return abs(log(self.stretch))

    def part(self, chosen: Tensor) -> "Piece":
        """Some of its pixels.  Shapes: chosen (N,), booleans"""
        return Piece(self.kind, self.pixels[chosen], self.height, self.width)

    def with_(self, other: "Piece") -> "Piece":
        """Both together."""
        return Piece(self.kind, torch.cat([self.pixels, other.pixels]), self.height, self.width)


def components(kinds: Tensor) -> Tensor:
    """Give every pixel the least number of those it hangs together with, by sides or corners.

    Shapes: (H, W) -> (H * W,)
    """
    height, width = kinds.shape
    place = torch.arange(height * width, device=kinds.device).view(height, width)
    ends: list[Tensor] = []
    for down, right in NEIGHBOURS:
        here = slice(0, height - down), slice(max(0, -right), width - max(0, right))
        there = slice(down, height), slice(max(0, right), width - max(0, -right))
        same = (kinds[here] == kinds[there]) & (kinds[here] > 0)
        ends.append(torch.stack([place[here][same], place[there][same]]))
    a, b = torch.cat(ends, dim=1)
    label = place.flatten()
    while True:  # neighbours agree on the lesser, then all jump to the label of their label
        least = torch.minimum(label[a], label[b])
        lower = label.scatter_reduce(0, a, least, "amin").scatter_reduce(0, b, least, "amin")
        lower = lower[lower]
        if torch.equal(lower, label):
            return label
        label = lower


def pieces_of(kinds: Tensor) -> list[Piece]:
    """The connected pieces of a map, specks left out; the largest first.  Shapes: (H, W)"""
    height, width = kinds.shape
    flat, label = kinds.flatten(), components(kinds)
    sizes = torch.bincount(label[flat > 0], minlength=len(flat))
    found = (torch.nonzero(label == one)[:, 0] for one in torch.nonzero(sizes >= SPECK * len(flat))[:, 0])
    pieces = [Piece(int(flat[members[0]]), members, height, width) for members in found]
    return sorted(pieces, key=lambda piece: -len(piece.pixels))


def things_of(pieces: list[Piece]) -> list[Piece]:
    """Cut pieces that are several things, and join those that are parts of one."""
    parts = sorted((part for piece in pieces for part in cut(piece)), key=lambda part: -len(part.pixels))
    things: list[Piece] = []
    for part in parts:
        owner = next((n for n, thing in enumerate(things) if belongs(part, thing)), None)
        if owner is None:
            things.append(part)
        else:
            things[owner] = things[owner].with_(part)
    return things


def cut(piece: Piece) -> list[Piece]:
    """The things in a row that a piece consists of: itself, unless its aspect and its necks say otherwise."""
    count = round(exp(piece.misfit))
    if exp(piece.misfit) < SEVERAL or count < 2:
        return [piece]
    along = piece.pixels % piece.width if piece.stretch > 1 else piece.pixels // piece.width
    breadth = torch.bincount(along - along.min())
    if len(breadth) < SHORTEST * count:
        return [piece]
    stride, necks = len(breadth) / count, list[int]()
    for k in range(1, count):
        low, high = round((k - 0.25) * stride), round((k + 0.25) * stride) + 1
        necks.append(low + int(breadth[low:high].argmin()))
    if any(int(breadth[n]) > NECK * int(breadth.max()) for n in necks):
        return [piece]
    which = torch.bucketize(along - along.min(), torch.tensor(necks, device=along.device), right=True)
    parts = [piece.part(which == k) for k in range(count)]
    smallest = min(len(part.pixels) for part in parts)
    return parts if smallest >= SPECK * piece.height * piece.width else [piece]


def belongs(part: Piece, thing: Piece) -> bool:
    """Is a piece a part of a thing that is no smaller?"""
    if part.kind != thing.kind:
        return False
    a, b = part.box, thing.box
    widths, heights = (a.right - a.left, b.right - b.left), (a.bottom - a.top, b.bottom - b.top)
    across = min(a.right, b.right) - max(a.left, b.left)  # the overlap; below 0 it is a gap
    down = min(a.bottom, b.bottom) - max(a.top, b.top)
    level = across >= LEVEL * min(widths) or down >= LEVEL * min(heights)
    near = min(across, down) >= -REACH * max(widths[1], heights[1])
    return level and near and thing.with_(part).misfit <= max(thing.misfit, FITS)
