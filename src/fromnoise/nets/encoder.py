"""The encoder: pixels to a Gaussian over latents."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fromnoise.errors import RequestError
from fromnoise.nets.blocks import VAE_EPS, Downsample, PixelAttention, ResnetBlock
from fromnoise.specs import VaeSpec

LOG_VARIANCE_RANGE = (-30.0, 20.0)  # Source: the clamp in Rombach et al.'s DiagonalGaussianDistribution


@dataclass(frozen=True, slots=True)
class LatentGaussian:
    """Which latents could have produced a picture."""

    mean: Float[Tensor, "b c h8 w8"]
    log_variance: Float[Tensor, "b c h8 w8"]

    def sample(self, noise: Tensor) -> Tensor:
        """Draw one, given standard normal noise of the mean's shape."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise


class Middle(nn.Module):
    """The coarsest level of the autoencoder: a ResnetBlock, attention, a ResnetBlock."""

    def __init__(self, width: int, spec: VaeSpec) -> None:
        super().__init__()
        self.block1 = ResnetBlock(width, width, groups=spec.groups, eps=VAE_EPS)
        self.attention = PixelAttention(width, groups=spec.groups) if spec.mid_attention else nn.Identity()
        self.block2 = ResnetBlock(width, width, groups=spec.groups, eps=VAE_EPS)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Shapes: (B, C, H, W) -> (B, C, H, W)"""
        return self.block2(self.attention(self.block1(x)))


class Encoder(nn.Module):
    """Levels of ResnetBlocks, each half the size of the one before.

    Source: Rombach et al. 2022, sec. 3.1 and app. G (arXiv:2112.10752)
    """

    def __init__(self, spec: VaeSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = spec.widths
        self.enter = nn.Conv2d(3 * spec.patch**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        c = widths[0]
        for level, width in enumerate(widths):
            for _ in range(spec.blocks):
                self.down.append(ResnetBlock(c, width, groups=spec.groups, eps=VAE_EPS))
                c = width
            if level + 1 < len(widths):
                self.down.append(Downsample(c, one_sided=True))
        self.mid = Middle(c, spec)
        self.norm = nn.GroupNorm(spec.groups, c, eps=VAE_EPS)
        self.leave = nn.Conv2d(c, 2 * spec.latent_channels, 3, padding=1)
        self.to_gaussian = nn.Conv2d(2 * spec.latent_channels, 2 * spec.latent_channels, 1)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> LatentGaussian:
        """Describe each picture by a Gaussian over the latents that could have produced it.

        Shapes:  (B, 3, H, W) -> mean and log_variance, each (B, 4, H/8, W/8)
        Units:   pixels in [-1, 1]; latents *before* `scale_latents` (the U-Net sees them after)
        Raises:  RequestError if H or W is not a multiple of the autoencoder's factor
        Source:  Rombach et al. 2022, sec. 3.1 (arXiv:2112.10752)
        """
        height, width = pixels.shape[-2:]
        if height % self.spec.factor or width % self.spec.factor:
            raise RequestError({"picture": f"{width}x{height} does not divide by {self.spec.factor}"})
        x = self.enter(F.pixel_unshuffle(pixels, self.spec.patch))
        for part in self.down:
            x = part(x)
        x = self.leave(F.silu(self.norm(self.mid(x))))
        mean, log_variance = self.to_gaussian(x).chunk(2, dim=1)
        return LatentGaussian(mean, log_variance.clamp(*LOG_VARIANCE_RANGE))
