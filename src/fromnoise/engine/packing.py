"""Weights in the order in which a processor multiplies them, rearranged once instead of at every call.

oneDNN, with which torch calculates on CPUs, has an order of its own for every processor; torch's compiler
uses the same operators. They also take along an activation that follows a product.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import is_not
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.engine.memory import lasting_memory
from fromnoise.nets.blocks import GatedFeedForward

ONEDNN: Final[Any] = torch.ops.mkldnn
OPERATORS: Final = (
    "_reorder_linear_weight",
    "_linear_pointwise",
    "_reorder_convolution_weight",
    "_convolution_pointwise",
    "_is_mkldnn_bf16_supported",
)
DTYPES: Final = (torch.float32, torch.bfloat16)
ROWS: Final = 1024  # that a product is expected to have; it holds for any number
FEW: Final = 3_000_000  # products of numbers: oneDNN's operator takes 40 microseconds before it begins
IN_ORDER: Final = 1  # of a weight: as it is


def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Does this torch have oneDNN's operators, and do they take such numbers on this processor?"""
    if not torch.backends.mkldnn.is_available() or not all(hasattr(ONEDNN, name) for name in OPERATORS):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and ONEDNN._is_mkldnn_bf16_supported())


class Packed:
    """Something made from weights, and made again when they are others (an adapter's) or were written to.

    `grows`: how many numbers come of one
    """

    def __init__(
        self, pack: Callable[..., Any], *sources: Callable[[], Tensor | None], grows: float = 1.0
    ) -> None:
        self.pack, self.sources, self.grows = pack, sources, grows
        self.stays = True  # from one call to the next
        self.forget()

    def __call__(self, *shape: int) -> Any:
        """What the present weights are packed to, for inputs of this shape if it matters."""
        weights = self.weights
        if not self.stays:
            with lasting_memory():
                return self.pack(*weights, *shape)
        state = (*map(_state, weights), *shape)
        made = self.made
        if made is None or state != self.made_for or any(map(is_not, weights, self.made_from)):
            self.forget()  # first: there may be no room for both
            numbers = [weight if weight is None else weight.detach()[:] for weight in weights]
            with lasting_memory():  # but not for the numbers: what is read from a file goes at once
                made = self.pack(*numbers, *shape)
            self.made, self.made_from, self.made_for = made, weights, state
        return made

    def forget(self) -> None:
        """Give the memory back; it is made again when it is asked for."""
        self.made: Any = None
        self.made_from: Sequence[Tensor | None] = (None,) * len(self.sources)
        self.made_for: tuple[Any, ...] = ()

    @property
    def weights(self) -> tuple[Tensor | None, ...]:
        """The present ones."""
        return tuple(source() for source in self.sources)


def _state(weight: Tensor | None) -> Any:
    """What changes where a weight is cast, or written to, as in training; of others nobody counts writes."""
    if weight is None:
        return None
    is_counted = type(weight) is nn.Parameter and not weight.is_inference()
    return weight.dtype, weight._version if is_counted else 0  # pyright: ignore[reportPrivateUsage]


def packed_in(network: nn.Module) -> list[Packed]:
    """All that a network made fast has packed, in the order of its modules."""
    return [
        each for module in network.modules() for each in vars(module).values() if isinstance(each, Packed)
    ]


def keep_packed(network: nn.Module, room: int | None) -> None:
    """Let so many packed numbers stay from call to call; other weights are packed for every use.

    It is for weights that lie in a file: what is used once is not held at all. None: all stay
    """
    for each, end in _ends(network):
        each.stays = room is None or end <= room
        if not each.stays:
            each.forget()


def forget_packed(network: nn.Module, room: int = 0) -> None:
    """Hold no more than so many packed numbers; those go first that are used last."""
    for each, end in _ends(network):
        if end > room:
            each.forget()


def _ends(network: nn.Module) -> Iterator[tuple[Packed, int]]:
    """All that is packed, and how many numbers that is by then: of two forms of a weight one is in use."""
    seen, end = set[int](), 0
    for each in packed_in(network):
        new = [weight for weight in each.weights if weight is not None and id(weight) not in seen]
        seen.update(map(id, new))
        end += round(each.grows * sum(weight.numel() for weight in new))
        yield each, end


class PackedLinear(nn.Module):
    """A Linear in the processor's own order, unless it has few products: up to 1.25 times as fast."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.plain = plain
        self.weight = Packed(_linear, lambda: plain.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (…, I) -> (…, O)"""
        if x.dtype == torch.float32 and x.numel() * self.plain.out_features <= FEW:
            return F.linear(x, self.weight(IN_ORDER), self.plain.bias)
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


def _linear(weight: Tensor, order: int = 0) -> Any:
    weight = weight.detach().contiguous()
    return weight if order == IN_ORDER else ONEDNN._reorder_linear_weight(weight, ROWS)


def _halves(weight: Tensor, bias: Tensor) -> list[tuple[Any, Tensor]]:
    halves = zip(weight.detach().chunk(2), bias.detach().chunk(2), strict=True)
    return [(_linear(w), b.contiguous()) for w, b in halves]
