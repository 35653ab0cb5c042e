"""What a latent looks like, without the decoder: a straight line from channels to red, green and blue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fromnoise.errors import WeightsError

SIDE: Final = 32  # latents: where no line is fitted, no more are decoded for a preview


@dataclass(frozen=True, slots=True)
class Sketch:
    """A linear preview of latents, fitted once per autoencoder."""

    weight: Float[Tensor, "3 c"]
    bias: Float[Tensor, " 3"]

    def __call__(self, latents: Float[Tensor, "b c h w"], factor: int) -> Float[Tensor, "b 3 H W"]:
        """Shapes: (B, C, H, W) -> (B, 3, H * factor, W * factor), in about [-1, 1]"""
        weight, bias = self.weight.to(latents), self.bias.to(latents)
        small = F.conv2d(latents, weight[:, :, None, None], bias)
        return F.interpolate(small, scale_factor=factor, mode="bilinear")

    @classmethod
    def fit(cls, latents: Float[Tensor, "b c h w"], pixels: Float[Tensor, "b 3 H W"]) -> Self:
        """The least-squares line from latents (in the U-Net's units) to the pixels that they stand for."""
        small = F.interpolate(pixels.double(), latents.shape[-2:], mode="area")
        rows = latents.double().movedim(1, -1).flatten(0, 2)
        with_one = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
        line = cast(Tensor, torch.linalg.lstsq(with_one, small.movedim(1, -1).flatten(0, 2)).solution).float()
        return cls(line[:-1].T.contiguous(), line[-1])

    def to_json(self) -> dict[str, Any]:
        """Plain lists of numbers."""
        return {"weight": self.weight.tolist(), "bias": self.bias.tolist()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], channels: int) -> Self:
        """Rebuild from `to_json`.  Raises: WeightsError"""
        try:
            sketch = cls(torch.tensor(data["weight"]), torch.tensor(data["bias"]))
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"the model's preview is damaged: {error}") from error
        if sketch.weight.shape != (3, channels) or sketch.bias.shape != (3,):
            raise WeightsError(f"the model's preview is not made for {channels} channels")
        return sketch


def shrunk(latents: Tensor) -> Tensor:
    """Latents small enough for a preview.  Shapes: (B, C, H, W) -> (B, C, h, w)"""
    shrink = max(1.0, max(latents.shape[-2:]) / SIDE)
    size = [max(1, round(side / shrink)) for side in latents.shape[-2:]]  # the CPU always has "area"
    return F.interpolate(latents.cpu(), size, mode="area").to(latents.device)
