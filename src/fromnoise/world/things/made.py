"""What people build: house, castle, lighthouse, boat, car, rocket, balloon, umbrella, robot, cake …"""

import torch

from fromnoise.world import sdf
from fromnoise.world.paint import Brush
from fromnoise.world.things.touches import shine, window

SLATE, DOOR, WOOD, METAL, TYRE, CREAM = "#5b5468", "#7b4b33", "#8a6142", "#b9bec9", "#2b2a35", "#f7f1e1"


def house(b: Brush) -> None:
    """A gabled front with a chimney, and light in the windows at night."""
    eave, half = b.by_variant(0.02, 0.1, -0.05) + 0.05 * b.jitter[0], 0.84
    chimney = sdf.box(b.u, b.v, 0.5, 0.6, 0.13, 0.34, 0.02)
    b.fill(chimney, "#9a5a48", bevel=0.1)
    wall = sdf.convex(b.u, b.v, [(-half, -0.98), (half, -0.98), (half, eave), (0.0, 0.86), (-half, eave)])
    b.fill(wall, bevel=0.12, shade=0.1)
    side = b.u.abs()
    roof = sdf.segment(side, b.v, (0.0, 0.86), (0.89, eave - 0.02), 0.09)
    b.fill(roof, SLATE, bevel=0.12, drop=0.15)
    place = b.by_variant(-0.3, 0, 0.3)
    door = sdf.box(b.u, b.v, place, -0.7, 0.17, 0.32, 0.08)
    b.fill(sdf.both(door, -0.98 - b.v), DOOR, bevel=0.1)
    b.fill(sdf.circle(b.u, b.v, place + 0.1, -0.7, 0.035), "#f2cf6b", shade=0)
    at = b.by_variant(0.36, 0.54, -0.36)
    wide = b.by_variant(0.19, 0.14, 0.19)
    pane = torch.where(b.variant.long() % 3 == 1, side, b.u)
    frame = sdf.box(pane, b.v, at, -0.42, wide + 0.045, 0.225, 0.04)
    b.fill(frame, CREAM, shade=0)
    window(b, sdf.box(pane, b.v, at, -0.42, wide, 0.18, 0.02))
    bars = torch.minimum((pane - at).abs(), (b.v + 0.42).abs()) - 0.025
    b.fill(sdf.both(bars, frame), CREAM, shade=0)
    window(b, sdf.circle(b.u, b.v, 0, 0.32, 0.15))


def castle(b: Brush) -> None:
    """Two towers, a keep with a flag, a gate."""
    side = b.u.abs()
    roofed = b.by_variant(1, 0, 1)
    keep = b.by_variant(0.42, 0.5, 0.34)
    b.fill(sdf.box(b.u, b.v, 0, (keep - 0.98) / 2, 0.36, (keep + 0.98) / 2, 0.02), dark=0.14, bevel=0.1)
    flag = sdf.convex(b.u, b.v, [(0.02, 0.78), (0.34, 0.86), (0.02, 0.97)])
    b.fill(sdf.box(b.u, b.v, 0, 0.7, 0.03, 0.28), WOOD, shade=0)
    b.fill(flag, "#e2574c", shade=0)
    b.fill(_battlements(b.u, b.v, 0.36, keep), dark=0.14, bevel=0.06)
    roof = sdf.convex(b.u, b.v, [(-0.44, keep), (0.44, keep), (0.0, 0.86)])
    b.fill(roof, SLATE, bevel=0.15, opacity=b.by_variant(0, 0, 1))
    b.fill(sdf.box(b.u, b.v, 0, -0.54, 0.8, 0.44), bevel=0.1, shade=0.1)
    b.fill(_battlements(b.u, b.v, 0.7, -0.12), bevel=0.06, shade=0.1)
    tower = sdf.box(side, b.v, 0.8, -0.38, 0.26, 0.6, 0.02)
    b.fill(tower, bevel=0.2, shade=0.2, drop=0.12)
    b.fill(_battlements(side - 0.8, b.v, 0.3, 0.2), bevel=0.08)
    cone = sdf.convex(side - 0.8, b.v, [(-0.3, 0.2), (0.3, 0.2), (0.0, 0.86)])
    b.fill(cone, SLATE, bevel=0.15, opacity=roofed)
    gate = sdf.union(sdf.circle(b.u, b.v, 0, -0.6, 0.24), sdf.box(b.u, b.v, 0, -0.85, 0.24, 0.25))
    b.fill(sdf.both(gate, -0.98 - b.v), "#5a3d33", bevel=0.1)
    window(b, sdf.segment(side, b.v, (0.8, -0.3), (0.8, -0.12), 0.085))
    window(b, sdf.segment(b.u, b.v, (0.0, 0.12), (0.0, 0.24), 0.09))


