"""The decoder: latents to pixels."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fromnoise.nets.blocks import VAE_EPS, ResnetBlock, Upsample
from fromnoise.nets.encoder import Middle
from fromnoise.specs import VaeSpec


class Decoder(nn.Module):
    """The encoder's levels in reverse, each twice the size of the one before, with one more block each.

    Source: Rombach et al. 2022, sec. 3.1 and app. G (arXiv:2112.10752)
    """

    def __init__(self, spec: VaeSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = spec.widths
        self.from_latent = nn.Conv2d(spec.latent_channels, spec.latent_channels, 1)
        self.enter = nn.Conv2d(spec.latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], spec)
        self.up = nn.ModuleList()
        c = widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(spec.blocks + 1):
                self.up.append(ResnetBlock(c, width, groups=spec.groups, eps=VAE_EPS))
                c = width
            if level > 0:
                self.up.append(Upsample(c))
        self.norm = nn.GroupNorm(spec.groups, c, eps=VAE_EPS)
        self.leave = nn.Conv2d(c, 3 * spec.patch**2, 3, padding=1)

    def forward(self, latents: Float[Tensor, "b c h8 w8"]) -> Float[Tensor, "b 3 h w"]:
        """Paint each latent as a picture.

        Shapes: (B, 4, H/8, W/8) -> (B, 3, H, W)
        Units:  latents after `unscale_latents`; pixels about [-1, 1], not clamped
        """
        x = self.mid(self.enter(self.from_latent(latents)))
        for part in self.up:
            x = part(x)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(x))), self.spec.patch)
