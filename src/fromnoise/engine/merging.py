"""Places of a picture that are alike look at the others as one: a shortcut, which changes the picture.

Source: Bolya & Hoffman 2023 (arXiv:2303.17604), after Bolya et al. 2022, sec. 3 (arXiv:2210.09461)
"""

from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, Final, Self, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from fromnoise.engine.swaps import swapped
from fromnoise.nets.blocks import TransformerBlock
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import UNetSpec

CELL: Final = 2  # of as many places each way, one is what others are merged into
SEED: Final = 0  # of which: by chance, which shows less than a grid (sec. 4.3), but the same chance each time


@dataclass(frozen=True, slots=True)
class Pairs:
    """Which tokens are merged into which; the others of `targets` stand for themselves and for them.

    Shapes: targets (T,), kept (B, N - T - R), gone (B, R): positions among N; into (B, R): among the targets
    """

    targets: Int[Tensor, " t"]
    kept: Int[Tensor, "b k"]
    gone: Int[Tensor, "b r"]
    into: Int[Tensor, "b r"]

    @classmethod
    def of(cls, x: Float[Tensor, "b n d"], targets: Tensor, sources: Tensor, count: int) -> Self:
        """The `count` sources that are most like a target, each with that target.  Source: sec. 3.1"""
        unit = F.normalize(x, dim=-1)
        alike, nearest = (unit[:, sources] @ unit[:, targets].transpose(1, 2)).max(dim=-1)
        order = alike.argsort(dim=-1, descending=True, stable=True)
        merged = order[:, :count]
        return cls(targets, sources[order[:, count:]], sources[merged], nearest.gather(1, merged))

    def merge(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b m d"]:
        """Each target becomes the mean of itself and what is merged into it; sums are of float32."""
        kept, gone = _taken(x, self.kept), _taken(x, self.gone)
        means = x[:, self.targets].float()
        into = self.into[..., None].expand_as(gone)
        means = means.scatter_reduce(1, into, gone.float(), "mean", include_self=True)
        return torch.cat([kept, means.to(x.dtype)], dim=1)

    def unmerge(self, y: Float[Tensor, "b m d"]) -> Float[Tensor, "b n d"]:
        """Every token has its place again; those that were merged are all as their target."""
        count = self.kept.shape[1]
        kept, means = y[:, :count], y[:, count:]
        out = y.new_empty(len(y), y.shape[1] + self.gone.shape[1], y.shape[2])
        out[:, self.targets] = means
        out.scatter_(1, self.kept[..., None].expand_as(kept), kept)
        gone = _taken(means, self.into)
        return out.scatter_(1, self.gone[..., None].expand_as(gone), gone)


class MergedAttention(nn.Module):
    """Self-attention among fewer tokens, where there are as many as in a map of this size.

    The products of queries and keys shrink with the square of what is left: at half of 64 x 64 places of
    SD 1.5, to a quarter.
    """

    def __init__(self, plain: nn.Module, ratio: float, height: int, width: int, device: torch.device) -> None:
        super().__init__()
        self.plain = plain
        self.targets, self.sources = (places.to(device) for places in split(height, width))
        self.places = height * width
        self.count = min(int(ratio * self.places), len(self.sources)) if len(self.targets) else 0

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Shapes: (B, N, D) -> (B, N, D)"""
        if x.shape[1] != self.places or not self.count:
            return self.plain(x)
        pairs = Pairs.of(x, self.targets, self.sources, self.count)
        return pairs.unmerge(self.plain(pairs.merge(x)))


def split(height: int, width: int) -> tuple[Int[Tensor, " t"], Int[Tensor, " s"]]:
    """One place of each cell as a target, and all the others: positions row by row."""
    generator = torch.Generator().manual_seed(SEED)
    rows, columns = height // CELL, width // CELL
    chosen = torch.randint(CELL**2, (rows, columns), generator=generator)
    y = CELL * torch.arange(rows)[:, None] + chosen // CELL
    x = CELL * torch.arange(columns) + chosen % CELL
    is_target = torch.zeros(height * width, dtype=torch.bool)
    is_target[(y * width + x).flatten()] = True
    return is_target.nonzero().flatten(), (~is_target).nonzero().flatten()


def merging(unet: UNet, ratio: float, height: int, width: int) -> UNet:
    """A U-Net that merges a share of its tokens in self-attention at the finest level that has any.

    It shares its weights with the one it is made from, for latents of this size.
    """
    halvings = 2 ** finest(unet.spec)
    height, width = ceil(height / halvings), ceil(width / halvings)
    device = next(unet.parameters()).device
    make = partial(_merged, ratio=ratio, height=height, width=width, device=device)
    return cast(UNet, swapped(unet, {TransformerBlock: make}))


def finest(spec: UNetSpec) -> int:
    """The first level that has attention; 0 is that of the latents."""
    return next((level for level, depths in enumerate(spec.down) if any(depths)), len(spec.down) - 1)


def _merged(block: nn.Module, **how: Any) -> nn.Module:
    twin = swapped(block, {})
    twin.__dict__["_modules"]["self_attention"] = MergedAttention(
        cast(TransformerBlock, block).self_attention, **how
    )
    return twin


def _taken(x: Tensor, places: Tensor) -> Tensor:  # (B, N, D), (B, K) -> (B, K, D)
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[-1]))