def _battlements(u: torch.Tensor, v: torch.Tensor, half: float, low: sdf.Size) -> torch.Tensor:
    """A row of teeth on a wall whose top is at `low`."""
    tooth = 2 * half / 5
    teeth = ((u + half) % (2 * tooth) - tooth / 2).abs() - tooth / 2
    return sdf.both(sdf.box(u, v, 0, low + 0.05, half, 0.13), sdf.union(teeth, v - low))


def lighthouse(b: Brush) -> None:
    """A banded tower whose lamp throws a beam at night."""
    far = b.u.abs()
    beam = (b.v - 0.62).abs() - 0.06 - 0.16 * far
    b.glow(beam, "#fff0b0", 0.08, b.night * 0.45 * (1.15 - far).clamp(0, 1))
    rock = sdf.both(sdf.ellipse(b.u, b.v, 0, -1.02, 0.44, 0.16), -0.98 - b.v)
    b.fill(rock, "#77707a")
    slim = 0.02 * b.jitter[0]
    low, high = 0.36 + slim, 0.25 + slim
    tower = sdf.convex(b.u, b.v, [(-low, -0.95), (low, -0.95), (high, 0.45), (-high, 0.45)])
    form = (far - low) * 0.9
    b.fill(tower, bevel=0.3, shade=0.22, form=form)
    every = b.by_variant(0.56, 0.4, 0.56)
    bands = ((b.v + 0.95) / every % 1 - 0.75).abs() * every - b.by_variant(0.105, 0.075, 0.09)
    bands = sdf.both(tower, bands)
    b.fill(bands, b.accent(1.0), bevel=0.3, shade=0.2, form=form)
    b.fill(sdf.box(b.u, b.v, 0, -0.82, 0.1, 0.14, 0.06), DOOR, shade=0)
    lamp = sdf.box(b.u, b.v, 0, 0.62, 0.17, 0.14, 0.02)
    b.glow(lamp, "#ffe08a", 0.6, b.night * 0.48)
    b.fill(lamp, b.lamp("#ffe9a6", "#fff3c4"), shade=0)
    b.fill(sdf.box(b.u, b.v, 0, 0.47, 0.34, 0.055, 0.03), SLATE, bevel=0.06)
    dome = sdf.both(sdf.ellipse(b.u, b.v, 0, 0.73, 0.25, 0.2), 0.73 - b.v)
    b.fill(dome, bevel=0.15)
    b.fill(sdf.circle(b.u, b.v, 0, 0.94, 0.045), SLATE, shade=0)
    window(b, sdf.box(b.u, b.v, 0, 0.2, 0.07, 0.09, 0.04), reach=0.2)


def boat(b: Brush) -> None:
    """A sailing boat; the main sail is cream or the boat's own colour."""
    mast = b.by_variant(0.05, -0.1, 0.0) + 0.05 * b.jitter[0]
    b.fill(sdf.box(b.u, b.v, mast, 0.2, 0.045, 0.78), WOOD, shade=0)
    main = sdf.convex(b.u, b.v, [(mast + 0.08, -0.3), (0.95, -0.3), (mast + 0.08, 0.95)], 0.05)
    jib = sdf.convex(b.u, b.v, [(-0.92, -0.3), (mast - 0.1, -0.3), (mast - 0.1, 0.78)], 0.05)
    b.fill(main, bevel=0.3)
    b.fill(main, CREAM, bevel=0.3, opacity=b.by_variant(1, 0, 1))
    b.fill(jib, bevel=0.3, pale=0.15)
    hull = sdf.convex(b.u, b.v, [(-0.72, -0.98), (0.72, -0.98), (1.08, -0.36), (-1.08, -0.36)], 0.12)
    b.fill(hull, bevel=0.3, shade=0.2)
    b.fill(sdf.both(hull, (b.v + 0.47).abs() - 0.06), CREAM, shade=0)


