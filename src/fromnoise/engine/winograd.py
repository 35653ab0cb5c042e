"""3x3 convolutions with a quarter of the products: what is multiplied are sums of neighbouring pixels.

Source: Lavin & Gray 2015, sec. 4.1 and 4.3 (arXiv:1509.09308): F(4x4, 3x3)
"""

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.engine.packing import DTYPES, PackedConv2d

TILE: Final = 4  # pixels along a side that are calculated at once
SEEN: Final = TILE + 2  # that they see

# The polynomials' values at 0, 3/4, -3/4, 3/2, -3/2 and infinity: of pixels, of a kernel, and back. Measured:
# rounding costs half of what it does at 1, -1, 2 and -2, in bfloat16 too, which has to round some products
# of two of these numbers.
# Source: Barabasz et al. 2020, sec. 6 (arXiv:1803.10986)
PIXELS: Final = (
    (81 / 64, 0, -45 / 16, 0, 1, 0),
    (0, -27 / 16, -9 / 4, 3 / 4, 1, 0),
    (0, 27 / 16, -9 / 4, -3 / 4, 1, 0),
    (0, -27 / 32, -9 / 16, 3 / 2, 1, 0),
    (0, 27 / 32, -9 / 16, -3 / 2, 1, 0),
    (0, 81 / 64, 0, -45 / 16, 0, 1),
)
KERNEL: Final = (
    (64 / 81, 0, 0),
    (-128 / 243, -32 / 81, -8 / 27),
    (-128 / 243, 32 / 81, -8 / 27),
    (32 / 243, 16 / 81, 8 / 27),
    (32 / 243, -16 / 81, 8 / 27),
    (0, 0, 1),
)
BACK: Final = (
    (1, 1, 1, 1, 1, 0),
    (0, 3 / 4, -3 / 4, 3 / 2, -3 / 2, 0),
    (0, 9 / 16, 9 / 16, 9 / 4, 9 / 4, 0),
    (0, 27 / 64, -27 / 64, 27 / 8, -27 / 8, 1),
)

# Measured: with fewer, sums cost what they save
CHANNELS: Final = 160  # the harmonic mean of those that go in and those that come out
TILES: Final = 64  # of a picture, whatever is drawn beside it: for it would be rounded otherwise
# So many numbers at once of what comes between
VALUES: Final = 10_000_000  # of tiles'
MOST_TILES: Final = 256
KERNELS: Final = 16_000_000  # of kernels', where they are not kept
EXACT: Final = 2**20  # of kernels' in float32, before they are rounded
SPREAD: Final = SEEN**2 // 9  # times the numbers of a kernel are those that are multiplied


class WinogradConv2d(PackedConv2d):
    """A Conv2d of a quarter of the products where its map and channels are large.

    1.3 to 2.5 times as fast there; its error is 2e-6 of the answer, in bfloat16 1.3e-2 in place of 2.3e-3.
    Elsewhere it is a PackedConv2d.
    """

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__(plain)
        self.is_spread = True  # are kernels kept as they are multiplied, which takes four times the memory?

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, I, H, W) -> (B, O, H, W)"""
        if x.dtype not in DTYPES or not is_large(*x.shape[2:]):  # it may have been cast since it was made
            return super().forward(x)
        return convolved(x, self.weight(self.is_spread), self.plain.bias)

    def _pack(self, weight: Tensor, *how: int) -> Any:
        match how:
            case (is_spread,):
                return [spread(taps_of(weight))] if is_spread else blocks(taps_of(weight))
            case shape:
                return super()._pack(weight, *shape)


def keep_spread(network: nn.Module, is_spread: bool) -> None:
    """Say whether kernels are kept as they are multiplied, or made so at each use; others are given back."""
    for module in network.modules():
        if isinstance(module, WinogradConv2d) and module.is_spread != is_spread:
            module.is_spread = is_spread
            module.weight.forget()


def is_plain_3x3(conv: nn.Conv2d) -> bool:
    """Is it of the one kind that this file knows, with channels enough?"""
    how = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    usual = ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")
    return how == usual and is_wide(conv.in_channels, conv.out_channels)


def is_wide(inputs: float, outputs: float) -> bool:
    """Are there channels enough?"""
    return 2 / (1 / inputs + 1 / outputs) >= CHANNELS


def is_large(height: int, width: int) -> bool:
    """Is it sooner done so, for a map of this size?"""
    down, across = _tiles(height), _tiles(width)
    wasted = TILE**2 * down * across > 1.5 * height * width
    return down * across >= TILES and not wasted


def taps_of(weight: Tensor) -> Tensor:
    """A kernel's nine taps.  Shapes: (O, I, 3, 3) -> (9, I, O)"""
    return weight.detach()[:].permute(2, 3, 1, 0).flatten(0, 1).contiguous()


