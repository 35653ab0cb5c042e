"""The transformations by which a plain network becomes a fast one, each with what it costs and brings."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from torch import nn

from fromnoise.engine.attention import attend_in_tiles
from fromnoise.engine.packing import DTYPES, PackedConv2d, PackedGatedFeedForward, PackedLinear, can_pack
from fromnoise.engine.swaps import swapped
from fromnoise.engine.upsampling import FoldedUpsample
from fromnoise.nets.attention import Attention
from fromnoise.nets.blocks import GatedFeedForward, Upsample

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Transform:
    """A network to a network that gives the same, up to rounding.

    Units: `tolerance` is the relative error of a network in float32; in bfloat16 it is that of bfloat16
    """

    summary: str
    tolerance: float
    apply: Callable[[nn.Module], nn.Module]
    fits: Callable[[nn.Module], bool] = lambda network: True


def _in_tiles(plain: Attention) -> nn.Module:
    twin = swapped(plain, {})
    twin.__dict__["attend"] = attend_in_tiles
    return twin


def _packs(network: nn.Module) -> bool:
    return can_pack() and next(network.parameters()).dtype in DTYPES


TRANSFORMS: Final[Mapping[str, Transform]] = {
    "tiles": Transform(
        "attention in tiles that stay in the cache",
        1e-5,
        lambda network: swapped(network, {Attention: _in_tiles}),
    ),
    "folds": Transform(
        "3x3 convolutions of doubled pixels as four 2x2 ones",
        1e-5,
        lambda network: swapped(network, {Upsample: FoldedUpsample}),
    ),
    "packs": Transform(
        "weights in the processor's own order, GELU within the product",
        1e-5,
        lambda network: swapped(
            network,
            {GatedFeedForward: PackedGatedFeedForward, nn.Linear: PackedLinear, nn.Conv2d: PackedConv2d},
        ),
        _packs,
    ),
}


def hastened(network: N, names: Iterable[str] = tuple(TRANSFORMS)) -> N:
    """The same network for drawing on a CPU: no gradients, the same answers up to rounding, sooner.

    It follows the plain one: when a weight there is exchanged, it uses the new one. Elsewhere than on a CPU
    it is the plain network.
    """
    if next(network.parameters()).device.type != "cpu":
        return network
    fast: nn.Module = network
    for name in names:
        if TRANSFORMS[name].fits(network):
            fast = TRANSFORMS[name].apply(fast)
    return cast(N, fast)
