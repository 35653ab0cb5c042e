"""How fast this machine is at what networks are made of: a short look, in place of a try."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, isqrt, log2, sqrt
from statistics import median
from time import perf_counter
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fromnoise.engine.transforms import hastened
from fromnoise.engine.winograd import TILE, TILES, WinogradConv2d
from fromnoise.engine.work import EXPANSION, Kind, Work
from fromnoise.nets.attention import Attention
from fromnoise.nets.blocks import Upsample

SAMPLE: Final = 1.5e9  # operations that are timed, at most: milliseconds on any processor of today
LARGE_SAMPLE: Final = 4 * SAMPLE  # of what prepares more at each call
MOST_QUERIES: Final = 4096  # of attention that is timed: the places of a picture of 512 x 512 pixels
SMALL, BROAD = 16, 2048  # widths of layers that are timed for their calls and for their weights alone
NUMBERS: Final = 2**22  # of a norm that is timed, at most
TRIES: Final = 3
TYPICAL: Final = 0.01  # of all numbers in what is timed: their values do not matter, but zeros might
WORTH: Final = 0.04  # shares of all operations below which work goes as fast as its nearest neighbour
BETWEEN: Final = 1.07  # times: sums, copies and full caches between the operations; see benchmarks/curves.py
BLOCK: Final = 2**24  # numbers that are copied to see how fast memory is

Key = tuple[Kind, int, int]
"""Kind, width and length of the work that is timed."""


@dataclass(slots=True)
class Rates:
    """Of one device, dtype and engine, measured when they are first needed.

    `quicken`: what the engine makes of a module
    """

    dtype: torch.dtype
    quicken: Callable[[nn.Module], nn.Module] = hastened
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rates: dict[Key, float] = field(default_factory=dict[Key, float])  # seconds an operation
    memory: float = 0.0  # seconds a byte of weights
    packing: float = 0.0  # seconds a byte of weights, when they are first used
    least: float = 0.0  # seconds of the smallest call

    def look(self, work: Iterable[Work]) -> None:
        """Time what takes most of this work: tenths of a second."""
        flops: defaultdict[Kind, defaultdict[Key, float]] = defaultdict(lambda: defaultdict(float))
        for each in work:
            flops[each.kind][key(each)] += each.flops
        for found in flops.values():
            least = WORTH * sum(found.values())
            for each in [each for each, count in found.items() if count >= least]:
                if each not in self.rates:
                    self.rates[each] = self._rate(*each)
        if not self.memory:
            self.memory, self.packing, self.least = self._memory(), self._packing(), self._least()

    def seconds(self, work: Iterable[Work]) -> float:
        """How long it takes; `look` must have seen work of these kinds."""
        return BETWEEN * sum(self.by_kind(work).values())

    def by_kind(self, work: Iterable[Work]) -> Mapping[Kind, float]:
        """The same, apart."""
        found: defaultdict[Kind, float] = defaultdict(float)
        for each in work:
            rate = self.rates[nearest(key(each), self.rates)]
            moved = each.weights * self.dtype.itemsize * self.memory
            found[each.kind] += max(each.flops * rate, moved, self.least) + self.least
        return found

    @torch.inference_mode()
    def _rate(self, kind: Kind, width: int, length: int) -> float:
        match kind:
            case "conv":
                return self._conv(width, length)
            case "upsample":
                return self._upsample(width, length)
            case "linear":
                return self._linear(width, length)
            case "attention":
                return self._attention(width, length)
            case _:
                return self._norm(width, length)

    def _conv(self, width: int, places: int) -> float:
        side = max(1, isqrt(min(places, int(SAMPLE / (18 * width**2)))))
        layer = self.network(lambda: nn.Conv2d(width, width, 3, padding=1))
        if isinstance(layer, WinogradConv2d):  # large enough to go by sums of pixels, if the map is
            side = max(side, min(isqrt(places), TILE * ceil(sqrt(TILES))))
        x = self.numbers(1, width, side, side).contiguous(memory_format=torch.channels_last)
        return self.usual(lambda: layer(x)) / (18 * width**2 * side**2)

    def _upsample(self, width: int, places: int) -> float:
        side = max(1, isqrt(min(places, int(LARGE_SAMPLE / (18 * width**2)))) // 2)
        layer = self.network(lambda: Upsample(width))
        x = self.numbers(1, width, side, side).contiguous(memory_format=torch.channels_last)
        return self.usual(lambda: layer(x)) / (18 * width**2 * (2 * side) ** 2)

    def _linear(self, width: int, rows: int) -> float:
        rows = max(1, min(rows, int(SAMPLE / (2 * EXPANSION * width**2))))
        layer = self.network(lambda: nn.Linear(width, EXPANSION * width))
        x = self.numbers(1, rows, width)
        return self.usual(lambda: layer(x)) / (2 * rows * EXPANSION * width**2)

    def _attention(self, width: int, keys: int) -> float:
        heads = torch.get_num_threads()
        queries = max(16, min(MOST_QUERIES, int(LARGE_SAMPLE / (4 * heads * keys * width))))
        attend = self.network(lambda: Attention(width * heads, heads)).attend
        q, k = self.numbers(1, heads, queries, width), self.numbers(1, heads, keys, width)
        return self.usual(lambda: attend(q, k, k)) / (4 * heads * queries * keys * width)

    def _norm(self, width: int, places: int) -> float:
        places = min(places, NUMBERS // width)
        x = self.numbers(1, width, places, 1).contiguous(memory_format=torch.channels_last)
        weight = self.numbers(width)
        return self.usual(lambda: x + F.silu(F.group_norm(x, 1, weight, weight))) / x.numel()

    def _memory(self) -> float:
        block = self.numbers(BLOCK)
        return self.usual(block.sum) / (BLOCK * self.dtype.itemsize)

    def _packing(self) -> float:
        layer, x = self.network(lambda: nn.Linear(BROAD, BROAD)), self.numbers(1, BROAD)
        first, *others = self._times(lambda: layer(x))
        return max(0.0, first - median(others)) / (BROAD**2 * self.dtype.itemsize)

    def _least(self) -> float:
        layer, x = self.network(lambda: nn.Linear(SMALL, SMALL)), self.numbers(1, SMALL)
        return self.usual(lambda: layer(x))

    def numbers(self, *shape: int) -> Tensor:
        """Something to calculate with."""
        return torch.full(shape, TYPICAL, dtype=self.dtype, device=self.device)

    def network(self, make: Callable[[], nn.Module]) -> Any:
        """A network as the engine draws with it; its weights say nothing."""
        with torch.device("meta"):
            plain = make()
        for module in plain.modules():  # `to_empty` does this, too, but first imports for a second
            for name, weight in module.named_parameters(recurse=False):
                module.register_parameter(
                    name, nn.Parameter(self.numbers(*weight.shape), requires_grad=False)
                )
        return self.quicken(plain)

    def usual(self, work: Callable[[], object]) -> float:
        """Seconds of one of a few tries, neither the best nor the worst, after one that is not counted."""
        return median(self._times(work)[1:])

    def _times(self, work: Callable[[], object]) -> list[float]:
        times = list[float]()
        for _ in range(1 + TRIES):
            began = perf_counter()
            work()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            times.append(perf_counter() - began)
        return times


def key(work: Work) -> Key:
    """What makes work go about equally fast."""
    return work.kind, work.width, work.length


def nearest(wanted: Key, known: Iterable[Key]) -> Key:
    """The known work most like this: by the ratios of its sizes."""
    kind, width, length = wanted

    def distance(other: Key) -> float:
        return 2 * abs(log2(other[1] / width)) + abs(log2(other[2] / length))

    return min((other for other in known if other[0] == kind), key=distance)
