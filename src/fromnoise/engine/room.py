"""How much memory drawing takes on a graphics card beside the weights, and how many pictures fit at once.

The counts below are those of the networks' live tensors on torch's meta device (tests/engine/test_room.py).
Attention is not in them: fused, it keeps no table of scores.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import torch

from fromnoise.errors import OutOfMemory
from fromnoise.request import FilledRequest
from fromnoise.specs import ModelSpec

UNET_MAPS: Final = 26  # maps of the first width and full size that are alive at most, for each row
VAE_MAPS: Final = 6  # of the decoder's first width, at full size; the encoder takes fewer
LIBRARIES: Final = 1.25  # what cuDNN borrows, and what is lost between blocks
SHARE: Final = 0.8  # of the memory that is free
MOST: Final = 256  # pictures at once: more keep no card busier
TEXTS: Final = 2  # rows for a picture, with and without its prompt


def working_memory(spec: ModelSpec, width: int, height: int, size: int, texts: int = TEXTS) -> int:
    """Bytes that one picture takes while it is drawn, or decoded if that takes more.

    Units: `size` bytes a number; `texts` that the U-Net reads for a picture
    """
    latent = (width // spec.vae.factor) * (height // spec.vae.factor)
    unet = UNET_MAPS * spec.unet.base_width * latent * texts
    vae = VAE_MAPS * spec.vae.base_width * (width // spec.vae.patch) * (height // spec.vae.patch)
    return int(LIBRARIES * size * max(unet, vae))


def pictures_at_once(free: int, each: int) -> int:
    """How many pictures of `each` bytes to draw in one batch; one is always tried."""
    return max(1, min(MOST, int(SHARE * free) // each))


@contextmanager
def lack_told(request: FilledRequest, device: torch.device, hint: str) -> Generator[None]:
    """Tell it in our words if memory runs out.  Raises: OutOfMemory"""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        problem = f"{request.width}x{request.height} pixels do not fit on {device}"
        raise OutOfMemory(problem, hint=hint) from error
