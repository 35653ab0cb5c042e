"""Plain things: ball, box, star, heart."""

from fromnoise.world import sdf
from fromnoise.world.paint import Brush
from fromnoise.world.things.touches import shine


def ball(b: Brush) -> None:
    """Plain, with a band, or a beach ball."""
    disc = sdf.circle(b.u, b.v, 0, 0, 0.98)
    b.fill(disc, bevel=0.8, shade=0.2)
    along, across = sdf.fold(b.u, b.v, -0.25, 0.35, 6, 0.4 * b.jitter[0])
    panels = across.abs() - along * 0.25
    band = (b.v + 0.45 * b.u + 0.25 * b.u.square() - 0.1).abs() - 0.2
    far = b.u.square() + 9
    mark = sdf.both(disc, b.choose(far, band, panels))
    b.fill(mark, b.accent(0.65), bevel=0.8, shade=0.2, form=disc)
    cap = sdf.circle(b.u, b.v, -0.25, 0.35, b.by_variant(-1, -1, 0.17))
    b.fill(cap, dark=0.15, shade=0)
    shine(b, -0.42, 0.5, 0.2, 0.13, 0.7)


def box(b: Brush) -> None:
    """A parcel seen from the front and a little from above and the right."""
    depth, rise = 0.42 + 0.08 * b.jitter[0], 0.38 + 0.06 * b.jitter[1]
    right, top = 0.98 - depth, 0.98 - rise
    front = sdf.convex(b.u, b.v, [(-0.98, -0.98), (right, -0.98), (right, top), (-0.98, top)])
    side = sdf.convex(b.u, b.v, [(right, -0.98), (0.98, rise - 0.98), (0.98, 0.98), (right, top)])
    lid = sdf.convex(b.u, b.v, [(-0.98, top), (right, top), (0.98, 0.98), (depth - 0.98, 0.98)])
    b.fill(side, dark=0.32, bevel=0.1)
    b.fill(lid, pale=0.32, bevel=0.1)
    b.fill(front, bevel=0.12)
    middle, half = (right - 0.98) / 2, 0.13
    shift = (b.v - top).clamp_min(0) * (depth / rise)
    tape = sdf.both(sdf.union(front, lid), (b.u - shift - middle).abs() - half)
    tape = sdf.both(tape, b.by_variant(-9, 0.25, -9) - b.v + top - 0.6)
    b.fill(tape, b.own("#f3e3c0"), shade=0, opacity=b.by_variant(0.85, 0.85, 0))
    grooves = sdf.both(front, ((b.v + 0.98) / (top + 0.98) * 3 % 1 - 0.5).abs() * -0.5 + 0.21)
    b.fill(grooves, b.own(dark=0.3), shade=0, opacity=b.by_variant(0, 0, 1))


def star(b: Brush) -> None:
    """Faceted, rounded, or with an inlay."""
    turn = 0.12 * b.jitter[0]
    outline = sdf.star(b.u, b.v, 0, -0.08, 0.92, 0.52, 5, turn) - 0.08
    b.fill(outline, bevel=0.4, shade=0.2)
    along, across = sdf.fold(b.u, b.v, 0, -0.08, 5, turn)
    facet = sdf.both(outline + 0.07, b.choose(across, along + 9, across.abs() - 0.28 + 0.3 * along))
    b.fill(facet, pale=0.22, shade=0)


def heart(b: Brush) -> None:
    """A heart."""
    lobe = b.by_variant(0.53, 0.56, 0.59) + 0.02 * b.jitter[0]
    shape = sdf.segment(b.u.abs(), b.v, (0.98 - lobe, 0.97 - lobe), (0.0, -0.9), lobe, 0.07)
    b.fill(shape, bevel=0.6, shade=0.2, form=sdf.circle(b.u, b.v, 0, 0.1, 0.98))
    shine(b, -0.5, 0.55, 0.2, 0.14)
