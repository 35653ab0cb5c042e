"""Building the U-Net of a file, to ask it what it predicts."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fromnoise.nets.diffusion import UNet
from fromnoise.weights.identity import OURS, Identity
from fromnoise.weights.key_rules import UNET
from fromnoise.weights.layouts import sift
from fromnoise.weights.native import Uninitialised
from fromnoise.weights.networks import find_networks
from fromnoise.weights.planning import plan_for
from fromnoise.weights.probe import LATENTS, Probe, probe
from fromnoise.weights.stored import Stored


def can_answer(stored: Stored, identity: Identity) -> bool:
    """Is there a U-Net that can be built, whose numbers are what they seem? (What ours predict, they say.)"""
    spec = identity.spec
    if spec is None or identity.layout == OURS:
        return False
    if spec.unet.out_channels != LATENTS or spec.unet.in_channels < LATENTS:
        return False
    unets = [network for network in find_networks(stored.shapes) if network.room == "unet"]
    names = (name for name in sift(stored.shapes)[0] if any(unet.holds(name) for unet in unets))
    return len(unets) == 1 and all(stored.dtypes[name].is_floating_point for name in names)


def ask(stored: Stored, identity: Identity) -> Probe:
    """What a U-Net that can answer says of noise: a few seconds, and a layer's memory where it is mapped.

    Raises: WeightsError if it has tensors of no rule
    """
    assert identity.spec is not None, "it cannot answer"
    recipes = plan_for(stored, identity)
    with torch.device("meta"), Uninitialised():
        unet = UNet(identity.spec.unet)
    sources = {name: partial(stored.read, name) for name in stored.shapes}
    state = {name: recipes[f"{UNET}.{name}"](sources) for name in unet.state_dict()}
    unet.load_state_dict(state, strict=True, assign=True)
    unet.eval().requires_grad_(False)
    for layer in unet.modules():
        if any(True for _ in layer.parameters(recurse=False)):
            _widen(layer)
    return probe(unet)


def _widen(layer: nn.Module) -> None:
    """Let a layer compute in float32, from copies of its numbers that last as long as its turn.

    On a CPU, float16 takes a hundred times as long.
    """
    kept = list[Tensor]()

    def before(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for parameter in layer.parameters(recurse=False):
            kept.append(parameter.data)
            parameter.data = parameter.data.float()
        return tuple(each.float() for each in inputs)

    def after(layer: nn.Module, *_: Any) -> None:
        for parameter in layer.parameters(recurse=False):
            parameter.data = kept.pop(0)

    layer.register_forward_pre_hook(before)
    layer.register_forward_hook(after)
