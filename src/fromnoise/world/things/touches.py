"""Small touches that many things share: faces, highlights, windows."""

from torch import Tensor

from fromnoise.world import sdf
from fromnoise.world.paint import Brush
from fromnoise.world.sdf import Size

NEAR_BLACK = "#23222e"
CHEEK = "#f2738c"


def shine(b: Brush, x: float, y: float, rx: float, ry: float, opacity: float = 0.55) -> None:
    """A soft highlight."""
    b.fill(sdf.ellipse(b.u, b.v, x, y, rx, ry), "#ffffff", shade=0, opacity=opacity)


def eyes(b: Brush, x: Size, y: Size, r: float, *, apart: float = 0.0) -> None:
    """A pair of round eyes round (x, y), `apart` from each other; one eye if that is 0."""
    u = b.u - x
    if apart:
        u = (u.abs() - apart / 2) * u.sign()  # keeps left and right, so that both glints are on one side
    b.fill(sdf.ellipse(u, b.v, 0, y, r * 1.3, r * 1.45), b.own(pale=0.75), shade=0)
    b.fill(sdf.ellipse(u, b.v, 0, y, r, r * 1.15), NEAR_BLACK, shade=0)
    b.fill(sdf.circle(u, b.v, -0.3 * r, y + 0.35 * r, 0.42 * r), "#ffffff", shade=0)


def smile(b: Brush, x: Size, y: Size, r: float, thick: float = 0.045) -> None:
    """The lower part of a ring of radius r whose centre is (x, y)."""
    ring = sdf.circle(b.u, b.v, x, y, r).abs() - thick
    b.fill(sdf.both(ring, b.v - y + 0.45 * r), b.ink(), shade=0)


def cheeks(b: Brush, x: Size, y: Size, r: float, *, apart: Size = 0.0) -> None:
    """Rosy cheeks."""
    b.fill(sdf.ellipse((b.u - x).abs() - apart / 2, b.v, 0, y, r, 0.75 * r), CHEEK, shade=0, opacity=0.5)


def window(b: Brush, shape: Tensor, *, strength: float = 0.55, reach: float = 0.3) -> None:
    """A pane: glass by day, lit at night with its light spilling out."""
    b.glow(shape, "#ffcf66", reach, b.night * strength)
    b.fill(shape, b.lamp("#8fc4de"), shade=0)


def opening(b: Brush, shape: Tensor) -> None:
    """A hollow in a container, where something is inside it: darker, and darkest under its upper rim."""
    if b.open is None:
        return
    b.fill(shape - 0.05, b.own(pale=0.3), shade=0, opacity=b.open)
    b.fill(shape, b.own(dark=0.55), shade=0, opacity=b.open)
    b.fill(shape + 0.1 + 0.12 * b.v, b.own(dark=0.42), shade=0, opacity=b.open)
