"""A network with some of its modules exchanged for others, beside the network it was made from."""

import copy
from collections.abc import Callable, Mapping

from torch import nn

Swaps = Mapping[type[nn.Module], Callable[..., nn.Module]]
"""What takes the place of modules of exactly this class: made from the plain module."""


def swapped(module: nn.Module, swaps: Swaps) -> nn.Module:
    """The same network with other modules in some places; the plain one stays, and the two share weights."""
    if make := swaps.get(type(module)):
        return make(module)
    twin = copy.copy(module)
    children = {name: swapped(child, swaps) for name, child in module.named_children()}
    twin.__dict__["_modules"] = children  # the copy had the plain one's own table
    return twin
