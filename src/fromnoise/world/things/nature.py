"""Sun, moon, cloud, rainbow, mountain, hill, and what grows."""

from math import pi

import torch

from fromnoise.world import sdf
from fromnoise.world.paint import Brush

RAINBOW = ("#e8453c", "#f78f2d", "#fbd93b", "#5fb84e", "#3f8fe0", "#7a55c2")
BARK, LEAF, SNOW, CREAM = "#7a5236", "#4f9a4a", "#f6f8fb", "#f3e6cd"


def sun(b: Brush) -> None:
    """Ten teeth, twelve thin rays or eight broad ones round a disc."""
    n, turn = b.by_variant(10, 12, 8), 0.3 * b.jitter[0]
    along, across = sdf.fold(b.u, b.v, 0, 0, n, turn)
    wide = sdf.segment(along, across, (0.66, 0.0), (0.93, 0.0), b.by_variant(0.15, 0.07, 0.2), 0.04)
    b.fill(wide, shade=0.05)
    disc = sdf.circle(b.u, b.v, 0, 0, b.by_variant(0.64, 0.6, 0.68))
    b.fill(disc, pale=0.1, bevel=0.5, shade=0.06, drop=0.1)


def moon(b: Brush) -> None:
    """A crescent or a full moon, with craters."""
    disc = sdf.circle(b.u, b.v, 0, 0, 0.98)
    bite = sdf.circle(b.u, b.v, b.by_variant(0.48, 9, 0.62), 0.25 + 0.1 * b.jitter[0], 0.82)
    shape = sdf.without(disc, bite)
    b.fill(shape, bevel=0.45, shade=0.14)
    craters = sdf.union(
        sdf.circle(b.u, b.v, -0.58, 0.3 + 0.1 * b.jitter[1], 0.15),
        sdf.circle(b.u, b.v, -0.5, -0.38, 0.21),
        sdf.circle(b.u, b.v, 0.08, -0.75, 0.11),
        sdf.circle(b.u, b.v, 0.35, 0.15, 0.24),
        sdf.circle(b.u, b.v, -0.05, 0.62, 0.12),
    )
    b.fill(sdf.both(craters, shape + 0.05), dark=0.16, shade=0)


def cloud(b: Brush) -> None:
    """Three heaps on a flat base."""
    side = b.by_variant(1, -1, 1)
    u = b.u * side
    left = sdf.circle(u, b.v, -0.8 + 0.08 * b.jitter[0], -0.28, 0.62)
    right = sdf.circle(u, b.v, 0.92, -0.32, b.by_variant(0.55, 0.62, 0.5))
    top = sdf.circle(u, b.v, 0.14 + 0.12 * b.jitter[1], 0.22, b.by_variant(0.76, 0.74, 0.78))
    base = sdf.box(b.u, b.v, 0, -0.56, 1.66, 0.42, 0.42)
    shape = sdf.both(sdf.blend(sdf.blend(sdf.union(left, right), top, 0.1), base, 0.15), -0.98 - b.v)
    b.fill(shape, bevel=0.35, shade=0.14)
    b.fill(sdf.both(shape + 0.05, b.v + 0.55 + 0.12 * (b.u * 4).cos()), dark=0.1, shade=0)


def mountain(b: Brush) -> None:
    """A snowy peak, mostly with a lower one behind it."""
    for peak in (1, 0):
        x = (
            (b.by_variant(-0.25, 0, 0.35) + 0.15 * b.jitter[0])
            if not peak
            else b.by_variant(0.75, 0.7, -0.75)
        )
        top = 0.98 - peak * b.by_variant(0.6, 1.0, 0.75)
        half = b.by_variant(0.8, 0.5, 0.8) if peak else b.by_variant(1.1, 1.5, 1.0)
        tall = top + 0.98
        du = b.u - x
        wobble = 0.05 * (b.v * 7 + peak).sin()
        slope = (du.abs() * tall + half * (b.v - top)) / (half * half + tall * tall) ** 0.5
        shape = sdf.both(sdf.both(slope + 0.4 * wobble, -0.98 - b.v), b.u.abs() - 1.58)
        b.fill(shape, dark=0.12 * peak, bevel=0.15, shade=0.1)
        shady = sdf.both(shape, -du + 0.5 * wobble + 0.16 * (top - b.v))
        b.fill(shady, b.own(dark=0.28), shade=0)
        zigzag = 0.17 * ((du * 3.2 + 0.5) % 1 - 0.5).abs()
        snow = sdf.both(shape, top - 0.3 * tall - zigzag * 2 - b.v)
        b.fill(snow, SNOW, shade=0)
        b.fill(sdf.both(snow, shady), "#c3d0e6", shade=0)


