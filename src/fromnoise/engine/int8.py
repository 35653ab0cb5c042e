"""A network whose large products are products of bytes. Opt-in: it changes the picture a little.

Weights are rounded once, with a scale for each output; activations at every call, with one scale from their
own range: an answer depends on its question alone, never on what was asked before. What reads the text stays
as it is, since a few numbers in a text's vectors are very large; so do products that would not be faster.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.engine.int8_products import Bytes, Geometry, Matrix, convolution, kernel, linear, matrix
from fromnoise.engine.packing import Packed
from fromnoise.engine.swaps import Swaps
from fromnoise.engine.upsampling import FoldedUpsample
from fromnoise.nets.attention import Attention
from fromnoise.nets.blocks import GatedFeedForward

WORTH = 256  # products that each input enters and each output sums: fewer, and rounding costs what it brings
FEWEST = 32  # rows: a time's vector is one
BLOCK = 2048  # rows of a feed-forward layer at a time: they stay in the cache, and have a scale of their own


class QuantizedLinear(nn.Module):
    """A Linear of bytes: 1.2 (320 wide) to 1.9 times as fast, with the rounding of its inputs."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.plain = plain
        self.weight = Packed(matrix, lambda: plain.weight, lambda: plain.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (…, I) -> (…, O)"""
        return linear(Bytes.of(x), self.weight(), x.dtype) if _has_rows(x) else self.plain(x)


class QuantizedConv2d(nn.Module):
    """A Conv2d of bytes: 1.6 to 1.9 times as fast where it is 3x3, 1.2 and more where it is 1x1."""

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        self.how = geometry(plain)
        self.weight = Packed(self._pack, lambda: plain.weight, lambda: plain.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, I, H, W) -> (B, O, H', W')"""
        return convolution(Bytes.of_map(x), self.weight(*x.shape), self.how, x.dtype)

    def _pack(self, weight: Tensor, bias: Tensor | None, *shape: int) -> Matrix:
        return kernel(weight, bias, self.how, shape)


class QuantizedUpsample(FoldedUpsample):
    """A FoldedUpsample of bytes, which are rounded once for all four of its convolutions."""

    def __init__(self, folded: FoldedUpsample) -> None:
        nn.Module.__init__(self)
        self.conv = conv = folded.conv
        fold = folded.kernels.pack
        self.how = Geometry((1, 1), (0, 0), (1, 1))

        def pack(weight: Tensor, bias: Tensor | None) -> list[list[Matrix]]:
            return [[kernel(each, bias, self.how) for each in row] for row in fold(weight)]

        self.matrices = Packed(pack, lambda: conv.weight, lambda: conv.bias, grows=folded.kernels.grows)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Shapes: (B, C, H, W) -> (B, C, 2 H, 2 W), or (B, C, *size)"""
        batch, channels, height, width = x.shape
        if size not in (None, (2 * height, 2 * width)):
            return super().forward(x, size)
        framed = Bytes.of_map(F.pad(x, (1, 1, 1, 1)))
        shape = (batch, channels, 2 * height, 2 * width)
        out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        for i, row in enumerate(self.matrices()):
            for j, weights in enumerate(row):
                values = framed.values[..., i : i + height + 1, j : j + width + 1]
                seen = Bytes(values, framed.scale, framed.zero)
                out[..., i::2, j::2] = convolution(seen, weights, self.how, x.dtype)
        return out


class QuantizedAttention(Attention):
    """An Attention between products of bytes; what looks at itself is rounded once for q, k and v."""

    def __init__(self, plain: Attention) -> None:
        nn.Module.__init__(self)
        self.heads, self.attend = plain.heads, plain.attend
        to_q, to_k, to_v = plain.to_q, plain.to_k, plain.to_v
        self.to_q = cast(nn.Linear, quantized(to_q))
        self.to_k, self.to_v = to_k, to_v
        self.to_out = cast(nn.Linear, quantized(plain.to_out))
        layers = (to_q, to_k, to_v)
        weights = [lambda layer=layer: layer.weight for layer in layers]
        biases = [lambda layer=layer: layer.bias for layer in layers]
        self.all_three = Packed(_stacked, *weights, *biases)

    def forward(self, x: Tensor, context: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """Shapes: (B, N, D), (B, M, C) -> (B, N, D)"""
        if context is not None or not _has_rows(x):
            return super().forward(x, context, causal=causal)
        three = linear(Bytes.of(x), self.all_three(), x.dtype).chunk(3, dim=-1)
        q, k, v = map(self._heads, three)
        return self.to_out(self.attend(q, k, v, causal=causal).transpose(1, 2).flatten(2))


class QuantizedGatedFeedForward(nn.Module):
    """A GatedFeedForward of bytes, a block of rows at a time: 1.3 to 1.7 times as fast."""

    def __init__(self, plain: GatedFeedForward) -> None:
        super().__init__()
        self.plain = plain
        gate, out = plain.gate, plain.out
        self.halves = Packed(_halves, lambda: gate.weight, lambda: gate.bias)
        self.out = Packed(matrix, lambda: out.weight, lambda: out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, N, D) -> (B, N, D)"""
        if not _has_rows(x):
            return self.plain(x)
        rows = x.flatten(0, 1)
        blocks = [self._block(rows[at : at + BLOCK]) for at in range(0, len(rows), BLOCK)]
        return torch.cat(blocks).view(x.shape)

    def _block(self, rows: Tensor) -> Tensor:
        value, gate = self.halves()
        x = Bytes.of(rows)
        hidden = linear(x, value, rows.dtype).mul_(linear(x, gate, rows.dtype, "gelu"))
        return linear(Bytes.of(hidden), self.out(), rows.dtype)


def quantized(plain: nn.Module) -> nn.Module:
    """The module of bytes, where that is worth it; else the plain one itself."""
    match plain:
        case nn.Linear():
            return QuantizedLinear(plain) if min(plain.weight.shape) >= WORTH else plain
        case nn.Conv2d() if is_worth(plain):
            return QuantizedConv2d(plain)
        case FoldedUpsample() if is_worth(plain.conv):
            return QuantizedUpsample(plain)
        case GatedFeedForward() if min(plain.out.weight.shape) >= WORTH:
            return QuantizedGatedFeedForward(plain)
        case Attention() if min(plain.to_q.weight.shape) >= WORTH:
            return QuantizedAttention(plain)
        case _:
            return plain


def is_worth(conv: nn.Conv2d) -> bool:
    """Does rounding cost less than it brings?  Source: measured, see `WORTH`"""
    area, step = conv.kernel_size[0] * conv.kernel_size[1], conv.stride[0] * conv.stride[1]
    enters, sums = conv.out_channels * area / step, conv.in_channels * area
    simple = conv.groups == 1 and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return simple and min(enters, sums) >= WORTH


def geometry(conv: nn.Conv2d) -> Geometry:
    """Of a convolution whose padding is given in pixels."""
    return Geometry(conv.stride, cast(tuple[int, ...], conv.padding), conv.dilation)


SWAPS: Swaps = dict.fromkeys((nn.Linear, nn.Conv2d, FoldedUpsample, GatedFeedForward, Attention), quantized)


def _has_rows(x: Tensor) -> bool:
    return x.numel() >= FEWEST * x.shape[-1]


def _halves(weight: Tensor, bias: Tensor) -> list[Matrix]:
    halves = zip(weight.detach()[:].chunk(2), bias.detach()[:].chunk(2), strict=True)
    return [matrix(*half) for half in halves]


def _stacked(*layers: Tensor | None) -> Matrix:
    weights, biases = layers[:3], layers[3:]
    stacked = torch.cat([cast(Tensor, weight).detach()[:] for weight in weights])
    if any(bias is None for bias in biases):
        return matrix(stacked, None)
    return matrix(stacked, torch.cat([cast(Tensor, bias).detach()[:] for bias in biases]))
