"""Numbers as bytes, and oneDNN's products of bytes: twice as many a second as of bfloat16."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any, Final, Self

import torch
from torch import Tensor

ONEDNN: Final[Any] = torch.ops.onednn
OPERATORS: Final = ("qlinear_prepack", "qlinear_pointwise", "qconv_prepack", "qconv_pointwise")
DOT_PRODUCTS: Final = ("avx512_vnni", "avx_vnni", "amx_int8")  # as torch calls what processors can
TOP: Final = 255  # the largest byte ...
TOP_WEIGHT: Final = 127  # ... and the largest with a sign, of which one more below zero is left out
TINY: Final = 1e-30  # a scale for nothing but zeros
ROWS: Final = 4096  # that a product is expected to have; it holds for any number


def why_not() -> str:
    """What keeps this machine from products of bytes, "" if nothing does."""
    is_there = torch.backends.mkldnn.is_available() and all(hasattr(ONEDNN, name) for name in OPERATORS)
    if not is_there:
        return "this torch lacks oneDNN's int8 operators"
    ask = getattr(torch.cpu, "get_capabilities", dict[str, Any])
    abilities: dict[str, Any] = ask()
    if not any(abilities.get(name) for name in DOT_PRODUCTS):  # oneDNN would add pairs in 16 bits: too few
        return "this processor lacks int8 dot products"
    return ""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Numbers as `scale * (values - zero)`, with one scale for all, from the range of these very numbers.

    Never signed: of signed bytes oneDNN makes no fast products here.
    """

    values: Tensor
    scale: float
    zero: int

    @classmethod
    def of(cls, x: Tensor) -> Self:
        """The nearest bytes; 0 stays exactly 0. What is not finite makes every product NaN.

        oneDNN's own conversion, by which a dense tensor becomes one of its tensors, rounds to the nearest and
        saturates in one pass; torch's cuts off, and takes several times as long.
        """
        least, most = x.aminmax()
        low, high = min(float(least), 0.0), max(float(most), 0.0)
        if not isfinite(high - low):
            return cls(torch.zeros_like(x, dtype=torch.uint8), nan, 0)
        scale = max((high - low) / TOP, TINY)
        zero = round(-low / scale)
        scaled = torch.add(x.new_tensor(zero), x, alpha=1 / scale)
        return cls(scaled.to_mkldnn(torch.uint8).to_dense(), scale, zero)

    @classmethod
    def of_map(cls, x: Tensor) -> Self:
        """The same, with the channels of each pixel side by side.  Shapes: (B, C, H, W)"""
        flat = cls.of(x.permute(0, 2, 3, 1).contiguous())
        return cls(flat.values.permute(0, 3, 1, 2), flat.scale, flat.zero)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Weights as signed bytes in the processor's own order, with a scale for each output."""

    packed: Any
    scales: Tensor
    zeros: Tensor  # there are none, but the operators want them
    bias: Tensor | None


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a convolution walks."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]


def matrix(weight: Tensor, bias: Tensor | None) -> Matrix:
    """For `linear`.  Shapes: (O, I), (O,)"""
    values, scales = _by_rows(weight)
    packed = ONEDNN.qlinear_prepack(values, (ROWS, weight.shape[1]))
    return Matrix(packed, scales, torch.zeros_like(scales, dtype=torch.int32), _exact(bias))


def kernel(weight: Tensor, bias: Tensor | None, how: Geometry, shape: Sequence[int] | None = None) -> Matrix:
    """For `convolution`, of inputs of this shape if it is known.  Shapes: (O, I, K, K), (O,)"""
    values, scales = _by_rows(weight)
    walk = (how.stride, how.padding, how.dilation, 1)
    packed = ONEDNN.qconv_prepack(values, scales, 1.0, 1, *walk, shape)  # a zero that is not 0: it may be any
    return Matrix(packed, scales, torch.zeros_like(scales, dtype=torch.int32), _exact(bias))


def linear(x: Bytes, weights: Matrix, dtype: torch.dtype, activation: str = "none") -> Tensor:
    """Shapes: (…, I) -> (…, O)"""
    y: Tensor = ONEDNN.qlinear_pointwise(
        *(x.values, x.scale, x.zero, weights.packed, weights.scales, weights.zeros, weights.bias),
        *(1.0, 0, dtype, activation, [], "none"),
    )
    return y


def convolution(x: Bytes, weights: Matrix, how: Geometry, dtype: torch.dtype) -> Tensor:
    """Shapes: (B, I, H, W) -> (B, O, H', W')"""
    y: Tensor = ONEDNN.qconv_pointwise(
        *(x.values, x.scale, x.zero, weights.packed, weights.scales, weights.zeros, weights.bias),
        *(how.stride, how.padding, how.dilation, 1, 1.0, 0, dtype, "none", [], ""),
    )
    return y


def _by_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Signed bytes, and what each row is to be multiplied by.  Shapes: (O, …) -> (O, …), (O,)"""
    weight = weight.detach()[:].float()  # read once, if it is in a file
    scales = (weight.flatten(1).abs().amax(dim=1) / TOP_WEIGHT).clamp_(min=TINY)
    values = (weight / scales.view(-1, *[1] * (weight.ndim - 1))).round_().to(torch.int8)
    return values.contiguous(), scales


def _exact(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach()[:].float()
