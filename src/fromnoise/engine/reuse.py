"""The deep part of the U-Net changes slowly from step to step: reuse it. It changes the picture.

Source: Ma et al. 2023, "DeepCache" (arXiv:2312.00858)
"""

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from fromnoise.nets.blocks import for_each
from fromnoise.nets.diffusion import UNet

SHALLOW: Final = 1  # stages either way that are calculated at every step; Source: sec. 4.1, the first skip


@dataclass(slots=True)
class Rhythm:
    """When the deep part is due: at first, at every n-th step, and for another number of rows."""

    every: int
    rows: int = 0
    age: int = 0  # answers since it was calculated

    def is_due(self, rows: int) -> bool:
        """Count one more answer, for so many rows."""
        due = rows != self.rows or self.age >= self.every
        self.rows, self.age = rows, 1 if due else self.age + 1
        return due


class Reusing:
    """A U-Net for one drawing, which calculates its deep part at every n-th step and keeps it in between.

    It remembers, so every drawing needs one of its own. What stays are the first stage and the last: of
    SD 1.5's work at 512 pixels an eighth.
    """

    def __init__(self, unet: UNet, every: int) -> None:
        self.unet = unet
        self.rhythm = Rhythm(every)
        self.deep: Tensor | None = None

    def __call__(
        self,
        latents: Tensor,
        timesteps: Tensor,
        context: Tensor,
        pooled: Tensor | None = None,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """As `UNet`; the time and the text of reused parts are those of the step that calculated them."""
        unet, down, up = self.unet, list(self.unet.down), list(self.unet.up)
        time = unet.embed(timesteps, context.dtype, pooled, guidance)
        x = latents if pooled is None else for_each(latents, pooled)
        skips = unet.descend(down[:SHALLOW], x, time, context)
        if self.rhythm.is_due(len(context)) or self.deep is None:
            all_skips = skips + unet.descend(down[SHALLOW:], skips[-1], time, context)
            x = all_skips[-1] if unet.mid is None else unet.mid(all_skips[-1], time, context)
            self.deep = unet.ascend(up[:-SHALLOW], x, all_skips, time, context)
        return unet.answer(unet.ascend(up[-SHALLOW:], self.deep, skips, time, context))
