"""The building blocks that the U-Net and the autoencoder share."""

from math import log

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fromnoise.nets.attention import Attention

UNET_EPS = 1e-5  # of the ResnetBlocks in the U-Net ...
VAE_EPS = 1e-6  # ... of those in the autoencoder, and of every norm in front of attention
LONGEST_PERIOD = 10_000  # Source: Vaswani et al. 2017, sec. 3.5 (arXiv:1706.03762)


def time_features(timesteps: Float[Tensor, " b"], width: int) -> Float[Tensor, "b w"]:
    """Cosines and sines of each timestep at `width / 2` frequencies, in float32.

    Units:  timesteps 0..1000, fractions allowed
    Source: Ho et al. 2020, app. B (arXiv:2006.11239)
    """
    half = width // 2
    # in the published models' order: another rounds differently, and t makes that up to 1000 times larger
    frequencies = torch.exp(-log(LONGEST_PERIOD) * torch.arange(half, device=timesteps.device) / half)
    angles = timesteps.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def for_each(x: Tensor, like: Tensor) -> Tensor:
    """`x` as often as `like` has more rows: pictures that are told several texts share what needs no text."""
    return x if len(x) == len(like) else torch.cat([x] * (len(like) // len(x)))  # keeps channels last


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions beside a skip path; in the U-Net the time embedding enters between them.

    `eps` has no default on purpose: the VAE was trained with 1e-6, the U-Net with 1e-5.
    Source: He et al. 2016 (arXiv:1512.03385); time term: Ho et al. 2020, app. B (arXiv:2006.11239)
    """

    def __init__(
        self, c_in: int, c_out: int, *, groups: int, eps: float, time_width: int | None = None
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, c_in, eps=eps)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Linear(time_width, c_out) if time_width else None
        self.norm2 = nn.GroupNorm(groups, c_out, eps=eps)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(
        self, x: Float[Tensor, "b i h w"], time: Float[Tensor, "b t"] | None = None
    ) -> Float[Tensor, "b o h w"]:
        """Shapes: (B, I, H, W), (B, T) -> (B, O, H, W)"""
        y = self.conv1(F.silu(self.norm1(x)))
        if self.time is not None:
            assert time is not None, "this block was built with time_width, so it needs a time embedding"
            y = y + for_each(self.time(F.silu(time)), y)[:, :, None, None]
        y = self.conv2(F.silu(self.norm2(y)))
        return self.skip(x) + y


class GatedFeedForward(nn.Module):
    """Two linear layers, the first gated by a GELU of its own second half.

    Source: Shazeer 2020, GEGLU (arXiv:2002.05202)
    """

    def __init__(self, width: int, expansion: int = 4) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 2 * expansion * width)
        self.out = nn.Linear(expansion * width, width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Shapes: (B, N, D) -> (B, N, D)"""
        value, gate = self.gate(x).chunk(2, dim=-1)
        return self.out(value * F.gelu(gate))


class TransformerBlock(nn.Module):
    """Look at the picture, look at the text, think.

    Source: Rombach et al. 2022, sec. 3.3 and app. E.2 (arXiv:2112.10752)
    """

    def __init__(self, width: int, heads: int, context_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.self_attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.cross_attention = Attention(width, heads, context_width=context_width)
        self.norm3 = nn.LayerNorm(width)
        self.feed_forward = GatedFeedForward(width)

    def forward(self, x: Float[Tensor, "b n d"], context: Float[Tensor, "b m c"]) -> Float[Tensor, "b n d"]:
        """Shapes: (B, N, D), (k B, M, C) -> (k B, N, D)"""
        x = for_each(x + self.self_attention(self.norm1(x)), context)
        x = x + self.cross_attention(self.norm2(x), context)
        return x + self.feed_forward(self.norm3(x))


class Transformer(nn.Module):
    """Transformer blocks over the pixels of a feature map, beside a skip path."""

    def __init__(
        self, width: int, heads: int, context_width: int, *, depth: int, groups: int, linear: bool
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=VAE_EPS)
        self.linear = linear
        self.enter = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, context_width) for _ in range(depth))
        self.leave = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], context: Float[Tensor, "b m k"]
    ) -> Float[Tensor, "b c h w"]:
        """Shapes: (B, C, H, W), (k B, M, K) -> (k B, C, H, W)"""
        y = self.norm(x)
        y = self.enter(_to_tokens(y)) if self.linear else _to_tokens(self.enter(y))
        for block in self.blocks:
            y = block(y, context)
        x = for_each(x, y)
        y = _to_map(self.leave(y), x) if self.linear else self.leave(_to_map(y, x))
        return x + y


def _to_tokens(x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, H*W, C)
    return x.flatten(2).transpose(1, 2)


def _to_map(y: Tensor, like: Tensor) -> Tensor:  # (B, H*W, C) -> (B, C, H, W)
    return y.transpose(1, 2).reshape(like.shape)


class Downsample(nn.Module):
    """Halve height and width by a strided convolution.

    The autoencoder pads only right and below (`one_sided`), as it was trained; the U-Net pads all round.
    """

    def __init__(self, width: int, *, one_sided: bool = False) -> None:
        super().__init__()
        self.one_sided = one_sided
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=0 if one_sided else 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Shapes: (B, C, H, W) -> (B, C, H/2, W/2)"""
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.one_sided else x)


class Upsample(nn.Module):
    """Repeat each pixel (to twice the size, or to a given one), then smooth by a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "b c h w"], size: tuple[int, int] | None = None
    ) -> Float[Tensor, "b c h2 w2"]:
        """Shapes: (B, C, H, W) -> (B, C, *size); size defaults to (2 H, 2 W)"""
        size = size or (2 * x.shape[-2], 2 * x.shape[-1])
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class PixelAttention(nn.Module):
    """One head of self-attention over the pixels of a feature map: the middle of the autoencoder."""

    def __init__(self, width: int, *, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=VAE_EPS)
        self.attention = Attention(width, 1, bias=True)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Shapes: (B, C, H, W) -> (B, C, H, W)"""
        return x + _to_map(self.attention(_to_tokens(self.norm(x))), x)