def tree(b: Brush) -> None:
    """Round leaves, a fir or an oval crown, on a trunk."""
    sway = 0.05 * b.jitter[0]
    trunk = sdf.segment(b.u, b.v, (0.0, -1.1), (0.0, 0.1), 0.17, 0.09)
    b.fill(sdf.both(trunk, -0.98 - b.v), BARK, form=trunk)
    wide = 0.04 * b.jitter[1]
    leafy = sdf.union(
        sdf.circle(b.u, b.v, -0.38, -0.05, 0.4),
        sdf.circle(b.u, b.v, 0.38, -0.02, 0.41 + wide),
        sdf.circle(b.u, b.v, sway, 0.45, 0.53 - wide),
    )
    oval = sdf.ellipse(b.u, b.v, 0, 0.22, 0.66 + wide, 0.76)
    pine = b.v + 9
    for k, (low, half) in enumerate(((-0.62, 0.76), (-0.16, 0.62), (0.28, 0.46))):
        top = (0.25, 0.62, 0.98)[k]
        tier = sdf.convex(b.u, b.v, [(-half, low), (half, low), (0.0, top)], 0.14)
        pine = torch.minimum(pine, tier)
    crown = b.choose(leafy, pine, oval)
    b.fill(crown, bevel=0.45, shade=0.2, drop=0.15)


def flower(b: Brush) -> None:
    """A daisy, a five-petalled bloom or a tulip."""
    bend = 0.08 * b.jitter[0]
    b.fill(sdf.segment(b.u, b.v, (-bend, -0.95), (0.0, 0.2), 0.06), LEAF, shade=0)
    for side in (-1, 1):
        leaf = sdf.segment(b.u, b.v, (0.0, -0.85), (side * 0.42, -0.58 + side * 0.08), 0.04, 0.13)
        b.fill(leaf, LEAF)
    n, turn = b.by_variant(8, 5, 6), 0.3 * b.jitter[1]
    along, across = sdf.fold(b.u, b.v, 0, 0.3, n, turn)
    petal = sdf.ellipse(along, across, b.by_variant(0.4, 0.38, 0.4), 0, 0.29, b.by_variant(0.17, 0.27, 0.2))
    cup = sdf.both(
        sdf.ellipse(b.u, b.v, 0, 0.4, 0.52, 0.66), b.v - 0.62 - 0.5 * ((b.u * 2.9 + 0.5) % 1 - 0.5).abs()
    )
    b.fill(b.choose(petal, petal, cup), bevel=0.2, shade=0.2)
    fold = sdf.segment(b.u.abs(), b.v, (0.08, -0.2), (0.26, 0.5), 0.03)
    b.fill(fold, b.own(dark=0.2), shade=0, opacity=b.by_variant(0, 0, 1))
    eye = sdf.circle(b.u, b.v, 0, 0.3, b.by_variant(0.24, 0.2, -1))
    b.fill(eye, "#e9a72f", drop=0.08, bevel=0.2)


def mushroom(b: Brush) -> None:
    """A toadstool with spots."""
    lean = 0.08 * b.jitter[0]
    stem = sdf.segment(b.u, b.v, (0.0, -0.72), (lean, 0.1), b.by_variant(0.3, 0.25, 0.32), 0.22)
    b.fill(sdf.both(stem, -0.98 - b.v), CREAM, form=stem)
    tall, low = b.by_variant(0.95, 1.05, 0.8), b.by_variant(-0.02, -0.1, 0.1)
    dome = sdf.ellipse(b.u, b.v, 0, low, 0.98, 0.98 - low)
    under = sdf.ellipse(b.u, b.v, 0, low - 0.02, 0.98, 0.24 * tall)
    b.fill(under, dark=0.2, shade=0, drop=0.2)
    b.fill(sdf.union(sdf.both(dome, low - b.v), under + 0.09), bevel=0.5, shade=0.2, form=dome)
    spots = sdf.union(
        sdf.ellipse(b.u, b.v, 0.05 + lean, low + 0.55, 0.19, 0.16),
        sdf.ellipse(b.u, b.v, -0.52, low + 0.22, 0.16, 0.17),
        sdf.ellipse(b.u, b.v, 0.58, low + 0.2, 0.14, 0.16),
        sdf.ellipse(b.u, b.v, 0.08, low + 0.08, 0.12, 0.1),
    )
    b.fill(spots, torch.where(b.white, b.own("#d8b48c"), b.own("#fbf4e6")), shade=0, opacity=0.92)


def cactus(b: Brush) -> None:
    """A saguaro with two arms, mostly in flower."""
    trunk = sdf.segment(b.u, b.v, (0.0, -1.2), (0.0, 0.6 + 0.05 * b.jitter[0]), 0.27)
    u = b.u * b.by_variant(1, -1, 1)
    low, high = -0.3 + 0.1 * b.jitter[1], -0.02 + 0.1 * b.jitter[2]
    left = sdf.union(
        sdf.segment(u, b.v, (0.0, low), (-0.6, low), 0.16),
        sdf.segment(u, b.v, (-0.6, low), (-0.6, low + 0.5), 0.16),
    )
    right = sdf.union(
        sdf.segment(u, b.v, (0.0, high), (0.6, high), 0.15),
        sdf.segment(u, b.v, (0.6, high), (0.6, high + 0.42), 0.15),
    )
    shape = sdf.union(left, right)
    shape = sdf.blend(shape, trunk, 0.1)
    b.fill(sdf.both(shape, -0.98 - b.v), bevel=0.22, shade=0.2, form=shape)
    ribs = sdf.both((b.u.abs() - 0.11).abs() - 0.025, sdf.both(trunk + 0.07, -0.9 - b.v))
    b.fill(ribs, b.own(dark=0.22), shade=0)
    along, across = sdf.fold(b.u, b.v, 0, 0.86, 5)
    b.fill(sdf.ellipse(along, across, 0.07, 0, 0.08, 0.07), "#f27aa0", shade=0, opacity=b.by_variant(1, 0, 1))


