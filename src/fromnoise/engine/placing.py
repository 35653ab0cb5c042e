"""Where a model's networks are, and in which form they draw there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import torch
from torch import nn

from fromnoise.engine.card import Card
from fromnoise.engine.graphs import for_card, kernels_last
from fromnoise.engine.offload import KINDS, Kind, Offload, Sizes, explained, planned
from fromnoise.engine.room import pictures_at_once, working_memory
from fromnoise.engine.transforms import INT8, hastened, quantized
from fromnoise.errors import RequestError, did_you_mean
from fromnoise.request import FilledRequest
from fromnoise.specs import ModelSpec

N = TypeVar("N", bound=nn.Module)

PLAIN, COMPILED, AUTO = "plain", "compiled", "auto"
# made fast; by torch's compiler, on a graphics card; of bytes where that is faster, on a CPU; as they are
ENGINES: Final = (AUTO, COMPILED, INT8, PLAIN)
OFFLOADS: Final = (AUTO, *KINDS)
CARDS: Final = "cuda"  # torch's word for them


@dataclass(frozen=True, slots=True)
class Placing:
    """A model on a graphics card: all of it, or what is at work."""

    card: Card
    kind: Kind = "none"
    note: str = ""  # where not everything is on the card
    offload: Offload | None = None  # then, too

    def faster(self, network: N, engine: str) -> N:
        """The form in which a network draws on the card."""
        if engine == PLAIN:
            return network
        return for_card(network, self.card, stays=self.kind == "none", compiled=engine == COMPILED)

    def hint(self, pictures: int) -> str:
        """What to do where the card's memory was not enough."""
        fewer = "draw fewer at a time, or smaller" if pictures > 1 else "draw smaller"
        more = {"none": "model", "model": "blocks"}.get(self.kind)
        return f"{fewer}, or take offload {more!r}" if more else fewer

    def work(self, spec: ModelSpec, request: FilledRequest, networks: Iterable[nn.Module]) -> int:
        """What one picture takes beside the weights of these networks.  Units: bytes"""
        size = max(next(network.parameters()).element_size() for network in networks)
        return working_memory(spec, request.width, request.height, size)

    def at_once(self, work: int) -> int:
        """How many pictures of so much work each to draw in one batch.  Units: bytes"""
        return pictures_at_once(self.offload.room() if self.offload else self.card.free(), work)

    def expect(self, work: int) -> None:
        """Networks make way for so much work.  Units: bytes"""
        if self.offload is not None:
            self.offload.expect(work)


def check(device: torch.device, engine: str, offload: str) -> None:
    """Refuse what does not go together.  Raises: RequestError"""
    if engine not in ENGINES:
        raise RequestError({"engine": f"{engine!r} is unknown; {did_you_mean(engine, ENGINES)}"})
    if offload not in OFFLOADS:
        raise RequestError({"offload": f"{offload!r} is unknown; {did_you_mean(offload, OFFLOADS)}"})
    if device.type != CARDS and engine == COMPILED:
        raise RequestError({"engine": f"{COMPILED!r} is for CUDA devices"}, hint=f"take {AUTO!r}")
    if device.type != CARDS and offload not in (AUTO, "none"):
        problem = "only a CUDA device has anything to offload to the CPU"
        raise RequestError({"offload": problem}, hint=f"leave it out, or take {AUTO!r}")


def whole(network: nn.Module) -> Placing | None:
    """Of a model that is where it draws already; None: that is no graphics card."""
    device = next(network.parameters()).device
    return Placing(Card(device)) if device.type == CARDS else None


def placed(
    networks: Mapping[str, nn.Module], spec: ModelSpec, device: torch.device, engine: str, offload: str
) -> Placing | None:
    """Bring networks from the CPU's memory to a graphics card, or make them wait; None: it is no such device.

    Raises: RequestError if what must move was to be compiled
    """
    if device.type != CARDS:
        return None
    card, sizes = Card(device), Sizes.of(networks)
    number = max(weight.element_size() for network in networks.values() for weight in network.parameters())
    work = working_memory(spec, spec.defaults.width, spec.defaults.height, number)
    free = card.free()
    kind: Kind = planned(sizes, work, free) if offload == AUTO else cast(Kind, offload)
    if kind == "none":
        for network in networks.values():
            network.to(device)
        return Placing(card)
    if engine == COMPILED:
        problem = "a model that does not stay on the card cannot be recorded"
        raise RequestError({"engine": problem}, hint=f"take {AUTO!r}, or offload 'none'")
    if engine != PLAIN:
        for network in networks.values():
            kernels_last(network)  # before they are pinned: what is laid out anew afterwards is not
    note = explained(kind, sizes, work, free)
    return Placing(card, kind, note, Offload(card, networks, kind, work))


def faster(network: N, engine: str, placing: Placing | None) -> N:
    """The form in which a network draws soonest where it is; the same answers, up to rounding.

    Raises: RequestError where "int8" is asked for and cannot be had
    """
    if engine == INT8:
        return quantized(network)
    if placing is not None:
        return placing.faster(network, engine)
    return network if engine == PLAIN else hastened(network)
