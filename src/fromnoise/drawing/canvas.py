"""What a drawing begins from: noise alone, or a picture, all of it or where a mask is white."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.drawing.settling import kind_of
from fromnoise.images.masks import HALF, pasted, to_latent_mask, to_mask
from fromnoise.images.pixels import fitted, to_pixels
from fromnoise.nets.latents import scale_latents
from fromnoise.request import FilledRequest, Picture
from fromnoise.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture and a mask in the size of the request, and what the U-Net is shown of them.

    Shapes: mask (1, 1, H, W) in 0..1; source (1, C, H/8, W/8), latent_mask (1, 1, H/8, W/8), beside the same
    """

    picture: Picture | None
    mask: Tensor | None
    source: Tensor | None  # the picture's latents, where the drawing starts from them
    latent_mask: Tensor | None  # 0 where the source is put back at each step
    beside: Tensor | None  # what inpainting and editing networks read next to the noisy latents

    @classmethod
    def of(
        cls,
        request: FilledRequest,
        picture: Picture | None,
        mask: Picture | None,
        spec: ModelSpec,
        encode: Callable[[Tensor], Tensor],
    ) -> "Canvas":
        """`encode`: pixels to the autoencoder's latents, in its own units."""
        size, vae, kind = (request.width, request.height), spec.vae, kind_of(spec)
        picture = picture and fitted(picture, *size)
        pixels = None if picture is None else to_pixels(picture)
        shade = None if mask is None else to_mask(mask, *size)
        source, latent_mask, beside = None, None, None
        # an inpainting network keeps the rest by itself; its refiner does not know how
        is_kept = shade is not None and (kind != "inpaint" or request.refine_from is not None)
        if pixels is not None and (is_kept or request.strength != 1):
            source = scale_latents(vae, encode(pixels))
        if shade is not None and source is not None and is_kept:
            latent_mask = to_latent_mask(shade, vae.factor).to(source)
        if kind == "inpaint":
            pixels = torch.zeros(1, 3, *size[::-1]) if pixels is None else pixels
            hidden = torch.ones_like(pixels[:, :1]) if shade is None else (shade >= HALF).float()
            rest = scale_latents(vae, encode(pixels * (1 - hidden)))
            beside = torch.cat([to_latent_mask(hidden, vae.factor).to(rest), rest], dim=1)
        elif kind == "edit" and pixels is not None:
            raw = encode(pixels)
            beside = scale_latents(vae, raw) if spec.schedule.kind == "edm" else raw  # as each was trained
        return cls(picture, shade, source, latent_mask, beside)

    def finished(self, drawn: tuple[Picture, ...]) -> tuple[Picture, ...]:
        """The pictures as drawn, and where the mask is black the original's pixels."""
        if self.picture is None or self.mask is None:
            return drawn
        original, mask = self.picture, self.mask
        return tuple(pasted(picture, original, mask) for picture in drawn)
