"""Signed distances: negative inside, positive outside, in the units of the coordinates given.

Coordinates u (right) and v (up) are tensors; sizes are floats or tensors that broadcast with them.
Source: the standard closed forms of constructive 2-D geometry (distance to a point, segment, box, polygon)
"""

from math import cos, pi, sin

import torch
from torch import Tensor

Size = float | Tensor
Point = tuple[Size, Size]


def length(x: Tensor, y: Tensor) -> Tensor:
    """How far (x, y) is from the origin; faster than `torch.hypot`, which guards against huge values."""
    return torch.addcmul(x * x, y, y).sqrt_()


def circle(u: Tensor, v: Tensor, x: Size, y: Size, r: Size) -> Tensor:
    """A disc of radius r round (x, y)."""
    return length(u - x, v - y) - r


def ellipse(u: Tensor, v: Tensor, x: Size, y: Size, rx: Size, ry: Size) -> Tensor:
    """An ellipse, by its first-order distance: exact on the outline, good near it."""
    px, py = (u - x) / rx, (v - y) / ry
    k = length(px, py)
    slope = length(px / rx, py / ry).clamp_min_(1e-6)
    return k * (k - 1) / slope


def box(u: Tensor, v: Tensor, x: Size, y: Size, half_w: Size, half_h: Size, rounding: Size = 0.0) -> Tensor:
    """A rectangle with rounded corners, centred on (x, y)."""
    dx, dy = (u - x).abs() - (half_w - rounding), (v - y).abs() - (half_h - rounding)
    outside = length(dx.clamp_min(0), dy.clamp_min(0))
    return outside + torch.maximum(dx, dy).clamp_max_(0) - rounding


def segment(u: Tensor, v: Tensor, a: Point, b: Point, r: Size, r_end: Size | None = None) -> Tensor:
    """A capsule: everything within r of the line from a to b; `r_end`, if given, is its radius at b."""
    ax, ay, bx, by = a[0], a[1], b[0] - a[0], b[1] - a[1]
    pu, pv = u - ax, v - ay
    t = ((pu * bx + pv * by) / (bx * bx + by * by + 1e-9)).clamp_(0, 1)
    return length(pu - t * bx, pv - t * by) - (r if r_end is None else r + t * (r_end - r))


def half_plane(u: Tensor, v: Tensor, a: Point, b: Point) -> Tensor:
    """Everything to the left of the line that walks from a to b."""
    ex, ey = b[0] - a[0], b[1] - a[1]
    norm = (ex * ex + ey * ey) ** 0.5 + 1e-9
    return ((u - a[0]) * ey - (v - a[1]) * ex) / norm


def convex(u: Tensor, v: Tensor, points: list[Point], rounding: float = 0.0) -> Tensor:
    """A convex polygon, corners counter-clockwise; exact inside, too small outside near its corners."""
    first, *edges = (half_plane(u, v, a, b) for a, b in zip(points, points[1:] + points[:1], strict=True))
    for edge in edges:
        first = -blend(-first, -edge, rounding) if rounding else torch.maximum(first, edge)
    return first


def fold(u: Tensor, v: Tensor, x: Size, y: Size, n: Size, turn: Size = 0.0) -> tuple[Tensor, Tensor]:
    """Coordinates (along, across) in the nearest of n equal sectors round (x, y); the first points up."""
    du, dv = u - x, v - y
    r, sector = length(du, dv), 2 * pi / n
    angle = torch.remainder(torch.atan2(du, dv) - turn + sector / 2, sector) - sector / 2
    return r * angle.cos(), r * angle.sin()


def star(
    u: Tensor, v: Tensor, x: Size, y: Size, outer: float, inner: float, points: int = 5, turn: Size = 0.0
) -> Tensor:
    """A star with one point up, before it turns clockwise by `turn` radians."""
    along, across = fold(u, v, x, y, points, turn)
    across = across.abs()
    tip, notch = (outer, 0.0), (inner * cos(pi / points), inner * sin(pi / points))
    return torch.copysign(segment(along, across, tip, notch, 0.0), half_plane(along, across, tip, notch))


def union(*shapes: Tensor) -> Tensor:
    """Inside any of them."""
    out = shapes[0]
    for shape in shapes[1:]:
        out = torch.minimum(out, shape)
    return out


def both(a: Tensor, b: Tensor) -> Tensor:
    """Inside a and b."""
    return torch.maximum(a, b)


def without(a: Tensor, b: Tensor) -> Tensor:
    """Inside a but not b."""
    return torch.maximum(a, -b)


def blend(a: Tensor, b: Tensor, k: float) -> Tensor:
    """A union whose seam is rounded over a width of k.  Source: polynomial smooth minimum."""
    h = (k - (a - b).abs()).clamp_min_(0) / k
    return torch.minimum(a, b) - h * h * (k / 4)
