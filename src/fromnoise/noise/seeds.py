"""Randomness, one stream a picture: picture k depends on seed k alone, whatever else is in the batch."""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from fromnoise.errors import RequestError

SEED_LIMIT = 2**64  # seeds are 0 .. this - 1
GENERATOR_LIMIT = 2**32  # torch's CPU generator looks at no more of a seed than this


class PerImageNoise:
    """A `Noise` for samplers. Drawn on the CPU in float32, so every device and precision gets the same.

    The first draw is the initial noise. A seed below 2**32 draws what `torch.manual_seed` would.
    Raises: RequestError for a seed outside 0 .. 2**64 - 1
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [_generator(seed) for seed in seeds]

    def draw(self, like: Tensor) -> Tensor:
        """The next N(0, 1) of every picture, in the shape, type and place of `like`."""
        assert len(like) == len(self._generators), f"{len(like)} pictures, {len(self._generators)} seeds"
        pictures = [torch.randn(like.shape[1:], generator=g) for g in self._generators]
        return torch.stack(pictures).to(like)

    def __call__(self, like: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """The next draw, whatever the noise levels."""
        return self.draw(like)


def _generator(seed: int) -> torch.Generator:
    if not 0 <= seed < SEED_LIMIT:
        raise RequestError({"seeds": f"{seed} is outside 0..{SEED_LIMIT - 1}"})
    if seed >= GENERATOR_LIMIT:  # fold all 64 bits in, else seeds 2**32 apart would draw the same picture
        seed = int.from_bytes(blake2b(seed.to_bytes(8, "little"), digest_size=4).digest(), "little")
    return torch.Generator("cpu").manual_seed(seed)
