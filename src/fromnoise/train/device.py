"""Where a stage is trained. What is random is drawn on the CPU, so that a run may move between devices."""

import torch
from torch import Tensor

from fromnoise.engine.precision import native_dtype
from fromnoise.train.recipe import Recipe
from fromnoise.weights.model_loader import find_device

CARD = "cuda"


def device_of(recipe: Recipe) -> torch.device:
    """The device that a recipe names.  Raises: RequestError if it cannot be used"""
    return find_device(recipe.device)


def number_of(device: torch.device) -> torch.dtype:
    """bfloat16 where a device calculates in it; else float32, for float16 loses small gradients."""
    return torch.bfloat16 if native_dtype(device) == torch.bfloat16 else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """Products in `number_of` the device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=number_of(device) == torch.bfloat16)


def onto(device: torch.device, *tensors: Tensor) -> list[Tensor]:
    """A batch on the device; nobody waits while it goes to a graphics card. On a CPU: the very tensors."""
    if device.type != CARD:
        return [tensor.to(device) for tensor in tensors]
    return [tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors]
