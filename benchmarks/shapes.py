"""Networks of a published shape with seeded random weights: what speed and memory need, and nothing more."""

from datetime import UTC, datetime
from functools import cache
from typing import Final, TypeVar

import torch
from torch import Tensor, nn

from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import SD15, ModelSpec

N = TypeVar("N", bound=nn.Module)

SEED: Final = 0
BLOCK: Final = 2**22  # random numbers that are repeated to fill all weights, in seconds instead of minutes


def unet(dtype: torch.dtype, spec: ModelSpec = SD15) -> UNet:
    """A U-Net of this shape."""
    with torch.device("meta"):
        return filled(UNet(spec.unet), dtype)


def decoder(dtype: torch.dtype, spec: ModelSpec = SD15) -> Decoder:
    """A decoder of this shape."""
    with torch.device("meta"):
        return filled(Decoder(spec.vae), dtype)


def filled(network: N, dtype: torch.dtype) -> N:
    """Weights of a size that keeps activations about as large as they are."""
    network = network.to(dtype).to_empty(device="cpu").eval().requires_grad_(False)
    for weight in network.parameters():
        if weight.ndim == 1:
            weight.data.fill_(1.0)
        else:
            _repeat(weight.data.flatten(), weight[0].numel() ** -0.5)
    return network


def _repeat(flat: Tensor, scale: float) -> None:
    for at in range(0, len(flat), BLOCK):
        part = flat[at : at + BLOCK]
        part.copy_(_numbers()[: len(part)]).mul_(scale)


@cache
def _numbers() -> Tensor:
    return torch.randn(BLOCK, generator=torch.Generator().manual_seed(SEED), device="cpu")


def today() -> str:
    """The date of a measurement."""
    return f"{datetime.now(UTC):%Y-%m-%d}"
