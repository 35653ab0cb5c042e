"""Which numbers a device calculates with best."""

from typing import Any

import torch

BFLOAT16_CARDS = (8, 0)  # compute capability from which on matrix units take bfloat16
BFLOAT16 = ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16")  # as torch calls what processors can


def native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device calculates in it; else float16 on a GPU, float32, never float16, on a CPU."""
    if device.type == "cuda":
        able = torch.cuda.get_device_capability(device) >= BFLOAT16_CARDS
        return torch.bfloat16 if able else torch.float16
    if device.type != "cpu":
        return torch.float16
    ask = getattr(torch.cpu, "get_capabilities", dict[str, Any])  # torch 2.10 has no such question
    abilities: dict[str, Any] = ask()
    return torch.bfloat16 if any(abilities.get(name) for name in BFLOAT16) else torch.float32


def painting_dtype(dtype: torch.dtype) -> torch.dtype:
    """An autoencoder's beside a U-Net of `dtype`: float32 in place of float16, whose range SDXL's leaves."""
    return torch.float32 if dtype == torch.float16 else dtype


def name_of(dtype: torch.dtype) -> str:
    """As people say it: "bfloat16"."""
    return str(dtype).removeprefix("torch.")