def hill(b: Brush) -> None:
    """Two soft green rises, or one, with a path to the top and bushes."""
    u = b.u * b.by_variant(1, -1, 1)
    floor = -0.98 - b.v

    def rise(middle: sdf.Size, half: sdf.Size, high: float) -> torch.Tensor:
        """How high the ground is: a round top, sides that run out, and below the foot beside them."""
        arch = ((u - middle) / half * (pi / 2)).clamp(-2.2, 2.2).cos()
        return high * arch.abs() ** 0.8 * arch.sign()

    far = (b.v + 0.98 - rise(b.by_variant(0.88, 0.92, -0.85), 1.0, 1.25)) * 0.7
    b.fill(sdf.both(far, floor), dark=0.2, bevel=0.3, form=far)
    middle, half = b.by_variant(-0.4, -0.35, 0.2) + 0.06 * b.jitter[0], b.by_variant(1.46, 1.5, 1.66)
    near = (b.v + 0.98 - rise(middle, half, 1.92)) * 0.6
    shape = sdf.both(near, floor)
    b.fill(shape, bevel=0.5, shade=0.22, drop=0.12, form=near)
    b.fill(sdf.both(shape + 0.04, 0.45 - b.v + 0.1 * (b.u * 9).sin()), pale=0.14, shade=0, opacity=0.8)
    down = (0.95 - b.v).clamp_min(0)
    bend = middle + 0.26 * (down * 3.4).sin() * down * 0.6
    path = sdf.both((u - bend).abs() - 0.025 - 0.075 * down, shape + 0.05)
    b.fill(path, "#f1e0b6", shade=0, opacity=0.9)
    for x, y, r in (
        (-1.05, -0.5, 0.15),
        (-0.88, -0.58, 0.12),
        (0.5, -0.18, 0.13),
        (0.62, -0.3, 0.15),
        (0.85, -0.74, 0.12),
    ):
        b.fill(sdf.both(sdf.circle(u, b.v, x, y, r), shape + 0.02), dark=0.35, bevel=0.12)
    along, across = u % 0.34 - 0.17, b.v - ((u / 0.34).floor() % 3) * 0.2 + 0.82
    b.fill(sdf.both(sdf.circle(along, across, 0, 0, 0.045), shape + 0.1), "#fff6e0", shade=0, opacity=0.9)


def pine(b: Brush) -> None:
    """A fir of four tiers."""
    trunk = sdf.box(b.u, b.v, 0, -0.84, 0.1, 0.16, 0.02)
    b.fill(sdf.both(trunk, -0.98 - b.v), BARK, bevel=0.1)
    wide = b.by_variant(0.64, 0.6, 0.62)
    for k in range(4):
        low, top = -0.74 + 0.4 * k, (-0.1, 0.3, 0.66, 0.98)[k]
        half = wide * (1 - 0.2 * k) + 0.02 * b.jitter[k]
        hem = 0.07 * (1 - ((b.u / half * 2.5) % 1 * 2 - 1).square())
        slope = (b.u.abs() * (top - low) - half * (top - b.v)) / (half * half + (top - low) ** 2) ** 0.5
        tier = sdf.both(slope, (low + hem - b.v) * 0.8)
        b.fill(tier, dark=0.2 - 0.06 * k, bevel=0.25, shade=0.2, drop=0.14)


def rainbow(b: Brush) -> None:
    """Six colours from cloud to cloud; its colours are always its own."""
    far = sdf.length(b.u, b.v + 0.85)
    floor = -0.85 - b.v
    for k, code in enumerate(RAINBOW):
        band = (far - (1.72 - 0.16 * k - 0.08)).abs() - 0.085
        b.fill(sdf.both(band, floor), code, shade=0.05, bevel=0.1)
    for side in (-1, 1):
        u = b.u * side - 1.24
        puff = sdf.union(
            sdf.circle(u, b.v, -0.28, -0.72, 0.25),
            sdf.circle(u, b.v, 0.02 + 0.05 * b.jitter[0], -0.6, 0.32),
            sdf.circle(u, b.v, 0.32, -0.74, 0.23),
        )
        puff = sdf.blend(puff, sdf.box(u, b.v, 0, -0.84, 0.54, 0.13, 0.13), 0.12)
        b.fill(puff, "#fbfbff", bevel=0.2, shade=0.12, drop=0.1)
