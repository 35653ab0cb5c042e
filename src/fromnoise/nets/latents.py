"""Between the autoencoder's latents and the U-Net's: shifted and scaled to about unit variance."""

import torch
from torch import Tensor

from fromnoise.specs import VaeSpec


def scale_latents(spec: VaeSpec, z: Tensor) -> Tensor:
    """The autoencoder's units to the U-Net's."""
    mean, std = _statistics(spec, z)
    return (z - mean) * (spec.latent_scale / std)


def unscale_latents(spec: VaeSpec, x: Tensor) -> Tensor:
    """The U-Net's units to the autoencoder's."""
    mean, std = _statistics(spec, x)
    return x * (std / spec.latent_scale) + mean


def _statistics(spec: VaeSpec, like: Tensor) -> tuple[Tensor, Tensor]:
    mean = spec.latent_mean or (0.0,) * spec.latent_channels
    std = spec.latent_std or (1.0,) * spec.latent_channels
    both = torch.tensor([mean, std], dtype=like.dtype, device=like.device)[:, :, None, None]
    return both[0], both[1]
