"""More of what has a face: snail, butterfly, penguin, owl."""

from fromnoise.world import sdf
from fromnoise.world.paint import Brush
from fromnoise.world.things.touches import NEAR_BLACK, cheeks, eyes, smile

BEAK = "#f2a03d"


def snail(b: Brush) -> None:
    """Creeps to the right under its house."""
    reach = 0.06 * b.jitter[0]
    skin = b.own(pale=0.6)
    for x in (0.78, 1.1):
        stalk = sdf.segment(b.u, b.v, (x, 0.1), (x + 0.08 + reach, 0.72), 0.055)
        b.fill(stalk, skin, bevel=0.06)
        eye = sdf.circle(b.u, b.v, x + 0.09 + reach, 0.8, 0.13)
        b.fill(eye, "#fdfbf6", bevel=0.1, shade=0.1)
        b.fill(sdf.circle(b.u, b.v, x + 0.12 + reach, 0.8, 0.07), NEAR_BLACK, shade=0)
    foot = sdf.segment(b.u, b.v, (-1.26, -0.9), (0.8, -0.8), 0.09, 0.18)
    neck = sdf.segment(b.u, b.v, (0.7, -0.76), (0.96, 0.02), 0.2, 0.3)
    body = sdf.both(sdf.blend(foot, neck, 0.3), -0.98 - b.v)
    b.fill(body, skin, bevel=0.2, shade=0.16)
    smile(b, 1.06, -0.08, 0.12, 0.03)
    cheeks(b, 0.9, -0.1, 0.09)
    x, y, r = -0.28, -0.04, b.by_variant(0.84, 0.8, 0.86)
    shell = sdf.circle(b.u, b.v, x, y, r)
    b.fill(shell, bevel=0.5, shade=0.22, drop=0.1)
    du, dv = b.u - x - 0.05, b.v - y + 0.04
    turns = sdf.length(du, dv) / 0.27 - dv.atan2(du) / 6.2832
    spiral = ((turns % 1) - 0.5).abs() * 0.27 - 0.045
    b.fill(sdf.both(spiral, shell + 0.07), b.ink(0.4), shade=0, opacity=b.by_variant(0.9, 0.9, 0.7))


def butterfly(b: Brush) -> None:
    """Four wings, spread."""
    side, lift = b.u.abs(), 0.06 * b.jitter[0]
    upper = sdf.segment(side, b.v, (0.2, 0.1), (0.78, 0.5 + lift), 0.2, b.by_variant(0.44, 0.42, 0.4))
    lower = sdf.segment(
        side, b.v, (0.15, -0.1), (0.58, -0.56 - lift * 0.5), 0.16, b.by_variant(0.36, 0.34, 0.38)
    )
    feelers = sdf.union(
        sdf.segment(side, b.v, (0.03, 0.5), (0.2, 0.86), 0.025),
        sdf.circle(side, b.v, 0.2, 0.89, 0.085),
    )
    b.fill(feelers, "#4a3a44", shade=0)
    b.fill(lower, dark=0.16, bevel=0.25, shade=0.2)
    b.fill(lower + 0.13, pale=0.12, shade=0)
    b.fill(sdf.circle(side, b.v, 0.6, -0.58 - lift * 0.5, 0.13), b.own(pale=0.6), shade=0)
    b.fill(upper, bevel=0.25, shade=0.2, drop=0.06)
    b.fill(upper + 0.07, dark=0.0, pale=0.1, shade=0)
    b.fill(sdf.circle(side, b.v, 0.84, 0.58 + lift, 0.17), b.own(pale=0.65), shade=0)
    b.fill(
        sdf.circle(side, b.v, 0.84, 0.58 + lift, 0.085),
        b.own(dark=0.5),
        shade=0,
        opacity=b.by_variant(1, 0, 1),
    )
    b.fill(
        sdf.circle(side, b.v, 0.5, 0.27 + lift, 0.1), b.own(pale=0.65), shade=0, opacity=b.by_variant(1, 1, 0)
    )
    body = sdf.segment(b.u, b.v, (0.0, -0.6), (0.0, 0.1), 0.09, 0.14)
    b.fill(body, "#5a4650", bevel=0.12, drop=0.06)
    b.fill(sdf.circle(b.u, b.v, 0, 0.34, 0.22), "#6b5560", bevel=0.2)
    eyes(b, 0.0, 0.38, 0.055, apart=0.2)
    cheeks(b, 0.0, 0.27, 0.05, apart=0.26)


