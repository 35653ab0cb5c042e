"""Weights in the order in which a processor multiplies them, rearranged once instead of at every call.

oneDNN, with which torch calculates on CPUs, has an order of its own for every processor; torch's compiler
uses the same operators. They also take along an activation that follows a product.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from fromnoise.nets.blocks import GatedFeedForward

ONEDNN: Final[Any] = torch.ops.mkldnn
OPERATORS: Final = (
    "_reorder_linear_weight",
    "_linear_pointwise",
    "_reorder_convolution_weight",
    "_convolution_pointwise",
)
DTYPES: Final = (torch.float32, torch.bfloat16)
ROWS: Final = 1024  # that a product is expected to have; it holds for any number


def can_pack() -> bool:
    """Does this torch have oneDNN's operators?"""
    return torch.backends.mkldnn.is_available() and all(hasattr(ONEDNN, name) for name in OPERATORS)


class Packed:
    """Something made from weights, and made again when others have taken their place (an adapter's)."""

    def __init__(self, pack: Callable[..., Any], *sources: Callable[[], Tensor | None]) -> None:
        self.pack, self.sources = pack, sources
        self.made_from: Sequence[Tensor | None] = (None,) * len(sources)
        self.made_for: tuple[int, ...] = ()
        self.made: Any = None

    def __call__(self, *shape: int) -> Any:
        """What the present weights are packed to, for inputs of this shape if it matters."""
        weights = tuple(source() for source in self.sources)
        if shape != self.made_for or any(
            now is not then for now, then in zip(weights, self.made_from, strict=True)
        ):
            self.made, self.made_from, self.made_for = self.pack(*weights, *shape), weights, shape
        return self.made


class PackedLinear(nn.Module):
    """A Linear in the processor's own order: up to 1.25 times as fast."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.plain = plain
        self.weight = Packed(_linear, lambda: plain.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (…, I) -> (…, O)"""
        y: Tensor = ONEDNN._linear_pointwise(x, self.weight(), self.plain.bias, "none", [], "")
        return y


class PackedGatedFeedForward(nn.Module):
    """A GatedFeedForward whose GELU is applied while its product is written: 1.1 to 2 times as fast."""

    def __init__(self, plain: GatedFeedForward) -> None:
        super().__init__()
        self.plain = plain
        self.halves = Packed(_halves, lambda: plain.gate.weight, lambda: plain.gate.bias)
        self.out = PackedLinear(plain.out)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, N, D) -> (B, N, D)"""
        (value, value_bias), (gate, gate_bias) = self.halves()
        gates = ONEDNN._linear_pointwise(x, gate, gate_bias, "gelu", [], "none")
        # oneDNN could multiply too, but prepares for it anew at every call: a millisecond
        return self.out(ONEDNN._linear_pointwise(x, value, value_bias, "none", [], "").mul_(gates))


class PackedConv2d(nn.Module):
    """A Conv2d in the processor's own order: 1.05 times as fast on large maps, 1.5 and more on small ones."""

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        self.plain = plain
        self.out_channels = plain.out_channels
        self.how = (plain.padding, plain.stride, plain.dilation, plain.groups)
        self.weight = Packed(self._pack, lambda: plain.weight)

    @property
    def bias(self) -> Tensor | None:
        """The plain one's."""
        return self.plain.bias

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, I, H, W) -> (B, O, H', W')"""
        x = x.contiguous(memory_format=torch.channels_last)
        y: Tensor = ONEDNN._convolution_pointwise(
            x, self.weight(*x.shape), self.plain.bias, *self.how, "none", [], ""
        )
        return y

    def _pack(self, weight: Tensor, *shape: int) -> Any:
        return ONEDNN._reorder_convolution_weight(weight.detach(), *self.how, shape)


def _linear(weight: Tensor) -> Any:
    return ONEDNN._reorder_linear_weight(weight.detach().contiguous(), ROWS)


def _halves(weight: Tensor, bias: Tensor) -> list[tuple[Any, Tensor]]:
    halves = zip(weight.detach().chunk(2), bias.detach().chunk(2), strict=True)
    return [(_linear(w), b.contiguous()) for w, b in halves]
