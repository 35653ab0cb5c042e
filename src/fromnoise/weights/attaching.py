"""Adapters on a model: their changes are added to its weights, and taken off again without a trace."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

import torch
from torch import nn

from fromnoise.errors import WeightsError
from fromnoise.nets.low_rank import Layer, layers_of
from fromnoise.specs import ModelSpec
from fromnoise.weights.adapter_algebra import Change
from fromnoise.weights.adapter_names import known_names
from fromnoise.weights.adapters import Adapter
from fromnoise.weights.families import BASES, TITLES
from fromnoise.weights.native import Parts, Uninitialised
from fromnoise.weights.wording import shown

ROOMS: Final = ("unet", "texts")  # the networks that adapters change
OTHER_MODEL: Final = "give the model that it was made for"

Worn = tuple[tuple[Adapter, float], ...]  # adapters and their scales


def layers_like(spec: ModelSpec) -> dict[str, Layer]:
    """The layers that adapters may change in a model of this spec, without memory."""
    with torch.device("meta"), Uninitialised():
        return changeable(dict(Parts.blank(spec).modules()))


def changeable(networks: Mapping[str, nn.Module]) -> dict[str, Layer]:
    """Linear layers and convolutions by full name, such as "unet.mid.1.enter"."""
    return {
        f"{room}.{name}": layer
        for room, network in networks.items()
        if room.partition(".")[0] in ROOMS
        for name, layer in layers_of(network).items()
    }


def fitted(adapter: Adapter, spec: ModelSpec, layers: Mapping[str, Layer]) -> dict[str, Change]:
    """Which layer of the model each change is for.

    Raises: WeightsError that names what has no place or another size, and both families where they show
    """
    if other := _other_family(adapter, spec):
        raise WeightsError(f"{adapter.name} is made for {other}", hint=OTHER_MODEL)
    known = known_names(spec, layers.keys())
    of = f"of {len(adapter.changes)} layers of {adapter.name}"
    if lost := [layer for layer in adapter.changes if layer not in known]:
        near = get_close_matches(lost[0], known, n=1)
        hint = f"nearest there is {near[0]!r}" if near else OTHER_MODEL
        raise WeightsError(f"{len(lost)} {of} are not in {spec.name}, first: {shown(lost[0])!r}", hint=hint)
    fits = {known[theirs]: change for theirs, change in adapter.changes.items()}
    if len(fits) < len(adapter.changes):
        raise WeightsError(f"{adapter.name} changes one layer twice, under two names")
    if odd := [theirs for theirs, c in adapter.changes.items() if not c.fits(layers[known[theirs]].weight)]:
        mine, theirs = adapter.changes[odd[0]].shape, tuple(layers[known[odd[0]]].weight.shape)
        problem = f"{len(odd)} {of} are of another size than in {spec.name}"
        raise WeightsError(f"{problem}, first: {shown(odd[0])!r}: {mine}, not {theirs}", hint=OTHER_MODEL)
    return fits


def _other_family(adapter: Adapter, spec: ModelSpec) -> str:
    """Whom it was made for and whom it meets, if its U-Net reads texts of another width."""
    mine, theirs = adapter.context_width, spec.unet.context_width
    if mine in (None, theirs):
        return ""
    families = {base.unet.context_width: TITLES[family] for family, base in BASES.items()}
    title, model = families.get(mine or 0, "a model"), families.get(theirs, spec.name)
    return f"{title}, whose U-Net reads texts {mine} wide; this is {model}: {theirs}"


class Attached:
    """The adapters that are on a model's networks, and the weights as they were without any.

    A weight that is changed is a new tensor; the old one is kept as it is, and put back. Mapped files are
    never written, and nothing is ever subtracted.
    """

    def __init__(self, spec: ModelSpec, networks: Mapping[str, nn.Module]) -> None:
        self.spec, self.networks = spec, networks
        self.on: Worn = ()  # right now
        self._layers = dict[str, Layer]()
        self._changes = dict[Adapter, dict[str, Change]]()
        self._originals = dict[str, nn.Parameter]()

    def fit(self, adapter: Adapter) -> None:
        """Find the layer of each change.  Raises: WeightsError if it is made for another model"""
        self._layers = self._layers or changeable(self.networks)
        if adapter not in self._changes:
            self._changes[adapter] = fitted(adapter, self.spec, self._layers)

    @torch.inference_mode(False)  # what is made here may be used, and learn, anywhere
    @torch.no_grad()
    def wear(self, adapters: Iterable[tuple[Adapter, float]]) -> None:
        """Exactly these adapters at these scales; the same bytes in whatever order they are given.

        Raises: WeightsError if one does not fit, or makes weights that are not finite; then none is on
        """
        wanted = tuple(adapters)
        if wanted == self.on:
            return
        for adapter, _ in wanted:
            self.fit(adapter)
        before, after = self._by_layer(self.on), self._by_layer(wanted)
        try:
            for layer in {**before, **after}:
                if before.get(layer) != after.get(layer):
                    self._change(layer, after.get(layer, []))
        except BaseException:  # out of memory, interrupted: half an adapter is none
            for layer, original in self._originals.items():
                self._layers[layer].weight = original
            self._originals, self.on = {}, ()
            raise
        self.on = wanted
        self._changes = {adapter: self._changes[adapter] for adapter, _ in wanted}

    def _by_layer(self, adapters: Worn) -> dict[str, list[tuple[Change, float]]]:
        """Sums of floats depend on their order, so there is one."""
        found = dict[str, list[tuple[Change, float]]]()
        for adapter, scale in sorted(adapters, key=lambda pair: (pair[0].digest(), pair[0].name, pair[1])):
            for layer, change in self._changes[adapter].items() if scale else ():
                found.setdefault(layer, []).append((change, scale))
        return found

    def _change(self, name: str, changes: list[tuple[Change, float]]) -> None:
        layer = self._layers[name]
        original = self._originals.get(name, layer.weight)
        assert isinstance(original, nn.Parameter)
        if not changes:
            layer.weight = self._originals.pop(name)
            return
        total = original.float()
        for change, scale in changes:
            total = total + change.delta(original) * scale
        made = total.to(original.dtype)
        # the sum is quick, but may overflow by itself
        if not (made.sum(dtype=torch.float32).isfinite() or made.isfinite().all()):
            problem = f"at these scales, {name} is not finite as {made.dtype}"
            raise WeightsError(problem, hint="take a smaller scale, or dtype float32")
        self._originals[name] = original
        layer.weight = nn.Parameter(made, requires_grad=False)
