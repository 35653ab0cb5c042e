"""How much memory drawing takes on a graphics card beside the weights, and how many pictures fit at once.

The counts below are those of the networks' live tensors on torch's meta device (tests/engine/test_room.py).
Attention is not in them: fused, it keeps no table of scores.
"""

from typing import Final

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
