"""Doubling a picture and smoothing it, without calculating on repeated pixels."""

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.engine.packing import ONEDNN, Packed, PackedConv2d
from fromnoise.nets.blocks import Upsample

# Which rows (or columns) of a 3-wide kernel fall on the same pixel if pixels are not repeated: for the first
# of the two new pixels, and for the second. Either sees two pixels instead of three.
FOLDS: Final = (((0,), (1, 2)), ((0, 1), (2,)))
GROWTH: Final = 16 / 9  # four kernels of 2x2 for one of 3x3
OUTPUTS: Final = 64  # that are folded at once: float32 takes memory


class FoldedUpsample(Upsample):
    """An Upsample whose 3x3 convolution of repeated pixels has become four 2x2 ones of the pixels themselves.

    It is the same sum with 4 products in place of 9: 1.6 to 1.8 times as fast.
    """

    def __init__(self, plain: Upsample) -> None:
        nn.Module.__init__(self)
        self.conv = plain.conv
        self.kernels = Packed(_folded, lambda: plain.conv.weight, grows=GROWTH)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Shapes: (B, C, H, W) -> (B, C, 2 H, 2 W), or (B, C, *size)"""
        batch, channels, height, width = x.shape
        if size not in (None, (2 * height, 2 * width)):
            return super().forward(x, size)
        framed = F.pad(x, (1, 1, 1, 1))
        shape = (batch, self.conv.out_channels, 2 * height, 2 * width)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        for i, row in enumerate(self.kernels_for(batch, channels, height + 1, width + 1)):
            for j, kernel in enumerate(row):
                seen = framed[..., i : i + height + 1, j : j + width + 1]
                out[..., i::2, j::2] = self.convolved(seen, kernel)
        return out

    def kernels_for(self, *shape: int) -> list[list[Any]]:
        """The 2x2 kernels, for maps of this shape, by the row and the column of the new pixel."""
        return self.kernels()

    def convolved(self, seen: Tensor, kernel: Any) -> Tensor:
        """With one of them."""
        return F.conv2d(seen, kernel, self.conv.bias)


class PackedUpsample(FoldedUpsample):
    """A FoldedUpsample in the processor's own order: 1.5 to 2 times as fast on small maps."""

    HOW: Final = ((0, 0), (1, 1), (1, 1), 1)  # padding, stride, dilation, groups

    def __init__(self, folded: FoldedUpsample) -> None:
        nn.Module.__init__(self)
        self.conv = PackedConv2d(folded.conv)  # where a map is not exactly doubled
        self.kernels = Packed(self._pack, lambda: folded.conv.weight, grows=GROWTH)

    def kernels_for(self, *shape: int) -> list[list[Any]]:
        """Packed."""
        return self.kernels(*shape)

    def convolved(self, seen: Tensor, kernel: Any) -> Tensor:
        """By oneDNN."""
        seen = seen.contiguous(memory_format=torch.channels_last)
        y: Tensor = ONEDNN._convolution_pointwise(seen, kernel, self.conv.bias, *self.HOW, "none", [], "")
        return y

    def _pack(self, weight: Tensor, *shape: int) -> list[list[Any]]:
        pack = ONEDNN._reorder_convolution_weight
        return [[pack(kernel.contiguous(), *self.HOW, shape) for kernel in row] for row in _folded(weight)]


def _folded(kernel: Tensor) -> list[list[Tensor]]:
    """The 2x2 kernels, by the row and the column of the new pixel.  Shapes: (O, I, 3, 3) -> (O, I, 2, 2)"""
    kernel = kernel.detach()[:]  # read once, if it is in a file
    outputs, inputs, *_ = kernel.shape
    sums = _sums(kernel.device)
    folded = kernel.new_empty(4, outputs, 2, 2, inputs)  # channels last
    for at in range(0, outputs, OUTPUTS):
        some = kernel[at : at + OUTPUTS].float().reshape(-1, 9) @ sums
        folded[:, at : at + OUTPUTS] = some.view(-1, inputs, 4, 2, 2).permute(2, 0, 3, 4, 1)
    each = folded.permute(0, 1, 4, 2, 3)
    return [[each[0], each[1]], [each[2], each[3]]]


def _sums(device: torch.device) -> Tensor:
    """Which of nine weights are added up, for each of the four new pixels.  Shapes: -> (3 3, 2 2 2 2)"""
    row = torch.tensor(
        [[[float(at in taps) for taps in fold] for fold in FOLDS] for at in range(3)], device=device
    )
    return torch.einsum("yai,xbj->yxabij", row, row).reshape(9, 16)
