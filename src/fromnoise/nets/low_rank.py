"""LoRA: a frozen layer learns by a correction of low rank beside it.

Source: Hu et al. 2021 (arXiv:2106.09685)
"""

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from math import sqrt
from typing import Final, cast

import torch
from torch import Tensor, nn

Layer = nn.Linear | nn.Conv2d

# The last words of the names of layers; "*.": of those that lie within something.
ATTENTION: Final = ("to_q", "to_k", "to_v", "to_out")
TRANSFORMER: Final = (*ATTENTION, "enter", "*.leave", "gate", "out", "fc1", "fc2")
CONVOLUTION: Final = ("conv1", "conv2", "conv", "skip", "time", "leave")  # "leave": also the U-Net's own


class LowRank(nn.Module):
    """y = layer(x) + alpha/rank · up(down(x)); the layer is frozen, and at first up is zero.

    Shapes: as those of the layer
    """

    def __init__(
        self, layer: Layer, rank: int, alpha: float | None = None, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        assert rank > 0, "a rank is at least 1"
        self.layer = layer.requires_grad_(False)
        self.rank, self.alpha = rank, float(rank if alpha is None else alpha)
        place = layer.weight.device  # the numbers that learn are float32, whatever the layer's are
        if isinstance(layer, nn.Linear):
            self.down: Layer = nn.Linear(layer.in_features, rank, bias=False, device=place)
            self.up: Layer = nn.Linear(rank, layer.out_features, bias=False, device=place)
        else:
            assert layer.groups == 1, "a convolution in groups has no plain product"
            self.down = nn.Conv2d(
                layer.in_channels,
                rank,
                kernel_size=(layer.kernel_size[0], layer.kernel_size[1]),
                stride=(layer.stride[0], layer.stride[1]),
                padding=layer.padding,  # pyright: ignore[reportArgumentType]  # as it was given
                dilation=(layer.dilation[0], layer.dilation[1]),
                bias=False,
                device=place,
            )
            self.up = nn.Conv2d(rank, layer.out_channels, 1, bias=False, device=place)
        nn.init.kaiming_uniform_(self.down.weight, a=sqrt(5), generator=generator)
        nn.init.zeros_(self.up.weight)

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """What learns: down (rank, in, …), up (out, rank, …)."""
        return self.down.weight, self.up.weight

    def forward(self, x: Tensor) -> Tensor:
        """The layer's answer, corrected."""
        y: Tensor = self.layer(x)
        x = x if torch.is_autocast_enabled(x.device.type) else x.to(self.down.weight.dtype)
        correction: Tensor = self.up(self.down(x))
        return y + (correction * (self.alpha / self.rank)).to(y.dtype)


def with_low_rank(
    module: nn.Module,
    rank: int,
    *,
    alpha: float | None = None,
    which: Collection[str] = ATTENTION,
    generator: torch.Generator | None = None,
) -> dict[str, LowRank]:
    """Freeze a network, and put a `LowRank` round each layer whose name ends in one of `which`.

    `alpha` None is `rank`: the correction counts as it is. `without_low_rank` takes them off again.
    Returns: the new layers by name; their `factors` are all that learns
    """
    module.requires_grad_(False)
    made = dict[str, LowRank]()
    for name, layer in _parts(module):
        if isinstance(layer, Layer) and any(fnmatchcase(f".{name}", f"*.{end}") for end in which):
            made[name] = LowRank(layer, rank, alpha, generator)
            module.set_submodule(name, made[name])
    assert made, f"no layer is called {', '.join(which)}"
    return made


def without_low_rank(module: nn.Module) -> None:
    """Take every `LowRank` off; the layers are as they were before."""
    for name, wrapped in low_rank_layers(module).items():
        module.set_submodule(name, wrapped.layer)


def low_rank_layers(module: nn.Module) -> dict[str, LowRank]:
    """Every `LowRank` in a network, under the name of the layer that it is round."""
    return {name: part for name, part in _parts(module) if isinstance(part, LowRank)}


def layers_of(module: nn.Module) -> dict[str, Layer]:
    """Every linear layer and convolution of a network, also those with a `LowRank` round them."""
    wrapped = low_rank_layers(module)
    inside = tuple(f"{name}." for name in wrapped)
    plain = {name: part for name, part in _parts(module) if isinstance(part, Layer)}
    plain = {name: part for name, part in plain.items() if not name.startswith(inside)}
    return plain | {name: each.layer for name, each in wrapped.items()}


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(cast(Iterator[tuple[str, nn.Module]], module.named_modules()))