def car(b: Brush) -> None:
    """A small car that drives to the right."""
    cabin_x, top = b.by_variant(-0.12, -0.1, -0.25), b.by_variant(1.0, 0.94, 1.0)
    roof, foot = b.by_variant(0.5, 0.55, 0.85), b.by_variant(0.95, 1.0, 1.05)
    u = b.u - cabin_x
    cabin = sdf.convex(u, b.v, [(-foot, -0.3), (foot, -0.3), (roof, top), (-roof, top)], 0.25)
    b.fill(cabin, bevel=0.3, shade=0.2)
    glass = sdf.both(cabin + 0.16, -0.08 - b.v)
    window(b, sdf.both(glass, 0.07 - u.abs()), reach=0.25)
    body = sdf.box(b.u, b.v, 0, -0.36, 1.66, 0.4, 0.3)
    b.fill(body, bevel=0.35, shade=0.2)
    b.fill(sdf.box(b.u, b.v, 0, -0.62, 1.6, 0.07, 0.05), b.own(dark=0.3), shade=0)
    b.fill(sdf.box(u, b.v, 0.2, -0.22, 0.13, 0.035, 0.03), b.own(dark=0.35), shade=0)
    wheel = sdf.circle(b.u.abs(), b.v, 0.9, -0.62, 0.36)
    b.fill(wheel, TYRE, bevel=0.15)
    b.fill(wheel + 0.18, METAL, bevel=0.1)
    lamp = sdf.ellipse(b.u, b.v, 1.5, -0.22, 0.13, 0.12)
    b.glow(lamp, "#ffe08a", 0.45, b.night * 0.48)
    b.fill(lamp, b.lamp("#fff0b8", "#fff6d0"), shade=0)
    b.fill(sdf.box(b.u, b.v, -1.58, -0.22, 0.07, 0.1, 0.05), "#d8423a", shade=0)


def rocket(b: Brush) -> None:
    """Stands or flies on its flame."""
    flame = sdf.segment(b.u, b.v, (0.0, -0.62), (0.06 * b.jitter[0], -0.93), 0.2, 0.05)
    b.glow(flame, "#ffb04a", 0.3, 0.2 + 0.25 * b.night)
    b.fill(flame, "#f5852f", shade=0)
    b.fill(sdf.segment(b.u, b.v, (0.0, -0.62), (0.0, -0.78), 0.11, 0.04), "#ffe27a", shade=0)
    side = b.u.abs()
    fins = sdf.convex(side, b.v, [(0.1, -0.55), (0.5, -0.82), (0.52, -0.45), (0.2, 0.0)], 0.06)
    b.fill(fins, dark=0.28, bevel=0.15)
    fat = b.by_variant(0.36, 0.32, 0.4)
    reach = (0.85 * 0.85 + fat * fat) / (2 * fat)
    hull = sdf.both(sdf.circle(side, b.v, fat - reach, 0.13, reach), -0.62 - b.v)
    b.fill(hull, bevel=0.3, shade=0.24)
    b.fill(sdf.both(hull, 0.58 - b.v), dark=0.28, bevel=0.3, shade=0.2)
    b.fill(sdf.both(hull, b.v + 0.5), "#7c8090", shade=0.1)
    port = sdf.circle(b.u, b.v, 0, 0.24, 0.14)
    b.fill(port - 0.06, METAL, bevel=0.08)
    window(b, port, reach=0.2)
    fin = sdf.segment(b.u, b.v, (0.0, -0.35), (0.0, -0.68), 0.06)
    b.fill(fin, dark=0.35, shade=0)


