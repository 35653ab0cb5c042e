"""Power-function averages of the weights: their length grows with the training.

Source: Karras et al. 2024, sec. 3.1 and app. C (arXiv:2312.02696)
"""

from collections.abc import Mapping
from math import sqrt

import torch
from torch import Tensor, nn


def gamma_of(relative_std: float) -> float:
    """The exponent of a profile whose width is this fraction of the training.

    Source: Karras et al. 2024, eq. 123-126: sigma_rel^2 = (g + 1) / ((g + 2)^2 (g + 3)), solved for g
    """
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        width = sqrt((middle + 1) / ((middle + 2) ** 2 * (middle + 3)))
        low, high = (middle, high) if width > relative_std else (low, middle)
    return low


class Ema:
    """An average of a module's parameters."""

    def __init__(self, module: nn.Module, relative_std: float) -> None:
        self.gamma = gamma_of(relative_std)
        self.averages = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Fold in the weights after `step` (1, 2, …)."""
        keep = (1 - 1 / step) ** (self.gamma + 1)
        names = [name for name, _ in module.named_parameters()]
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]  # all in one pass
            [self.averages[name] for name in names], [p.detach() for p in module.parameters()], 1 - keep
        )

    def load(self, averages: Mapping[str, Tensor]) -> None:
        """Take up averages that were saved."""
        assert averages.keys() == self.averages.keys(), "the averages of another network"
        for name, average in self.averages.items():
            average.copy_(averages[name])
