"""A brush paints one kind of thing, many instances at a time, each in its own coordinates."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from fromnoise.world import sdf

LUMA: Final = (0.299, 0.587, 0.114)  # Source: ITU-R BT.601
STRIPED: Final = 1.0
SPOTTED: Final = 2.0
CHECKERED: Final = 3.0
GLOSSY: Final = 4.0
GLOWING: Final = 5.0
CHECK_EVERY: Final = 0.62  # two squares
STRIPE_EVERY: Final = 0.44
SPOT_EVERY: Final = 0.5
SPOT_RADIUS: Final = 0.145
PALE_ENOUGH: Final = 0.62  # luma above which patterns are darker than the ground instead of paler
DARK_ENOUGH: Final = 0.25  # luma below which lines are paler than the ground instead of darker
WHITE_ENOUGH: Final = 0.72  # darkest channel of a colour that has no room to get paler


@dataclass
class Brush:
    """Patches under paint; a thing fills u in [-aspect, aspect] and v in [-1, 1] (up; its foot is -1).

    Letters: N instances, S x S pixels, K >= 4 random numbers each
    Shapes:  u, v (N, S, S); pixel, night, variant, pattern (N, 1, 1); jitter (K, N, 1, 1);
             colour (N, 3, 1, 1); light (2, N, 1, 1), the unit direction towards the light in (u, v)
    Units:   colours sRGB 0..1; jitter uniform in -1..1; night 0 by day, 1 at night;
             pixel: one pixel's width in u; pattern 0 plain, 1 striped, 2 spotted, …;
             relief: how strong shading is, 1 as usual, 0 flat; open: 1 for a container with an opening
    """

    u: Tensor
    v: Tensor
    pixel: Tensor
    colour: Tensor
    jitter: Tensor
    variant: Tensor
    night: Tensor
    light: Tensor
    pattern: Tensor | None = None
    relief: Tensor | None = None
    open: Tensor | None = None

    def __post_init__(self) -> None:
        n, s, _ = self.u.shape
        self.canvas = self.u.new_zeros(n, 4, s, s)
        self.luma = (self.colour * self.u.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        self.white = self.colour.amin(1, keepdim=True) > WHITE_ENOUGH
        self.marks, self.gloss = self._marks(), self._gloss()
        self.slope = (self.u * self.light[0] + self.v * self.light[1]) * 0.5
        across, down = (  # the light in image axes, per unit of (u, v): the patch may lean or be flipped
            (x * self.light[0] + y * self.light[1]) / self.pixel.square()
            for x, y in (
                (self.u[:, :1, 1:2] - self.u[:, :1, :1], self.v[:, :1, 1:2] - self.v[:, :1, :1]),
                (self.u[:, 1:2, :1] - self.u[:, :1, :1], self.v[:, 1:2, :1] - self.v[:, :1, :1]),
            )
        )
        self.light_across, self.light_down = across, down

    @property
    def rgb(self) -> Tensor:
        """(N, 3, S, S), premultiplied by alpha."""
        return self.canvas[:, :3]

    @property
    def alpha(self) -> Tensor:
        """(N, S, S)."""
        return self.canvas[:, 3]

    def cover(self, distance: Tensor) -> Tensor:
        """How much of each pixel a shape covers: (N, S, S) in 0..1."""
        return (0.5 - distance / self.pixel).clamp_(0, 1)

    def fill(
        self,
        distance: Tensor,
        colour: Tensor | str | None = None,
        *,
        dark: float = 0.0,
        pale: float = 0.0,
        bevel: float = 0.35,
        shade: float = 0.16,
        opacity: Tensor | float = 1.0,
        drop: float = 0.0,
        form: Tensor | None = None,
    ) -> None:
        """Paint the inside of a shape in a colour (default: the thing's own), lit as if it bulged at its rim.

        `bevel`: how far from the rim the bulge reaches (in u); `shade`: how strong the light is, 0 is flat;
        `drop`: how far its soft shadow reaches on what is painted already;
        `form`: the shape that bulges, if not this one (the tower under a band, the sphere behind a heart).
        """
        rgb = self.own(colour, dark=dark, pale=pale)
        mask = self.cover(distance) * opacity
        if drop:
            near = (1 - distance / drop).clamp_(0, 1).square_() * 0.4
            near = near if self.relief is None else near * self.relief
            self.rgb.mul_((1 - near)[:, None])
        solid = torch.cat([rgb, rgb.new_ones(rgb.shape[0], 1, 1, 1)], 1)
        self.canvas.lerp_(solid, mask[:, None])
        if colour is None and self.marks is not None:
            self.rgb.addcmul_((mask * self.marks)[:, None], self._mark_colour(rgb) - rgb)
        if shade:
            lit = (self.bulge(distance if form is None else form, bevel) + self.slope).mul_(mask).mul_(shade)
            if self.relief is not None:
                lit.mul_(self.relief)
            self.rgb.addcmul_(lit[:, None], rgb * 0.8 + 0.2)  # + 0.2: black, too, has a lit rim
            self.rgb.clamp_min_(0)
            torch.minimum(self.rgb, self.canvas[:, 3:], out=self.rgb)
        if colour is None and self.gloss is not None:
            self.rgb.addcmul_((mask * self.gloss)[:, None], self.canvas[:, 3:] - self.rgb)

    def glow(
        self, distance: Tensor, colour: Tensor | str, reach: float, strength: Tensor | float = 1.0
    ) -> None:
        """Paint light that fades away over `reach` (in u) outside a shape, and before the patch ends."""
        n = self.u.shape[-1]
        edge = torch.arange(n, device=self.u.device, dtype=self.u.dtype).add_(0.5).div_(n)
        ramp = (torch.minimum(edge, 1 - edge) * 8).clamp_(0, 1)
        fade = (1 - distance.clamp_min(0) / reach).clamp_(0, 1).square_() * ramp[:, None] * ramp
        rgb = self.own(colour)
        solid = torch.cat([rgb, rgb.new_ones(rgb.shape[0], 1, 1, 1)], 1)
        self.canvas.lerp_(solid, (fade * strength)[:, None])

    def bulge(self, distance: Tensor, reach: float) -> Tensor:
        """(N, S, S): + where the rim faces the light, - where it turns away, 0 in the middle."""
        facing = torch.zeros_like(distance)
        torch.sub(distance[:, :, 1:], distance[:, :, :-1], out=facing[:, :, 1:])
        facing.mul_(self.light_across)
        facing[:, 1:].addcmul_(distance[:, 1:] - distance[:, :-1], self.light_down)
        return facing.clamp_(-1, 1).mul_((1 + distance / reach).clamp_(0, 1)).mul_(2)

    def own(self, colour: Tensor | str | None = None, *, dark: float = 0.0, pale: float = 0.0) -> Tensor:
        """A colour ("#rrggbb", a tensor, None: the thing's own), made darker or paler; (N or 1, 3, 1, 1)."""
        if colour is None:
            rgb = self.colour
        elif isinstance(colour, str):
            rgb = self.u.new_tensor([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]).view(1, 3, 1, 1)
        else:
            rgb = colour
        return rgb * (1 - dark) + (1 - rgb * (1 - dark)) * pale

    def ink(self, strength: float = 0.6) -> Tensor:
        """A tone for lines that shows on the thing's own colour: darker, or paler on a dark thing."""
        return torch.where(self.luma > DARK_ENOUGH, self.own(dark=strength), self.own(pale=strength * 0.75))

    def accent(self, pale: float = 0.6) -> Tensor:
        """A tone for bands and panels: paler, or darker on a white thing; (N, 3, 1, 1)."""
        return torch.where(self.white, self.own(dark=0.3 * pale), self.own(pale=pale))

    def lamp(self, day: str, night: str = "#ffd978") -> Tensor:
        """The colour of a window: glass by day, light at night; (N, 3, 1, 1)."""
        return torch.lerp(self.own(day), self.own(night), self.night[:, None])

    def by_variant(self, *choices: float) -> Tensor:
        """One of the choices for each instance, (N, 1, 1), by its variant."""
        table = self.u.new_tensor(choices)
        return table[self.variant.long() % len(choices)]

    def choose(self, *shapes: Tensor) -> Tensor:
        """One of the shapes for each instance, (N, S, S), by its variant."""
        out, which = shapes[0], self.variant.long() % len(shapes)
        for k, shape in enumerate(shapes[1:], 1):
            out = torch.where(which == k, shape, out)
        return out

    def _marks(self) -> Tensor | None:
        """Where stripes or spots are, (N, S, S) in 0..1; None if every instance is plain."""
        if self.pattern is None or not bool((self.pattern > 0).any()):
            return None
        across = torch.remainder(self.u * 0.8 + self.v * 0.6, STRIPE_EVERY) - STRIPE_EVERY / 2
        stripes = self.cover(across.abs() - STRIPE_EVERY / 4)
        row = torch.floor(self.v / SPOT_EVERY)
        du = torch.remainder(self.u + row * (SPOT_EVERY / 2), SPOT_EVERY) - SPOT_EVERY / 2
        dv = self.v - (row + 0.5) * SPOT_EVERY
        spots = self.cover(sdf.length(du, dv) - SPOT_RADIUS)
        marks = stripes * (self.pattern == STRIPED) + spots * (self.pattern == SPOTTED)
        return marks + self._checks() * (self.pattern == CHECKERED)

    def _checks(self) -> Tensor:
        half = CHECK_EVERY / 2
        across, down = (
            (torch.remainder(x + half / 2, CHECK_EVERY) - half).abs() - half / 2 for x in (self.u, self.v)
        )
        return self.cover(torch.copysign(torch.minimum(across.abs(), down.abs()), across * down))

    def _gloss(self) -> Tensor | None:
        """How white each pixel is with light, mirrored or its own, (N, S, S); None if nothing shines."""
        if self.pattern is None or not bool((self.pattern >= GLOSSY).any()):
            return None
        sheet = ((self.v - 0.3 * self.u.square()) / 0.05).clamp(0, 1) * (0.12 + 0.28 * self.v.clamp(0, 1))
        spot = (1.2 - sdf.ellipse(self.u, self.v, -0.3, 0.5, 0.26, 0.15) / 0.05).clamp(0, 1) * 0.75
        heart = torch.exp(-(self.u.square() + self.v.square()) * 0.9) * 0.24
        return torch.maximum(sheet, spot) * (self.pattern == GLOSSY) + heart * (self.pattern == GLOWING)

    def _mark_colour(self, rgb: Tensor) -> Tensor:
        return torch.where(self.luma > PALE_ENOUGH, rgb * 0.74, rgb + (1 - rgb) * 0.55)