def balloon(b: Brush) -> None:
    """A toy balloon on a string."""
    wave = 0.06 * (b.v * 6 + 2 * b.jitter[0]).sin()
    string = sdf.both((b.u - wave).abs() - 0.028, sdf.box(b.u, b.v, 0, -0.68, 0.5, 0.3))
    b.fill(string, "#d9d2c3", shade=0)
    knot = sdf.segment(b.u, b.v, (0.0, -0.34), (0.0, -0.46), 0.03, 0.09)
    b.fill(knot, dark=0.2, shade=0)
    wide = b.by_variant(0.67, 0.66, 0.6)
    skin = sdf.ellipse(b.u, b.v, 0, 0.32, wide, 0.66)
    pear = sdf.blend(skin, sdf.segment(b.u, b.v, (0.0, 0.1), (0.0, -0.34), 0.5, 0.08), 0.3)
    b.fill(b.choose(skin, pear, skin), bevel=0.55, shade=0.22, form=skin)
    shine(b, -0.27, 0.58, 0.13, 0.19)


def umbrella(b: Brush) -> None:
    """Open, with a crook for a handle."""
    stick = sdf.segment(b.u, b.v, (0.0, 0.9), (0.0, -0.75), 0.05)
    crook = sdf.both(sdf.circle(b.u, b.v, 0.18, -0.74, 0.18).abs() - 0.055, b.v + 0.74)
    b.fill(sdf.union(stick, crook), WOOD, bevel=0.08)
    b.fill(sdf.segment(b.u, b.v, (0.0, 0.8), (0.0, 0.94), 0.04), WOOD, shade=0)
    low = b.by_variant(-0.12, -0.2, -0.05)
    dome = sdf.ellipse(b.u, b.v, 0, low, 0.98, 0.86 - low)
    hem = 0.13 * (1 - ((b.u / 0.98 * 2) % 1 * 2 - 1).square())
    canopy = sdf.both(dome, (low + hem - b.v) * 0.8)
    b.fill(canopy, bevel=0.4, shade=0.22)
    arch = (1 - ((b.v - low) / (0.86 - low)).square()).clamp_min(0).sqrt()
    panel = sdf.both(canopy, (b.u.abs() - 0.49 * arch))
    b.fill(panel, pale=0.2, bevel=0.4, shade=0.14)


def robot(b: Brush) -> None:
    """Stands facing us; its face is a screen."""
    side = b.u.abs()
    b.fill(sdf.segment(b.u, b.v, (0.0, 0.6), (0.0, 0.88), 0.035), METAL, shade=0)
    bulb = sdf.circle(b.u, b.v, 0, 0.88, 0.09)
    b.glow(bulb, "#ff6f61", 0.25, b.night * 0.45)
    b.fill(bulb, "#ef5b50", bevel=0.1)
    b.fill(sdf.box(side, b.v, 0.25, -0.8, 0.16, 0.19, 0.06), dark=0.25, bevel=0.1)
    lift = 0.15 * b.jitter[0]
    arms = sdf.segment(side, b.v, (0.5, -0.1), (0.68, -0.45 + lift), 0.1)
    b.fill(arms, dark=0.25, bevel=0.1)
    b.fill(sdf.circle(side, b.v, 0.68, -0.5 + lift, 0.115), METAL, bevel=0.1)
    b.fill(sdf.box(side, b.v, 0.62, 0.38, 0.08, 0.13, 0.05), METAL, bevel=0.1)
    body = sdf.box(b.u, b.v, 0, -0.36, b.by_variant(0.5, 0.46, 0.52), 0.36, b.by_variant(0.1, 0.25, 0.1))
    b.fill(body, bevel=0.2, shade=0.2)
    b.fill(sdf.box(b.u, b.v, 0, -0.36, 0.26, 0.17, 0.06), b.own(pale=0.5), shade=0)
    b.fill(sdf.circle(side, b.v, 0.11, -0.36, 0.07), "#f0b13e", shade=0)
    head = sdf.box(b.u, b.v, 0, 0.38, b.by_variant(0.6, 0.58, 0.56), 0.34, b.by_variant(0.12, 0.3, 0.16))
    b.fill(head, bevel=0.2, shade=0.2, drop=0.1)
    b.fill(sdf.box(b.u, b.v, 0, 0.38, 0.44, 0.21, 0.14), "#2c3245", shade=0)
    eye = sdf.circle(side, b.v, 0.2, 0.42, 0.095)
    b.glow(eye, "#7fe9ff", 0.2, 0.3 + 0.4 * b.night)
    b.fill(eye, "#aef2ff", shade=0)
    grin = sdf.both(sdf.circle(b.u, b.v, 0, 0.34, 0.1).abs() - 0.025, b.v - 0.3)
    b.fill(grin, "#aef2ff", shade=0)


