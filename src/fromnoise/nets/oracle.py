"""The oracle: which thing, in which colour, stands at each place of a picture; and where and when it is."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fromnoise.nets.blocks import UNET_EPS, Downsample, ResnetBlock, Upsample
from fromnoise.specs import OracleSpec


@dataclass(frozen=True, slots=True)
class Sighting:
    """Logits; class 0 of kinds, colours and textures is "nothing"."""

    kinds: Float[Tensor, "b k h4 w4"]
    colours: Float[Tensor, "b c h4 w4"]
    setting: Float[Tensor, "b s"]
    time: Float[Tensor, "b t"]
    weather: Float[Tensor, "b w"] | None = None  # None: it does not tell
    style: Float[Tensor, "b y"] | None = None
    textures: Float[Tensor, "b x h4 w4"] | None = None


class Oracle(nn.Module):
    """A small convolutional segmenter: down to 1/16 of the size, and up again to 1/4 with skips.

    Shapes: pixels (B, 3, H, W) in [-1, 1] -> Sighting at (H/4, W/4)
    Source: Ronneberger et al. 2015 (arXiv:1505.04597)
    """

    def __init__(self, spec: OracleSpec) -> None:
        super().__init__()
        self.spec = spec
        w = spec.width

        def block(c_in: int, c_out: int) -> ResnetBlock:
            return ResnetBlock(c_in, c_out, groups=spec.groups, eps=UNET_EPS)

        self.enter = nn.Conv2d(3 * 4, w, 3, padding=1)  # 2x2 pixels become channels first
        self.down = nn.ModuleList([Downsample(w), block(w, 2 * w), Downsample(2 * w), block(2 * w, 3 * w)])
        self.mid = nn.Sequential(Downsample(3 * w), block(3 * w, 4 * w), block(4 * w, 4 * w))
        self.up8 = nn.Sequential(Upsample(4 * w), block(4 * w, 3 * w))
        self.up4 = nn.Sequential(Upsample(3 * w), block(3 * w, 2 * w))
        self.kinds = nn.Conv2d(2 * w, spec.kinds, 1)
        self.colours = nn.Conv2d(2 * w, spec.colours, 1)
        self.setting = nn.Linear(4 * w, spec.settings)
        self.time = nn.Linear(4 * w, spec.times)
        self.weather = nn.Linear(4 * w, spec.weathers) if spec.weathers else None
        self.style = nn.Linear(4 * w, spec.styles) if spec.styles else None
        self.textures = nn.Conv2d(2 * w, spec.textures, 1) if spec.textures else None

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps at 1/4, 1/8 and 1/16 of the size: how alike two pictures look to the oracle."""
        x = self.enter(F.pixel_unshuffle(pixels, 2))
        quarter = self.down[1](self.down[0](x))
        eighth = self.down[3](self.down[2](quarter))
        return [quarter, eighth, self.mid(eighth)]

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Sighting:
        """Shapes: (B, 3, H, W) -> maps at (H/4, W/4); the other heads see the mean over the picture."""
        quarter, eighth, deep = self.features(pixels)
        x = self.up4(self.up8(deep) + eighth) + quarter
        whole = torch.mean(deep, dim=(2, 3))
        weather = self.weather(whole) if self.weather else None
        style = self.style(whole) if self.style else None
        textures = self.textures(x) if self.textures else None
        return Sighting(
            self.kinds(x), self.colours(x), self.setting(whole), self.time(whole), weather, style, textures
        )
