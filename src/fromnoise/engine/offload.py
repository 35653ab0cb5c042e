"""Models larger than a graphics card: what is not calculating waits in the CPU's memory.

By networks: texts are read, then the U-Net draws, then the decoder paints, and what does not fit beside the
one at work is away. By blocks: the U-Net's blocks pass through the card one by one, each on its way while the
one before it calculates.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

Kind = Literal["none", "model", "blocks"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
SPARE: Final = 0.1  # of the free memory stays free
GB: Final = 1e9


class Mover(Protocol):
    """What moving weights needs of a card; see `Card`."""

    def free(self) -> int:
        """Bytes that can be had."""
        ...

    def pinned(self, tensor: Tensor) -> Tensor:
        """A copy in the CPU's memory from which the card can read by itself."""
        ...

    def fetched(self, tensor: Tensor) -> Tensor:
        """A copy on the card."""
        ...

    def on_ahead(self) -> AbstractContextManager[Any]:
        """What is asked for within this happens beside what the card calculates."""
        ...

    def arrived(self) -> Any:
        """The moment when everything asked for ahead is there."""
        ...

    def after(self, moment: Any) -> None:
        """What is calculated from here on begins after a moment."""
        ...

    def done(self) -> Any:
        """The moment when everything asked for so far is calculated."""
        ...

    def wait(self, moment: Any) -> None:
        """Hold the program until a moment has come."""
        ...


# --- the plan ---


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of a model's weights: of all, of the largest network, and of what streaming by blocks keeps."""

    everything: int
    largest: int
    streamed: int

    @classmethod
    def of(cls, networks: Mapping[str, nn.Module]) -> "Sizes":
        """Of a model with a network named "unet", which is what streams."""
        sizes = {name: size_of(network) for name, network in networks.items()}
        blocks = blocks_of(networks["unet"])
        streamed = sizes["unet"] - sum(map(size_of, blocks)) + largest_pair(blocks)
        others = max((size for name, size in sizes.items() if name != "unet"), default=0)
        return cls(sum(sizes.values()), max(sizes.values()), max(others, streamed))


def planned(sizes: Sizes, work: int, free: int) -> Kind:
    """The least moving with which weights and work fit; where nothing does, the most: `work` is a guess."""
    room = int(free * (1 - SPARE)) - work
    if sizes.everything <= room:
        return "none"
    return "model" if sizes.largest <= room else "blocks"


def explained(kind: Kind, sizes: Sizes, work: int, free: int) -> str:
    """The plan in one line."""
    numbers = f"{sizes.everything / GB:.1f} GB of weights, about {work / GB:.1f} GB to work in"
    how = {
        "none": "everything stays on the card",
        "model": "networks that are not at work wait in the CPU's memory",
        "blocks": "the U-Net passes through the card block by block",
    }
    return f"offload {kind}: {how[kind]} ({numbers}, {free / GB:.1f} GB free)"


def size_of(module: nn.Module) -> int:
    """Bytes of its weights."""
    return _bytes(module.parameters())


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(each.numel() * each.element_size() for each in tensors)


def blocks_of(unet: nn.Module) -> list[nn.Module]:
    """The stages of a U-Net in the order in which they run."""
    down, mid, up = (getattr(unet, name) for name in ("down", "mid", "up"))
    return [*down, *([] if mid is None else [mid]), *up]


def largest_pair(blocks: Sequence[nn.Module]) -> int:
    """Bytes of the two neighbours that take most; the first follows the last."""
    sizes = [size_of(block) for block in blocks]
    return max((a + b for a, b in zip(sizes, sizes[1:] + sizes[:1], strict=True)), default=0)


# --- weights that come and go ---


class Waiting:
    """Weights that are at home in the CPU's memory. Nothing is copied back: drawing changes none."""

    def __init__(self, card: Mover, module: nn.Module, without: Sequence[nn.Module] = ()) -> None:
        self.card = card
        left_out = {id(part) for block in without for part in block.modules()}
        parts = [part for part in module.modules() if id(part) not in left_out]
        self.slots = [(part, name) for part in parts for name, _ in part.named_parameters(recurse=False)]
        self.homes = dict[nn.Parameter, Tensor]()  # of the weights on the card
        for weight in self.weights():
            weight.data = card.pinned(weight.data)

    def weights(self) -> Iterator[nn.Parameter]:
        """Those of this moment: an adapter may have put others in their place."""
        return (getattr(part, name) for part, name in self.slots)

    def bytes(self) -> int:
        """That are not on the card yet."""
        return _bytes(weight for weight in self.weights() if weight not in self.homes)

    @torch.inference_mode(False)  # weights outlive the drawing in which they come
    @torch.no_grad()
    def bring(self) -> None:
        """Have the weights on the card, all and only those of this moment."""
        now = set(self.weights())
        for weight in self.homes.keys() - now:
            weight.data = self.homes.pop(weight)
        for weight in now - self.homes.keys():
            self.homes[weight] = weight.data.cpu()
            weight.data = self.card.fetched(weight.data)

    def leave(self) -> None:
        """Free the card's memory. What still calculates with it must be waited for before."""
        while self.homes:
            weight, home = self.homes.popitem()
            weight.data = home


