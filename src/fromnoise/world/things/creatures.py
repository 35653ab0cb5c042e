"""What has a face of its own: cat, fish, bird, whale, ghost; the others are `critters`."""

from fromnoise.world import sdf
from fromnoise.world.paint import Brush
from fromnoise.world.things.touches import NEAR_BLACK, cheeks, eyes, smile

BEAK, INNER_EAR = "#f2a03d", "#f0a3a8"


def cat(b: Brush) -> None:
    """Sits and looks at us."""
    side = b.by_variant(1, -1, 1)
    u, curl = b.u * side, 0.08 * b.jitter[0]
    tail = sdf.union(
        sdf.segment(u, b.v, (0.2, -0.84), (0.62, -0.72), 0.12),
        sdf.segment(u, b.v, (0.62, -0.72), (0.64 + curl * 0.3, -0.2 + curl), 0.12, 0.1),
    )
    b.fill(tail, dark=0.1, bevel=0.15)
    body = sdf.ellipse(b.u, b.v, 0, -0.5, b.by_variant(0.46, 0.5, 0.42), 0.62)
    b.fill(sdf.both(body, -0.98 - b.v), bevel=0.3, form=body)
    b.fill(sdf.ellipse(b.u, b.v, 0, -0.45, 0.2, 0.3), b.own(pale=0.4), shade=0, opacity=b.by_variant(1, 0, 1))
    paws = sdf.ellipse(b.u.abs(), b.v, 0.19, -0.87, 0.17, 0.11)
    b.fill(paws, pale=0.15, bevel=0.1, drop=0.08)
    ears = sdf.segment(b.u.abs(), b.v, (0.38, 0.5), (0.52, 0.9), 0.24, 0.05)
    head = sdf.ellipse(b.u, b.v, 0, 0.28, 0.64, 0.48)
    b.fill(sdf.union(ears, head), bevel=0.3, drop=0.14)
    b.fill(sdf.segment(b.u.abs(), b.v, (0.4, 0.6), (0.5, 0.8), 0.11, 0.03), INNER_EAR, shade=0)
    eyes(b, 0.0, 0.3, 0.12, apart=0.54)
    b.fill(sdf.ellipse(b.u, b.v, 0, 0.14, 0.075, 0.05), "#e8788a", shade=0)
    smile(b, -0.08, 0.1, 0.09, 0.025)
    smile(b, 0.08, 0.1, 0.09, 0.025)
    cheeks(b, 0.0, 0.1, 0.1, apart=0.8)


def fish(b: Brush) -> None:
    """Swims to the right; one of the variants is banded."""
    flap, tall = 0.1 * b.jitter[0], b.by_variant(0.76, 0.84, 0.68)
    tail = sdf.blend(
        sdf.segment(b.u, b.v, (-0.7, 0.0), (-1.28, 0.46 + flap), 0.1, 0.3),
        sdf.segment(b.u, b.v, (-0.7, 0.0), (-1.28, -0.46 + flap), 0.1, 0.3),
        0.15,
    )
    b.fill(tail, dark=0.16, bevel=0.2)
    fins = sdf.union(
        sdf.segment(b.u, b.v, (0.45, 0.5), (-0.15, 0.82), 0.35, 0.15),
        sdf.segment(b.u, b.v, (0.3, -0.5), (-0.1, -0.86), 0.25, 0.11),
    )
    b.fill(fins, dark=0.16, bevel=0.2)
    body = sdf.blend(
        sdf.ellipse(b.u, b.v, 0.38, 0, 1.18, tall),
        sdf.segment(b.u, b.v, (-0.3, 0.0), (-0.95, 0.0), 0.4, 0.12),
        0.2,
    )
    b.fill(body, bevel=0.5, shade=0.2, drop=0.1)
    b.fill(sdf.both(body + 0.04, b.v + 0.32 + 0.1 * b.u.square()), b.own(pale=0.45), shade=0)
    bands = sdf.both(body + 0.04, ((b.u + 0.5).abs() - 0.25).abs() - 0.1)
    b.fill(bands, "#fbf6ea", shade=0, opacity=b.by_variant(0, 0.9, 0))
    fin = sdf.segment(b.u, b.v, (0.22, -0.12), (-0.12, -0.25 + flap), 0.15, 0.1)
    b.fill(fin, dark=0.14, bevel=0.15)
    eyes(b, 0.95, 0.18, 0.15)
    smile(b, 1.2, -0.12, 0.17, 0.035)
    cheeks(b, 0.78, -0.17, 0.13)


