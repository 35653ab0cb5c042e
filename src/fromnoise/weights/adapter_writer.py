"""Writing adapters, as kohya's sd-scripts and as PEFT with diffusers do it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

import torch
from torch import Tensor

from fromnoise.durable import replacing
from fromnoise.errors import RequestError, WeightsError, did_you_mean
from fromnoise.specs import ModelSpec
from fromnoise.weights.adapter_algebra import LORA, Change
from fromnoise.weights.adapter_alphas import SAID, settings_for
from fromnoise.weights.adapter_names import KOHYA, Layout, written_names
from fromnoise.weights.adapters import Adapter
from fromnoise.weights.attaching import fitted, layers_like
from fromnoise.weights.families import family_of
from fromnoise.weights.supply import pieces_of
from fromnoise.weights.writers import Slot, write_safetensors

LAYOUTS: Final[tuple[str, ...]] = get_args(Layout)
BOTH: Final = {"up", "down"}
# Source: sd-scripts/library/train_util.py
KOHYA_BASES: Final = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}


def save_adapter(
    adapter: Adapter,
    path: str | os.PathLike[str],
    spec: ModelSpec,
    layout: Layout = "kohya",
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write an adapter of a model of this spec whole or not at all; `open_adapter` reads the same back.

    `layout`: "kohya" is read by AUTOMATIC1111, ComfyUI and diffusers; "peft" is diffusers' own
    `dtype`: of the numbers; None writes them as they are
    Raises: StorageError; RequestError; WeightsError if it holds more than LoRA, or does not fit the model
    """
    if layout not in LAYOUTS:
        raise RequestError({"layout": f"{layout!r} is unknown; {did_you_mean(layout, LAYOUTS)}"})
    changes = fitted(adapter, spec, layers_like(spec))
    if odd := next((c for c in changes.values() if c.kind != LORA or set(c.parts) != BOTH), None):
        raise WeightsError(f"{adapter.name} holds {odd.label}; only plain LoRA is written")
    names = written_names(spec, changes.keys(), layout)
    named = {names[ours]: change for ours, change in changes.items()}
    tensors = dict[str, Tensor]()
    for layer, change in named.items():
        tensors |= _kohya(layer, change, dtype) if layout == KOHYA else _peft(layer, change, dtype)
    own = _kohya_words(spec, named) if layout == KOHYA else {SAID: json.dumps(settings_for(named))}
    slots = [Slot(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    with replacing(Path(path)) as part, part.open("wb") as file:
        write_safetensors(
            file, slots, {**adapter.metadata, **own}, lambda slot: pieces_of(tensors[slot.name])
        )


def _kohya(layer: str, change: Change, dtype: torch.dtype | None) -> dict[str, Tensor]:
    alpha = change.rank if change.alpha is None else change.alpha
    return {
        f"{layer}.lora_up.weight": _rounded(layer, change.parts["up"], dtype),
        f"{layer}.lora_down.weight": _rounded(layer, change.parts["down"], dtype),
        f"{layer}.alpha": torch.tensor(alpha, dtype=torch.float32),
    }


def _peft(layer: str, change: Change, dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {
        f"{layer}.lora_A.weight": _rounded(layer, change.parts["down"], dtype),
        f"{layer}.lora_B.weight": _rounded(layer, change.parts["up"], dtype),
    }


def _rounded(layer: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    rounded = tensor.to(dtype or tensor.dtype).contiguous()
    if not rounded.isfinite().all():
        hint = "save as float32" if tensor.isfinite().all() else "the training went wrong"
        raise WeightsError(f"{layer} holds numbers that are not finite as {rounded.dtype}", hint=hint)
    return rounded


def _kohya_words(spec: ModelSpec, named: Mapping[str, Change]) -> dict[str, str]:
    """What other programs read of an adapter before they load it."""
    ranks = {str(change.rank) for change in named.values()}
    alphas = {f"{change.rank if change.alpha is None else change.alpha:g}" for change in named.values()}
    return {
        "ss_base_model_version": KOHYA_BASES.get(family_of(spec.unet), spec.name),
        "ss_network_module": "networks.lora",
        "ss_network_dim": ranks.pop() if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": alphas.pop() if len(alphas) == 1 else "Dynamic",
    }