class Streamed:
    """A network's blocks, of which two are on the card: one that calculates, and the next one on its way."""

    def __init__(self, card: Mover, network: nn.Module, blocks: Sequence[nn.Module]) -> None:
        self.card = card
        self.rest = Waiting(card, network, without=blocks)
        self.blocks = [Waiting(card, block) for block in blocks]
        self.pair = largest_pair(blocks)
        self.moments: list[Any] = [None] * len(blocks)  # when each has arrived
        self.last: tuple[int, Any] | None = None  # the block that calculates, and when it will be done
        for number, block in enumerate(blocks):
            block.register_forward_pre_hook(partial(self._before, number))
            block.register_forward_hook(partial(self._after, number))

    def _before(self, number: int, *_: Any) -> None:
        self._fetch(number)
        self.card.after(self.moments[number])

    def _after(self, number: int, *_: Any) -> None:
        done, before = self.card.done(), self.last
        self.last = number, done
        if before is not None and before[0] != number:  # this one has its kernels: time for the next one
            self.card.wait(before[1])
            self.blocks[before[0]].leave()
        self._fetch((number + 1) % len(self.blocks))

    def _fetch(self, number: int) -> None:
        with self.card.on_ahead():
            if self.blocks[number].bytes():
                self.blocks[number].bring()
                self.moments[number] = self.card.arrived()

    def bytes(self) -> int:
        """That are still to come: of the blocks no more than two at a time."""
        there = sum(_bytes(block.homes) for block in self.blocks)
        return self.rest.bytes() + max(0, self.pair - there)

    def bring(self) -> None:
        """Have on the card what is no block."""
        self.rest.bring()

    def leave(self) -> None:
        """Free the card's memory."""
        for each in (self.rest, *self.blocks):
            each.leave()
        self.last = None


class Offload:
    """A model's networks on a card that does not hold them all: the one that is asked is there."""

    def __init__(self, card: Mover, networks: Mapping[str, nn.Module], kind: Kind, work: int) -> None:
        """`work`: bytes that drawing takes beside the weights; `expect` says it anew for each drawing"""
        self.card, self.work = card, work
        self.order = list[str]()  # those on the card, the one asked last at the end
        self.all: dict[str, Waiting | Streamed] = {
            name: Streamed(card, network, blocks_of(network))
            if name == "unet" and kind == "blocks"
            else Waiting(card, network)
            for name, network in networks.items()
        }
        self.takes = {name: each.bytes() for name, each in self.all.items()}
        for name, network in networks.items():
            for part in (network, *network.children()):  # shortcuts ask a U-Net's parts instead of itself
                part.register_forward_pre_hook(partial(self._asked, name))

    def _asked(self, name: str, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        self.ask_for(name)
        return tuple(self.card.fetched(each) if isinstance(each, Tensor) else each for each in given)

    def room(self) -> int:
        """Bytes that can be had to work in, when the largest network is there and the others may be away."""
        here = sum(self.takes[name] - each.bytes() for name, each in self.all.items())
        return self.card.free() + here - max(self.takes.values())

    def expect(self, work: int) -> None:
        """Make way for so much work, now and whenever a network comes back.  Units: bytes"""
        self.work = work
        while self.order and self.card.free() < work:
            self.send_away(self.order.pop(0))

    def ask_for(self, name: str) -> None:
        """Bring a network, and send others away, the one not asked for longest first, until it fits."""
        others = [other for other in self.order if other != name]
        while others and self.all[name].bytes() and self.card.free() < self.all[name].bytes() + self.work:
            self.send_away(others.pop(0))
        self.all[name].bring()
        self.order = [*others, name]

    def send_away(self, name: str) -> None:
        """Free what a network takes, once nothing calculates with it."""
        self.card.wait(self.card.done())
        self.all[name].leave()
