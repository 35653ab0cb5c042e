"""Building the U-Net of a file, to ask it what it predicts."""

from functools import partial
from re import compile as compile_regex
from typing import Any, Final

import torch
from torch import Tensor, nn

from fromnoise.nets.diffusion import UNet
from fromnoise.weights.detect import detect
from fromnoise.weights.identity import OURS, Identity
from fromnoise.weights.key_rules import UNET
from fromnoise.weights.layouts import sift
from fromnoise.weights.native import Uninitialised
from fromnoise.weights.networks import find_networks
from fromnoise.weights.planning import plan_for
from fromnoise.weights.probe import LATENTS, Probe, probe
from fromnoise.weights.remarks import SAYS_SO
from fromnoise.weights.stored import Stored

# SD 2.x comes in two kinds that only its numbers tell apart, so it is always asked when it is loaded.
# That takes 10 s. Others almost always predict eps, and are believed to, unless they have such a name.
TWO_KINDS: Final = "sd2"
NAMES_OF_V: Final = compile_regex(r"(?i)v[-_ ]?pred|768[-_]?v(?![a-z])|zt[-_ ]?snr|terminal[-_ ]?snr")


def is_doubtful(stored: Stored, identity: Identity) -> bool:
    """Whether nobody says what it predicts, and it may well be something else than usual.

    What a file is called proves nothing: it is a reason to ask, not an answer.
    """
    if "prediction" not in identity.undecided:
        return False
    called = (stored.name, *(stored.metadata.get(key, "") for key in SAYS_SO))
    return identity.family == TWO_KINDS or any(NAMES_OF_V.search(name) for name in called)


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


def asked(stored: Stored, identity: Identity, unet: UNet | None = None) -> Identity:
    """The identity with what a U-Net that can answer says; `unet`: itself, where it is built already.

    Raises: WeightsError if it has tensors of no rule
    """
    if unet is None or _is_slow(next(unet.parameters())):
        return detect(stored, probed=ask(stored, identity))
    return detect(stored, probed=probe(unet))


def _is_slow(weight: Tensor) -> bool:
    """On a CPU, float16 takes a hundred times as long as float32."""
    return (weight.device.type, weight.dtype) == ("cpu", torch.float16)


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
    """Let a layer compute in float32, from copies of its numbers that last as long as its turn."""
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