def penguin(b: Brush) -> None:
    """Stands upright; its coat has the colour."""
    side, lift = b.u.abs(), 0.16 * b.jitter[0]
    b.fill(sdf.ellipse(side, b.v, 0.27, -0.9, 0.23, 0.1), BEAK, bevel=0.1)
    flipper = sdf.segment(side, b.v, (0.5, 0.05), (0.72, -0.42 + lift), 0.15, 0.08)
    b.fill(flipper, dark=0.2, bevel=0.12)
    body = sdf.blend(
        sdf.ellipse(b.u, b.v, 0, -0.3, b.by_variant(0.66, 0.7, 0.62), 0.64),
        sdf.circle(b.u, b.v, 0, 0.44, 0.54),
        0.2,
    )
    b.fill(body, bevel=0.35, shade=0.2)
    b.fill(sdf.ellipse(b.u, b.v, 0, -0.44, 0.35, 0.39), "#fbf8f2", shade=0)
    b.fill(sdf.ellipse(side, b.v, 0.19, 0.41, 0.19, 0.22), "#fbf8f2", shade=0)
    eye = sdf.ellipse(side, b.v, 0.2, 0.46, 0.085, 0.105)
    b.fill(eye, NEAR_BLACK, shade=0)
    b.fill(sdf.circle((b.u.abs() - 0.2) * b.u.sign(), b.v, -0.03, 0.5, 0.035), "#ffffff", shade=0)
    b.fill(
        sdf.convex(b.u, b.v, [(-0.14, 0.32), (0.0, 0.17), (0.14, 0.32), (0.0, 0.38)], 0.03), BEAK, bevel=0.06
    )
    cheeks(b, 0.0, 0.26, 0.085, apart=0.62)
    scarf = sdf.both((b.v + 0.02 + 0.1 * (1 - b.u.square())).abs() - 0.085, body + 0.0)
    tail = sdf.box(b.u, b.v, 0.3, -0.22, 0.09, 0.2, 0.05)
    b.fill(sdf.union(scarf, tail), "#e0503f", bevel=0.08, opacity=b.by_variant(0, 1, 0))


def owl(b: Brush) -> None:
    """Sits upright with great round eyes."""
    side = b.u.abs()
    b.fill(sdf.ellipse(side, b.v, 0.26, -0.92, 0.17, 0.07), BEAK, shade=0.1)
    tufts = sdf.segment(side, b.v, (0.36, 0.6), (0.56, 0.92 + 0.03 * b.jitter[0]), 0.2, 0.04)
    body = sdf.blend(
        sdf.ellipse(b.u, b.v, 0, -0.28, b.by_variant(0.7, 0.74, 0.66), 0.66),
        sdf.ellipse(b.u, b.v, 0, 0.38, 0.66, 0.46),
        0.2,
    )
    shape = sdf.union(body, tufts)
    b.fill(shape, bevel=0.35, shade=0.2)
    belly = sdf.ellipse(b.u, b.v, 0, -0.4, 0.44, 0.46)
    b.fill(belly, b.own(pale=0.5), shade=0)
    row = (b.v / 0.2).floor()
    du = (b.u + row % 2 * 0.11) % 0.22 - 0.11
    scallop = sdf.both(
        sdf.circle(du, b.v - (row + 0.6) * 0.2, 0, 0, 0.09).abs() - 0.022, b.v - (row + 0.6) * 0.2
    )
    b.fill(sdf.both(scallop, belly + 0.05), b.own(dark=0.2), shade=0, opacity=b.by_variant(0.8, 0, 0.8))
    wing = sdf.segment(side, b.v, (0.6, -0.02), (0.52, -0.55), 0.2, 0.12)
    b.fill(wing, dark=0.22, bevel=0.18, drop=0.08)
    b.fill(sdf.circle(side, b.v, 0.29, 0.36, 0.32), b.own(pale=0.65), bevel=0.1, shade=0.08)
    for reach, code in ((0.21, "#ffd65c"), (0.135, NEAR_BLACK)):
        b.fill(sdf.circle(side, b.v, 0.28, 0.36, reach), code, shade=0)
    b.fill(sdf.circle((side - 0.28) * b.u.sign(), b.v, -0.05, 0.43, 0.05), "#ffffff", shade=0)
    b.fill(sdf.convex(b.u, b.v, [(-0.1, 0.24), (0.0, 0.02), (0.1, 0.24)], 0.04), BEAK, bevel=0.06)