def blocks(taps: Tensor) -> list[Tensor]:
    """Some outputs at a time, for what is made of them is larger.  Shapes: (9, I, O) -> (9, I, some O) …"""
    some = max(1, KERNELS // (SEEN**2 * taps.shape[1]))
    return [taps[..., at : at + some].contiguous() for at in range(0, taps.shape[2], some)]


def spread(taps: Tensor) -> Tensor:
    """Kernels as they are multiplied, rounded once.  Shapes: (9, I, O) -> (36, I, O)"""
    _, inputs, outputs = taps.shape
    out, some = taps.new_empty(SEEN**2, inputs, outputs), max(1, EXACT // (SEEN**2 * outputs))
    # once: the system clears every block that it gives
    room = taps.new_empty(SEEN**2 * min(some, inputs) * outputs, dtype=torch.float32)
    matrix = _both_ways(KERNEL, room)
    for at in range(0, inputs, some):
        exact = taps[:, at : at + some].float().flatten(1)
        values = torch.mm(matrix, exact, out=room[: SEEN**2 * exact.shape[1]].view(SEEN**2, -1))
        out[:, at : at + some] = values.view(SEEN**2, -1, outputs)
    return out


def convolved(x: Tensor, kernels: list[Tensor], bias: Tensor | None) -> Tensor:
    """The sums that a 3x3 convolution makes, framed by zeros.

    Transformations are products with all that they transform in one row, which is what processors like.
    Shapes: (B, I, H, W), (36, I, some O) … or taps (9, I, some O) … -> (B, O, H, W), channels last
    """
    batch, channels, height, width = x.shape
    down, across = _tiles(height), _tiles(width)
    outputs = sum(block.shape[2] for block in kernels)
    out = x.new_empty(batch, TILE * down, TILE * across, outputs)
    pixels, back = _both_ways(PIXELS, x), _both_ways(BACK, x)
    rows = max(1, min(MOST_TILES, VALUES // (SEEN**2 * channels)) // (batch * across))
    at = 0
    for block in kernels:
        here = slice(at, at := at + block.shape[2])
        kernel, added = block if len(block) == SEEN**2 else spread(block), 0 if bias is None else bias[here]
        for top in range(0, down, rows):
            some = min(rows, down - top)
            values = (pixels @ _tiles_of(x, top, some, across)).view(SEEN**2, -1, channels)
            products = torch.bmm(values, kernel)  # (36, tiles, some O)
            found = (back @ products.flatten(1)).view(TILE, TILE, batch, some, across, -1)
            strip = out[:, TILE * top : TILE * (top + some), :, here]
            place = strip.view(batch, some, TILE, across, TILE, -1)
            torch.add(found.permute(2, 3, 0, 4, 1, 5), added, out=place)
    return out[:, :height, :width].permute(0, 3, 1, 2)


def _tiles_of(x: Tensor, top: int, some: int, across: int) -> Tensor:
    """What some rows of tiles see, zeros round the map.  Shapes: (B, I, H, W) -> (36, tiles I)"""
    height, width = x.shape[2:]
    first, last = TILE * top - 1, TILE * (top + some) + 1
    seen = x[:, :, max(0, first) : min(height, last)].permute(0, 2, 3, 1)
    frame = (0, 0, 1, TILE * across + 1 - width, max(0, -first), max(0, last - height))
    strip = F.pad(seen, frame)
    each = strip.unfold(1, SEEN, TILE).unfold(2, SEEN, TILE)  # (B, down, across, I, 6, 6)
    return each.permute(4, 5, 0, 1, 2, 3).reshape(SEEN**2, -1)


def _both_ways(rows: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """A transformation of columns and rows of a square at once."""
    once = torch.tensor(rows, dtype=torch.float64)
    return torch.kron(once, once).to(like)


def _tiles(side: int) -> int:
    return -(-side // TILE)
