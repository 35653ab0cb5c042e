"""What adapters do to the weight of one layer: a few small tensors that multiply out to a change of it.

Source: LyCORIS, Yeh et al. 2023 (arXiv:2309.14859), which defined LoCon, LoHa and LoKr and their files
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Final, Self

import torch
from torch import Tensor

from fromnoise.errors import WeightsError

Parts = Mapping[str, Tensor]
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

LORA, LOHA, LOKR = "LoRA", "LoHa", "LoKr"
MAGNITUDE: Final = "magnitude"  # of DoRA, which may come with any of the three
LARGEST_RANK: Final = 4096  # no layer of these models gains by more; adapters have 4 to 256


# --- the three products, each (out, in) or (out, in, height, width) ---


def low_rank(parts: Parts) -> Tensor:
    """LoRA; of a convolution (LoCon) with all of its kernel in `down`, or between the two in `mid`.

    Source: Hu et al. 2021, sec. 4.1 (arXiv:2106.09685)
    """
    up, down = parts["up"].flatten(1), parts["down"]
    if "mid" in parts:
        return torch.einsum("op,pqhw,qi->oihw", up, parts["mid"], down.flatten(1))
    return (up @ down.flatten(1)).reshape(-1, *down.shape[1:])


def hadamard(parts: Parts) -> Tensor:
    """LoHa: two products of low rank, multiplied number by number.  Source: LyCORIS, sec. 3.2"""
    return _factor(parts, "w1") * _factor(parts, "w2")


def kronecker(parts: Parts) -> Tensor:
    """LoKr: a block pattern, each block a multiple of one small matrix.  Source: LyCORIS, sec. 3.2"""
    pattern, block = _factor(parts, "w1"), _factor(parts, "w2")
    return torch.kron(pattern.reshape(*pattern.shape, *[1] * (block.ndim - 2)), block)


def _factor(parts: Parts, name: str) -> Tensor:
    """Whole, or the product of two, or of three (a Tucker decomposition)."""
    if name in parts:
        return parts[name]
    a, b = parts[f"{name}_a"], parts[f"{name}_b"]
    core = parts.get(f"{name}_core")
    return a @ b if core is None else torch.einsum("pqhw,qi,po->oihw", core, b, a)


# --- the shapes of these products, so that nothing has to be computed to know them ---


def low_rank_shape(shapes: Shapes) -> Shape:
    """Raises: ValueError, KeyError if the parts do not go together, or one is missing; as the two below"""
    (out, rank, *ones), (inner, width, *kernel) = shapes["up"], shapes["down"]
    if "mid" in shapes:
        first, second, *own = shapes["mid"]
        _agree((first, second, *kernel), (rank, inner, *[1] * len(kernel)))
        rank, kernel = inner, own
    _agree((rank, *ones), (inner, *[1] * len(ones)))
    return out, width, *kernel


def hadamard_shape(shapes: Shapes) -> Shape:
    """Both halves have it."""
    first, second = _factor_shape(shapes, "w1"), _factor_shape(shapes, "w2")
    _agree(first, second)
    return first


def kronecker_shape(shapes: Shapes) -> Shape:
    """As many blocks as the pattern has numbers."""
    (rows, columns), (height, width, *kernel) = _factor_shape(shapes, "w1"), _factor_shape(shapes, "w2")
    return rows * height, columns * width, *kernel


def _factor_shape(shapes: Shapes, name: str) -> Shape:
    if name in shapes:
        return shapes[name]
    (first, second), (inner, width) = shapes[f"{name}_a"], shapes[f"{name}_b"]
    if f"{name}_core" not in shapes:
        _agree((second,), (inner,))
        return first, width
    outer, core, *kernel = shapes[f"{name}_core"]
    _agree((outer, core), (first, inner))
    return second, width, *kernel


def _agree(one: Shape, other: Shape) -> None:
    if one != other:
        raise ValueError(f"{one} is not {other}")


PRODUCTS: Final[Mapping[str, Callable[[Parts], Tensor]]] = {LORA: low_rank, LOHA: hadamard, LOKR: kronecker}
SHAPES: Final[Mapping[str, Callable[[Shapes], Shape]]] = {
    LORA: low_rank_shape,
    LOHA: hadamard_shape,
    LOKR: kronecker_shape,
}
RANKED_BY: Final[Mapping[str, tuple[str, ...]]] = {LORA: ("down",), LOHA: ("w1_b",), LOKR: ("w2_b", "w1_b")}


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """How one layer's weight is changed. Its parts may be on the meta device: its shape needs no numbers."""

    kind: str  # of PRODUCTS
    parts: Parts
    alpha: float | None = None  # None: as much as the rank, so that the product counts as it is

    @property
    def rank(self) -> int | None:
        """How many directions it has; a LoKr of two whole matrices has none."""
        names = [name for name in RANKED_BY[self.kind] if name in self.parts]
        return self.parts[names[0]].shape[0] if names else None

    @property
    def factor(self) -> float:
        """What the product is multiplied by."""
        return 1.0 if self.alpha is None or self.rank is None else self.alpha / self.rank

    @property
    def label(self) -> str:
        """The name of its algebra."""
        return f"DoRA ({self.kind})" if MAGNITUDE in self.parts else self.kind

    @property
    def shape(self) -> Shape:
        """Of the product, found without computing it.

        Raises: WeightsError if a part is missing, or the parts do not go together
        """
        shapes = {name: tuple(part.shape) for name, part in self.parts.items()}
        try:
            shape = SHAPES[self.kind](shapes)
        except KeyError as lost:
            raise WeightsError(f"{' and '.join(self.parts)} without {lost.args[0]}") from lost
        except ValueError as error:
            sizes = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise WeightsError(f"parts that do not go together: {sizes}") from error
        if self.rank is not None and self.rank > LARGEST_RANK:
            raise WeightsError(f"a rank of {self.rank:,}, where {LARGEST_RANK:,} is the most")
        return shape

    def checked(self) -> Self:
        """The same.  Raises: WeightsError as `shape`"""
        _ = self.shape
        return self

    def fits(self, weight: Tensor) -> bool:
        """Is it a change of a weight of this shape? A linear layer and a 1x1 convolution are the same."""
        mine, theirs = self.shape, tuple(weight.shape)
        flat = (theirs[0], prod(theirs[1:]))
        if _plain(mine) != _plain(theirs) and mine != flat:
            return False
        return MAGNITUDE not in self.parts or self.parts[MAGNITUDE].numel() == theirs[self._axis]

    def delta(self, weight: Tensor) -> Tensor:
        """What is to be added to this weight, which must fit, in float32 and on its device."""
        parts = {name: part.to(weight.device, torch.float32) for name, part in self.parts.items()}
        change = PRODUCTS[self.kind](parts).mul_(self.factor).reshape(weight.shape)
        return self._decomposed(weight.float(), change, parts[MAGNITUDE]) if MAGNITUDE in parts else change

    def _decomposed(self, weight: Tensor, change: Tensor, magnitude: Tensor) -> Tensor:
        """DoRA: the product turns the weight's rows (or columns), their lengths are learnt by themselves.

        Source: Liu et al. 2024, eq. 5 (arXiv:2402.09353)
        """
        turned, axis = weight + change, self._axis
        others = [dim for dim in range(weight.ndim) if dim != axis]
        lengths = turned.square().sum(others, keepdim=True).sqrt()
        wanted = magnitude.reshape([-1 if dim == axis else 1 for dim in range(weight.ndim)])
        return turned * (wanted / lengths.clamp_min(torch.finfo(torch.float32).eps)) - weight

    @property
    def _axis(self) -> int:
        """0: a length for each output, (out, 1, …); 1: for each input, (1, in, …)."""
        magnitude = self.parts[MAGNITUDE]
        return 0 if magnitude.shape[:1].numel() == magnitude.numel() else 1


def _plain(shape: Shape) -> Shape:
    """Without the height and width of a 1x1 convolution."""
    return shape[:2] if set(shape[2:]) <= {1} else shape
