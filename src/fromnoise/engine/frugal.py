"""Blocks that write over what nobody reads any more: the same numbers, in less memory."""

import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.nets.blocks import ResnetBlock, for_each


class FrugalResnetBlock(ResnetBlock):
    """A ResnetBlock that holds five maps where the plain one holds six, and touches less fresh memory."""

    def __init__(self, plain: ResnetBlock) -> None:
        nn.Module.__init__(self)
        self.norm1, self.conv1, self.time = plain.norm1, plain.conv1, plain.time
        self.norm2, self.conv2, self.skip = plain.norm2, plain.conv2, plain.skip

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Shapes: (B, I, H, W), (B, T) -> (B, O, H, W)"""
        y = self.conv1(F.silu(self.norm1(x), inplace=True))
        if self.time is not None:
            assert time is not None, "this block was built with time_width, so it needs a time embedding"
            y += for_each(self.time(F.silu(time)), y)[:, :, None, None]
        y = self.norm2(y)
        y = self.conv2(F.silu(y, inplace=True))
        return y.add_(self.skip(x))
