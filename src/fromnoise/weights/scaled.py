"""Weights in 8 bits, floats or integers, in units of their own: multiplied by a scale when they are read.

Plain float8 tensors are tensors like others; here are those beside which the file keeps a scale. What else it
keeps for them (scales of inputs, marks) serves chips that multiply in 8 bits, and is left out.
Source: the files of ComfyUI: "X.scale_weight" since 2024, "X.weight_scale" and "X.comfy_quant" since 2025;
integers are in our own (native.py) and in those of compressed-tensors
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final, cast

import torch
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.weights.wording import shown

FLOAT8: Final = (torch.float8_e4m3fn, torch.float8_e5m2)
INT8: Final = torch.int8
EIGHT_BITS: Final = (*FLOAT8, INT8)
MOST: Final = 127  # of an integer
MULTIPLIED: Final = torch.float32  # what a product is given in: rounded once, at its 24th bit
WEIGHT: Final = "weight"
SCALES: Final = ("scale_weight", "weight_scale")
OF_INPUTS: Final = ("scale_input", "input_scale")
MARK, MARK_OF_ALL = "comfy_quant", "scaled_fp8"
PLAIN: Final = ("float8_e4m3fn", "float8_e5m2")  # what a mark says where a product is all that is needed
HARMLESS: Final = frozenset({"format", "full_precision_matrix_mult"})
LONGEST_MARK: Final = 1_000  # bytes
METADATA: Final = "_quantization_metadata"  # where a file says of all layers at once what marks say of each

Shapes = Mapping[str, tuple[int, ...]]
Read = Callable[[str], Tensor]


@dataclass(frozen=True, slots=True)
class Scaling:
    """Which tensors of a file are scaled by which, and what is used up by that."""

    scales: Mapping[str, str]
    extra: frozenset[str]  # what says more of them, and is not needed

    @property
    def gone(self) -> set[str]:
        """What is no tensor any more."""
        return {*self.scales.values(), *self.extra}

    def said(self) -> Iterator[str]:
        """What became of it, in words."""
        if self.scales:
            yield f"scales of 8-bit weights ({len(self.scales):,}, multiplied in)"
        if self.extra:
            yield f"marks for arithmetic in 8 bits ({len(self.extra):,})"

    def read(self, read: Read, source: str, name: str) -> Tensor:
        """The tensor of the file `source`, multiplied if it is scaled.  Raises: WeightsError for NaN"""
        if name not in self.scales:
            return read(name)
        scale = read(self.scales[name]).to(MULTIPLIED)
        if not scale.isfinite().all():
            raise WeightsError(f"{source} is damaged: {shown(self.scales[name])} holds NaN or infinity")
        numbers = read(name).to(MULTIPLIED)
        return numbers * _each_row(scale, numbers)


def in_bytes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight as integers, and the scale of each row: its largest number is 127 of them.

    Shapes: (O, …) -> (O, …) int8, (O,) float32
    """
    weight = weight.to(MULTIPLIED)
    scale = weight.flatten(1).abs().amax(1) / MOST
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (weight / _each_row(scale, weight)).round().to(INT8), scale


def _each_row(scale: Tensor, numbers: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (numbers.dim() - 1))


def find_scaling(
    shapes: Shapes, dtypes: Mapping[str, torch.dtype], metadata: Mapping[str, str], read: Read
) -> Scaling:
    """The 8-bit tensors that are to be multiplied.

    What is scaled in a way that is not known stays as it is: `detect` calls it by name.
    """
    if not _all_plain(metadata.get(METADATA)):
        return Scaling({}, frozenset())
    scales = {
        f"{layer}{WEIGHT}": scale
        for scale in shapes
        if (layer := _layer_of(scale, shapes, dtypes)) is not None
        and _is_plain(f"{layer}{MARK}", shapes, dtypes, read)
    }
    layers = [name.removesuffix(WEIGHT) for name in scales]
    extra = {layer + each for layer in layers for each in (*OF_INPUTS, MARK)} & shapes.keys()
    marks = {name for name in shapes if name.rpartition(".")[2] == MARK_OF_ALL}
    return Scaling(scales, frozenset(extra | marks))


def _layer_of(scale: str, shapes: Shapes, dtypes: Mapping[str, torch.dtype]) -> str | None:
    """What the names of a layer begin with whose weight this scales: by one number, or one for each row."""
    layer, dot, word = scale.rpartition(".")
    weight = f"{layer}{dot}{WEIGHT}"
    if word not in SCALES or dtypes.get(weight) not in EIGHT_BITS or not dtypes[scale].is_floating_point:
        return None
    numbers, rows = prod(shapes[scale]), shapes[weight][:1]
    return f"{layer}{dot}" if numbers == 1 or (rows == shapes[scale][:1] and numbers == rows[0]) else None


def _is_plain(mark: str, shapes: Shapes, dtypes: Mapping[str, torch.dtype], read: Read) -> bool:
    """Whether a layer needs nothing but the product: no rotation, no blocks of numbers."""
    if mark not in shapes:
        return True
    if dtypes[mark] != torch.uint8 or prod(shapes[mark]) > LONGEST_MARK:
        return False
    return _says_plain(_json(bytes(cast(list[int], read(mark).flatten().tolist()))))


def _all_plain(said: str | None) -> bool:
    """Whether the metadata say of all layers, if of any, that they need nothing but the product."""
    layers: Any = {} if said is None else _json(said).get("layers")
    return isinstance(layers, dict) and all(map(_says_plain, cast(dict[str, Any], layers).values()))


def _says_plain(facts: Any) -> bool:
    return (
        isinstance(facts, dict)
        and cast(dict[str, Any], facts).keys() <= HARMLESS
        and cast(dict[str, Any], facts).get("format") in PLAIN
    )


def _json(text: str | bytes) -> dict[str, Any]:
    """An object; an empty one if it is none."""
    try:
        found: Any = json.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError):
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}