def cake(b: Brush) -> None:
    """Two tiers under icing, with a candle."""
    plate = sdf.ellipse(b.u, b.v, 0, -0.88, 0.97, 0.11)
    b.fill(plate, "#e9edf2", bevel=0.1)
    tiers = ((-0.52, 0.8, 0.34), (0.08, 0.54, 0.3))
    for k, (middle, half, high) in enumerate(tiers):
        form = (b.u.abs() - half) * 0.9
        tier = sdf.box(b.u, b.v, 0, middle, half, high, 0.08)
        b.fill(tier, bevel=0.3, shade=0.2, form=form, drop=0.08)
        filling = sdf.both(tier, (b.v - middle + 0.12).abs() - 0.05)
        b.fill(filling, b.own(dark=0.28), shade=0)
        drips = 0.1 + 0.05 * b.by_variant(1, 1.6, 0.4) * ((b.u * (9.5 + 2 * k)) + 3 * b.jitter[0]).cos()
        icing = sdf.both(tier - 0.02, middle + high - 0.1 - drips - b.v)
        b.fill(icing, b.accent(0.7), bevel=0.1, shade=0.12)
    cherry = sdf.circle((b.u.abs() - 0.34).abs(), b.v, 0.0, 0.42, 0.085)
    b.fill(cherry, "#d83a44", bevel=0.08, opacity=b.by_variant(1, 0, 1))
    b.fill(sdf.box(b.u, b.v, 0, 0.52, 0.055, 0.2, 0.02), "#fbf3e0", bevel=0.05)
    flame = sdf.segment(b.u, b.v, (0.0, 0.76), (0.02 * b.jitter[1], 0.93), 0.075, 0.02)
    b.glow(flame, "#ffc95a", 0.35, 0.25 + 0.3 * b.night)
    b.fill(flame, "#ffb52e", shade=0)
    b.fill(flame + 0.04, "#fff3b8", shade=0)


def lantern(b: Brush) -> None:
    """A storm lantern: a flame behind glass, under a cap with a handle."""
    handle = sdf.both(sdf.ellipse(b.u, b.v, 0, 0.5, 0.34, 0.45).abs() - 0.04, 0.5 - b.v)
    b.fill(handle, dark=0.35, shade=0.1)
    glass = sdf.box(b.u, b.v, 0, -0.15, 0.4, 0.5, 0.18)
    b.glow(glass, "#ffcf66", 0.4, b.night * 0.5)
    b.fill(glass, b.lamp("#fbe9b4", "#ffe596"), bevel=0.2, shade=0.06)
    flame = sdf.segment(b.u, b.v, (0.0, -0.34), (0.03 * b.jitter[0], 0.0), 0.13, 0.03)
    b.fill(flame, "#f58a26", shade=0)
    b.fill(flame + 0.06, "#fff0a0", shade=0)
    bars = sdf.box(b.u.abs(), b.v, b.by_variant(0.42, 0.42, 0.4), -0.15, 0.11, 0.52, 0.04)
    b.fill(bars, bevel=0.12, shade=0.2)
    hoops = sdf.box(b.u, (b.v + 0.15).abs(), 0, 0.46, 0.5, 0.09, 0.04)
    b.fill(hoops, bevel=0.1, shade=0.2)
    cap = sdf.convex(b.u, b.v, [(-0.58, 0.36), (0.58, 0.36), (0.2, 0.74), (-0.2, 0.74)], 0.06)
    b.fill(cap, bevel=0.2, shade=0.22, drop=0.06)
    foot = sdf.convex(b.u, b.v, [(-0.62, -0.98), (0.62, -0.98), (0.5, -0.6), (-0.5, -0.6)], 0.06)
    b.fill(foot, bevel=0.2, shade=0.22)
    b.fill(
        sdf.box(b.u, b.v, 0, -0.78, 0.5, 0.035, 0.03), b.accent(0.5), shade=0, opacity=b.by_variant(0, 1, 0.6)
    )
