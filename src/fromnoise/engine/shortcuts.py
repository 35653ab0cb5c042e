"""The shortcuts that a request asks for, put on a U-Net. Off by default: each changes the picture."""

from typing import cast

from fromnoise.engine.graphs import OnCard
from fromnoise.engine.merging import merging
from fromnoise.engine.reuse import Reusing
from fromnoise.nets.diffusion import UNet
from fromnoise.request import FilledRequest


def shortened(unet: UNet, request: FilledRequest, factor: int) -> UNet | Reusing:
    """The U-Net for one drawing: tokens merged, deep parts reused, or as it is.

    Units: factor: pixels along the side of a latent
    """
    if isinstance(unet, OnCard) and (request.merge or request.reuse > 1):
        unet = cast(UNet, unet.plain)  # what is recorded cannot be taken apart
    if request.merge:
        unet = merging(unet, request.merge, request.height // factor, request.width // factor)
    return Reusing(unet, request.reuse) if request.reuse > 1 else unet