def bird(b: Brush) -> None:
    """Faces right, wing folded or raised."""
    legs = sdf.segment((b.u + 0.02).abs(), b.v, (0.16, -0.7), (0.2, -0.95), 0.045)
    b.fill(legs, BEAK, shade=0)
    cock = 0.1 * b.jitter[0]
    tail = sdf.union(
        sdf.segment(b.u, b.v, (-0.5, -0.3), (-1.08, 0.12 + cock), 0.2, 0.1),
        sdf.segment(b.u, b.v, (-0.5, -0.35), (-1.1, -0.15 + cock), 0.2, 0.09),
    )
    b.fill(tail, dark=0.16, bevel=0.15)
    crest = sdf.union(
        sdf.segment(b.u, b.v, (0.3, 0.7), (0.12, 0.93), 0.1, 0.05),
        sdf.segment(b.u, b.v, (0.35, 0.7), (0.36, 0.93), 0.1, 0.05),
    )
    b.fill(crest, dark=0.1, shade=0, opacity=b.by_variant(1, 0, 1))
    beak = sdf.segment(b.u, b.v, (0.82, 0.25), (1.14, 0.2), 0.17, 0.03)
    b.fill(beak, BEAK, bevel=0.15)
    plump = b.by_variant(0, 0.04, -0.06)
    body = sdf.blend(
        sdf.ellipse(b.u, b.v, -0.05, -0.2, 0.78 + plump, 0.62), sdf.circle(b.u, b.v, 0.4, 0.35, 0.52), 0.3
    )
    b.fill(body, bevel=0.4, shade=0.2)
    b.fill(sdf.both(sdf.ellipse(b.u, b.v, 0.4, -0.32, 0.42, 0.4), body + 0.03), b.own(pale=0.5), shade=0)
    folded = sdf.segment(b.u, b.v, (0.05, -0.12), (-0.52, -0.28 + cock), 0.3, 0.1)
    raised = sdf.union(
        sdf.segment(b.u, b.v, (0.0, -0.15), (-0.3, 0.76 + cock), 0.22, 0.11),
        sdf.segment(b.u, b.v, (-0.05, -0.15), (-0.58, 0.56 + cock), 0.24, 0.11),
        sdf.segment(b.u, b.v, (-0.05, -0.18), (-0.76, 0.28 + cock), 0.24, 0.1),
    )
    b.fill(b.choose(folded, raised, folded), dark=0.2, bevel=0.2, drop=0.08)
    eyes(b, 0.55, 0.42, 0.125)
    cheeks(b, 0.4, 0.2, 0.1)


def whale(b: Brush) -> None:
    """Swims to the right, tail up, and spouts."""
    wag, spread = 0.08 * b.jitter[0], b.by_variant(0.29, 0.2, 0.36)
    water = sdf.union(
        sdf.segment(b.u, b.v, (0.45, 0.3), (0.45, 0.72), 0.06),
        sdf.segment(b.u, b.v, (0.45, 0.7), (0.45 - spread, 0.88), 0.07, 0.09),
        sdf.segment(b.u, b.v, (0.45, 0.7), (0.45 + spread, 0.88), 0.07, 0.09),
    )
    b.fill(water, "#83ccf0", shade=0)
    fluke = sdf.union(
        sdf.segment(b.u, b.v, (-1.22, 0.35), (-1.46, 0.74 + wag), 0.13, 0.1),
        sdf.segment(b.u, b.v, (-1.2, 0.35), (-0.86, 0.72 + wag), 0.13, 0.1),
    )
    tail = sdf.segment(b.u, b.v, (-0.3, -0.35), (-1.2, 0.35), 0.5, 0.13)
    body = sdf.ellipse(b.u, b.v, 0.42, -0.28, 1.14, b.by_variant(0.7, 0.74, 0.66))
    shape = sdf.both(sdf.blend(sdf.blend(body, tail, 0.3), fluke, 0.12), -0.98 - b.v)
    b.fill(shape, bevel=0.5, shade=0.2)
    belly = sdf.both(shape + 0.03, b.v + b.by_variant(0.55, 0.48, 0.62) - 0.1 * (b.u - 0.3))
    b.fill(belly, b.own(pale=0.6), shade=0)
    grooves = ((b.u * 3 - b.v) % 1 - 0.5).abs() * 0.33 - 0.035
    b.fill(sdf.both(sdf.both(belly + 0.06, grooves), 0.1 - b.u), b.own(pale=0.35), shade=0)
    fin = sdf.segment(b.u, b.v, (0.2, -0.55), (-0.15, -0.85 + wag), 0.18, 0.09)
    b.fill(fin, dark=0.16, bevel=0.2, drop=0.08)
    eyes(b, 1.0, -0.18, 0.12)
    smile(b, 1.15, -0.42, 0.17, 0.035)
    cheeks(b, 0.84, -0.42, 0.11)


def ghost(b: Brush) -> None:
    """A sheet that waves; it glows at night."""
    lift = 0.06 * b.jitter[0]
    phase = b.by_variant(0, 1.5, 0.8)
    dome = sdf.segment(b.u, b.v, (0.0, 0.36), (0.0, -1.0), 0.62, 0.7)
    hem = -0.85 - b.v + 0.12 * (b.u * 10 + phase).cos()
    arms = sdf.segment(b.u.abs(), b.v, (0.4, -0.12), (0.65, 0.06 + lift), 0.2, 0.13)
    form = sdf.blend(dome, arms, 0.1)
    body = sdf.both(form, hem * 0.6)
    b.glow(body, b.own(pale=0.5), 0.3, b.night * 0.45)
    b.fill(body, bevel=0.4, shade=0.2, form=form)
    u = b.u.abs()
    b.fill(sdf.ellipse(u, b.v, 0.24, 0.42, 0.14, 0.2), b.own(pale=0.6), shade=0)
    b.fill(sdf.ellipse(u, b.v, 0.24, 0.4, 0.11, 0.165), NEAR_BLACK, shade=0)
    b.fill(sdf.circle(b.u.abs() - 0.24, b.v, -0.03, 0.47, 0.045), "#ffffff", shade=0)
    mouth = sdf.ellipse(b.u, b.v, 0, 0.07, 0.1, b.by_variant(0.12, 0.07, 0.1))
    b.fill(mouth, "#4a3550", shade=0)
    cheeks(b, 0.0, 0.14, 0.11, apart=0.86)
