"""Plain things: ball, box, star, heart, ring, cone, diamond, crescent."""

from fromnoise.world import sdf
from fromnoise.world.paint import Brush
from fromnoise.world.things.touches import NEAR_BLACK, cheeks, opening, shine, smile


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
    opening(
        b, sdf.box(b.u, b.v, middle, (top - 0.98) / 2, right - middle - 0.15, (top + 0.98) / 2 - 0.15, 0.05)
    )


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
    opening(b, sdf.circle(b.u, b.v, 0, 0.18, 0.48))


def ring(b: Brush) -> None:
    """A hoop: plain, with a groove, or with studs."""
    middle, half = 0.79, b.by_variant(0.19, 0.19, 0.17) + 0.01 * b.jitter[0]
    away = (sdf.length(b.u, b.v) - middle).abs()
    b.fill(away - half, bevel=0.19, shade=0.3)
    b.fill(away - 0.035, b.own(dark=0.3), shade=0, opacity=b.by_variant(0, 0.8, 0))
    along, across = sdf.fold(b.u, b.v, 0, 0, 8, 0.3 * b.jitter[1])
    b.fill(sdf.circle(along, across, middle, 0, 0.08), pale=0.45, bevel=0.08, opacity=b.by_variant(0, 0, 1))
    gleam = sdf.both(away - 0.05, 0.3 - sdf.half_plane(b.u, b.v, (0.5, 0.0), (0.0, -0.5)))
    b.fill(sdf.both(gleam, b.u * 0.7 - b.v * 0.7 + 0.55), "#ffffff", shade=0, opacity=0.35)


def cone(b: Brush) -> None:
    """A cone with a round foot, light on one side: plain, or with a band."""
    base = sdf.ellipse(b.u, b.v, 0, -0.76, 0.88, 0.22)
    sides = sdf.convex(b.u, b.v, [(-0.88, -0.76), (0.88, -0.76), (0.0, 0.98)], 0.05)
    shape = sdf.union(base, sides)
    b.fill(shape, bevel=0.3, shade=0.14)
    reach = (0.98 - b.v).clamp_min(0.02) * 0.51  # half the width of the cone at this height
    for edge in (0.1, 0.42, 0.72):
        b.fill(sdf.both(shape, edge * reach - b.u), b.own(dark=0.24), shade=0, opacity=0.4)
    b.fill(sdf.both(shape, (b.u + 0.55 * reach).abs() - 0.12 * reach), b.own(pale=0.35), shade=0, opacity=0.7)
    curve = b.v + 0.2 + 0.16 * (1 - (b.u / reach).square()).clamp_min(0).sqrt()
    for above, half, shown in ((0.0, 0.13, (0, 1, 0.9)), (0.5, 0.09, (0, 0, 0.9))):
        band = sdf.both(shape, (curve - above).abs() - half)
        b.fill(band, b.accent(0.75), shade=0, opacity=b.by_variant(*shown))


def diamond(b: Brush) -> None:
    """A cut gem seen from its side."""
    high, low = 0.95, b.by_variant(0.32, 0.25, 0.38) + 0.04 * b.jitter[0]
    table, side = b.by_variant(0.62, 0.7, 0.55), b.u.abs()
    gem = sdf.both(
        sdf.convex(b.u, b.v, [(0.0, -0.98), (1.13, low), (-1.13, low)]),
        b.v - low,
    )
    crown = sdf.convex(side, b.v, [(-0.1, low), (1.13, low), (table, high), (-0.1, high)])
    shape = sdf.union(gem, crown)
    b.fill(shape, bevel=0.12, shade=0.12)
    inner = table * 0.62
    b.fill(sdf.both(gem, sdf.half_plane(b.u, b.v, (inner, low), (0.0, -0.98))), b.own(dark=0.3), shade=0)
    b.fill(sdf.both(gem, sdf.half_plane(b.u, b.v, (0.0, -0.98), (-inner, low))), b.own(pale=0.28), shade=0)
    slope = (b.v - low) / (high - low)  # from the girdle to the table
    b.fill(sdf.both(crown, side - inner * (1 - slope)), b.own(pale=0.55), shade=0)
    b.fill(sdf.both(crown, inner + (table - inner) * slope * 0.9 + 0.02 - b.u), b.own(dark=0.16), shade=0)
    b.fill(sdf.both(crown, inner + (table - inner) * slope * 0.9 + 0.02 + b.u), b.own(pale=0.3), shade=0)
    b.fill(sdf.both(shape, (b.v - low).abs() - 0.025), b.own(pale=0.6), shade=0)
    glint = sdf.star(b.u, b.v, 0.62, 0.66, 0.24, 0.06, 4)
    b.fill(glint, "#ffffff", shade=0)


def crescent(b: Brush) -> None:
    """A crescent that sleeps."""
    disc = sdf.circle(b.u, b.v, 0.13, 0, 0.98)
    bite = sdf.circle(
        b.u, b.v, b.by_variant(0.66, 0.6, 0.72), 0.06 * b.jitter[0], b.by_variant(0.76, 0.7, 0.8)
    )
    shape = sdf.without(disc, bite)
    b.fill(shape, bevel=0.3, shade=0.18)
    lid = sdf.both(sdf.circle(b.u, b.v, -0.42, 0.2, 0.13).abs() - 0.035, b.v - 0.2)
    b.fill(lid, NEAR_BLACK, shade=0, opacity=0.85)
    smile(b, -0.3, -0.16, 0.12, 0.03)
    cheeks(b, -0.55, -0.06, 0.09)
