"""The transformations by which a plain network becomes a fast one, each with what it costs and brings."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import torch
from torch import nn

from fromnoise.engine.attention import attend_in_tiles
from fromnoise.engine.frugal import FrugalResnetBlock
from fromnoise.engine.int8 import SWAPS
from fromnoise.engine.int8_products import why_not
from fromnoise.engine.packing import DTYPES, PackedConv2d, PackedGatedFeedForward, PackedLinear, can_pack
from fromnoise.engine.swaps import swapped
from fromnoise.engine.upsampling import FoldedUpsample, PackedUpsample
from fromnoise.engine.winograd import WinogradConv2d, is_plain_3x3
from fromnoise.errors import RequestError
from fromnoise.nets.attention import Attention
from fromnoise.nets.blocks import GatedFeedForward, ResnetBlock, Upsample

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Transform:
    """A network to a network that gives the same, up to rounding; `opt_in`: up to rounding that may show.

    Units: `tolerance` is the relative error of a network in float32; in bfloat16 it is that of bfloat16, with
    sums of pixels ("winograd") some twice that
    """

    summary: str
    tolerance: float
    apply: Callable[[nn.Module], nn.Module]
    fits: Callable[[nn.Module], bool] = lambda network: True
    opt_in: bool = False


INT8: Final = "int8"


def _in_tiles(plain: Attention) -> nn.Module:
    twin = swapped(plain, {})
    twin.__dict__["attend"] = attend_in_tiles
    return twin


def _packs(network: nn.Module) -> bool:
    return can_pack(next(network.parameters()).dtype)


def _by_winograd(conv: nn.Conv2d) -> nn.Module:
    return WinogradConv2d(conv) if is_plain_3x3(conv) else conv


def _packed_by_winograd(packed: PackedConv2d) -> nn.Module:
    return WinogradConv2d(packed.plain) if is_plain_3x3(packed.plain) else packed


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
    INT8: Transform(
        "large products as products of bytes",
        1e-1,
        lambda network: swapped(network, SWAPS),
        lambda network: _packs(network) and not why_not(),
        opt_in=True,
    ),
    "packs": Transform(
        "weights in the processor's own order, GELU within the product",
        1e-5,
        lambda network: swapped(
            network,
            {
                GatedFeedForward: PackedGatedFeedForward,
                nn.Linear: PackedLinear,
                nn.Conv2d: PackedConv2d,
                FoldedUpsample: PackedUpsample,
            },
        ),
        _packs,
    ),
    "winograd": Transform(
        "3x3 convolutions of large maps with a quarter of the products",
        1e-5,
        lambda network: swapped(network, {nn.Conv2d: _by_winograd, PackedConv2d: _packed_by_winograd}),
        _packs,
    ),
    "frugal": Transform(
        "activations written over what nobody reads any more",
        0.0,
        lambda network: swapped(network, {ResnetBlock: FrugalResnetBlock}),
    ),
}


USUAL: Final = tuple(name for name, transform in TRANSFORMS.items() if not transform.opt_in)


def hastened(network: N, names: Iterable[str] = USUAL) -> N:
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


def check_int8(device: torch.device, dtype: torch.dtype) -> None:
    """Raises: RequestError where products of bytes cannot be had"""
    if device.type != "cpu":
        problem = f"{INT8!r} is for CPUs, not for {device.type}"
    elif dtype not in DTYPES:
        problem = f"{INT8!r} goes with float32 and bfloat16"
    else:
        problem = why_not()
    if problem:
        raise RequestError({"engine": problem}, hint="take 'auto'")


def quantized(network: N) -> N:
    """The same network for drawing on a CPU, its large products of bytes; a picture shows the difference.

    Raises: RequestError where they cannot be had
    """
    weight = next(network.parameters())
    check_int8(weight.device, weight.dtype)
    return hastened(network, TRANSFORMS)
