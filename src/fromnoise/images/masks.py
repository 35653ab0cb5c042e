"""Masks: which pixels of a picture are drawn anew. White is drawn, black is kept, grey is mixed."""

import os
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageOps

from fromnoise.errors import RequestError
from fromnoise.images.pixels import from_image, opened, to_image
from fromnoise.request import Picture

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

HOW: Final = "white is drawn anew, black is kept"
HALF: Final = 0.5  # from here on a pixel counts as one to be drawn


def read_mask(path: str | os.PathLike[str]) -> Picture:
    """Read a PNG, JPEG or WebP file, upright, black where it is transparent.  Raises: as `read_picture`"""
    with opened(path) as image:
        return from_image(ImageOps.exif_transpose(image), page="black")


def to_mask(picture: Picture, width: int, height: int) -> "Float[Tensor, '1 1 h w']":
    """The brightness of each pixel, 0 (kept) to 1 (drawn anew), brought to this size as a picture would be.

    Raises: RequestError if nothing of it would be drawn
    """
    import torch

    grey = to_image(picture).convert("L")
    if grey.size != (width, height):  # between neighbours: a sharper filter would leave shadows in black
        grey = ImageOps.fit(grey, (width, height), Image.Resampling.BILINEAR)
    flat = torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8)
    mask = flat.view(1, 1, height, width).float() / 255
    if not (mask >= HALF).any():
        raise RequestError({"mask": "nothing in it is white, so nothing would be drawn"}, hint=HOW)
    return mask


def to_latent_mask(mask: "Float[Tensor, '1 1 h w']", factor: int) -> "Float[Tensor, '1 1 h8 w8']":
    """1 for each latent that has a pixel to be drawn, else 0."""
    import torch.nn.functional as F

    return F.max_pool2d((mask >= HALF).float(), factor)


def pasted(drawn: Picture, original: Picture, mask: "Float[Tensor, '1 1 h w']") -> Picture:
    """The drawn picture with the original over it where the mask is black: its very bytes."""
    import torch

    mixed = torch.lerp(_rows(original), _rows(drawn), mask[0, 0, :, :, None]).round().byte()
    return Picture(drawn.width, drawn.height, mixed.numpy().tobytes(), drawn.seed)


def _rows(picture: Picture) -> "Float[Tensor, 'h w 3']":
    import torch

    flat = torch.frombuffer(bytearray(picture.rgb), dtype=torch.uint8)
    return flat.view(picture.height, picture.width, 3).float()
