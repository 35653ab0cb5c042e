"""The U-Net that answers: given a noisy latent, a time and a text, what was the noise (or the velocity)?

Source: Rombach et al. 2022, sec. 3.2-3.3 (arXiv:2112.10752); Ronneberger et al. 2015 (arXiv:1505.04597)
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fromnoise.errors import RequestError
from fromnoise.nets.blocks import (
    UNET_EPS,
    Downsample,
    ResnetBlock,
    Transformer,
    Upsample,
    for_each,
    time_features,
)
from fromnoise.specs import UNetSpec


class Stage(nn.ModuleList):
    """Parts run one after another; each gets what its kind needs."""

    def forward(
        self, x: Tensor, time: Tensor, context: Tensor, size: tuple[int, int] | None = None
    ) -> Tensor:
        """`size`: what an Upsample in this stage grows to."""
        for part in self:
            if isinstance(part, ResnetBlock):
                x = part(x, time)
            elif isinstance(part, Transformer):
                x = part(x, context)
            elif isinstance(part, Upsample):
                x = part(x, size)
            else:
                x = part(x)
        return x


class UNet(nn.Module):
    """Down through coarser levels, and up again with what was seen on the way down.

    `down` and `up` list the stages in the order they run, one for each skip connection.
    """

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = spec.widths
        self.time = self._embedding(spec.base_width)
        self.pooled = self._embedding(spec.pooled_width) if spec.pooled_width else None
        self.guidance = (
            nn.Linear(spec.guidance_width, spec.base_width, bias=False) if spec.guidance_width else None
        )

        self.down = nn.ModuleList([Stage([nn.Conv2d(spec.in_channels, widths[0], 3, padding=1)])])
        c, skips = widths[0], [widths[0]]  # skips: widths the way up will need, newest last
        for level, (width, depths) in enumerate(zip(widths, spec.down, strict=True)):
            for depth in depths:
                self.down.append(Stage(self._pair(c, width, depth)))
                skips.append(c := width)
            if level + 1 < len(widths):
                self.down.append(Stage([Downsample(c)]))
                skips.append(c)

        self.mid = None
        if spec.mid is not None:
            self.mid = Stage(self._pair(c, c, spec.mid) + ([self._resnet(c, c)] if spec.mid else []))

        self.up = nn.ModuleList()
        for level, width, depths in zip(reversed(range(len(widths))), reversed(widths), spec.up, strict=True):
            for k, depth in enumerate(depths):
                parts = self._pair(c + skips.pop(), width, depth)  # channels from below and from the skip
                c = width
                if level > 0 and k + 1 == len(depths):
                    parts.append(Upsample(c))
                self.up.append(Stage(parts))

        self.norm = nn.GroupNorm(spec.groups, c, eps=UNET_EPS)
        self.leave = nn.Conv2d(c, spec.out_channels, 3, padding=1)

    def forward(
        self,
        latents: Float[Tensor, "b i h w"],
        timesteps: Float[Tensor, " b"],
        context: Float[Tensor, "b n d"],
        pooled: Float[Tensor, "b p"] | None = None,
        guidance: Float[Tensor, "b g"] | None = None,
    ) -> Float[Tensor, "b o h w"]:
        """Predict what the schedule asks for: noise, velocity or the clean latent.

        With k texts a picture (all first texts, then all second ones), nothing is calculated twice before the
        first text is read: of SD 1.5's work with two texts that is a thirtieth.
        Shapes: (B, I, H, W), (B,), (k B, N, D), (k B, P), (B, G) -> (k B, O, H, W)
        Units:  latents of about unit variance; timesteps 0..1000; guidance: features of its scale (LCM)
        Raises: RequestError if the model wants a pooled text vector or the guidance scale and gets none
        """
        time = self.embed(timesteps, context.dtype, pooled, guidance)
        x = latents if pooled is None else for_each(latents, pooled)
        skips = self.descend(self.down, x, time, context)
        x = skips[-1] if self.mid is None else self.mid(skips[-1], time, context)
        return self.answer(self.ascend(self.up, x, skips, time, context))

    def descend(self, stages: Iterable[nn.Module], x: Tensor, time: Tensor, context: Tensor) -> list[Tensor]:
        """Down through some of the stages: what each of them gives."""
        skips: list[Tensor] = []
        for stage in stages:
            skips.append(x := stage(x, time, context))
        return skips

    def ascend(
        self, stages: Iterable[nn.Module], x: Tensor, skips: list[Tensor], time: Tensor, context: Tensor
    ) -> Tensor:
        """Up through some of the stages; each takes the last of `skips` away."""
        for stage in stages:
            x = torch.cat([x, for_each(skips.pop(), x)], dim=1)
            # an odd size does not survive halving and doubling: grow to what the next skip has
            size = (skips[-1].shape[-2], skips[-1].shape[-1]) if skips else None
            x = stage(x, time, context, size)
        return x

    def answer(self, x: Tensor) -> Tensor:
        """What came up from all the stages, as the prediction."""
        return self.leave(F.silu(self.norm(x)))

    def embed(
        self, timesteps: Tensor, dtype: torch.dtype, pooled: Tensor | None, guidance: Tensor | None
    ) -> Tensor:
        """Everything that speaks to all pixels alike, as one vector: (B, 4 * base_width)."""
        features = time_features(timesteps, self.spec.base_width).to(dtype)
        if self.guidance is not None:
            if guidance is None:
                raise RequestError("this model needs the guidance scale as an input", hint="pass `guidance`")
            features = features + self.guidance(guidance)
        time = self.time(features)
        if self.pooled is not None:
            if pooled is None:
                raise RequestError("this model needs the pooled text vector", hint="pass `pooled`")
            time = for_each(time, pooled) + self.pooled(pooled)
        return time

    def _embedding(self, width: int) -> nn.Sequential:
        out = 4 * self.spec.base_width
        return nn.Sequential(nn.Linear(width, out), nn.SiLU(), nn.Linear(out, out))

    def _resnet(self, c_in: int, c_out: int) -> ResnetBlock:
        time_width = 4 * self.spec.base_width
        return ResnetBlock(c_in, c_out, groups=self.spec.groups, eps=UNET_EPS, time_width=time_width)

    def _pair(self, c_in: int, c_out: int, depth: int) -> list[nn.Module]:
        parts: list[nn.Module] = [self._resnet(c_in, c_out)]
        if depth:
            heads = self.spec.heads_for(c_out)
            parts.append(
                Transformer(
                    c_out,
                    heads,
                    self.spec.context_width,
                    depth=depth,
                    groups=self.spec.groups,
                    linear=self.spec.linear_projection,
                )
            )
        return parts
