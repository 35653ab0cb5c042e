"""Which numbers a device calculates with best."""

from typing import Any

import torch

BFLOAT16 = ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16")  # as torch calls what processors can


def native_dtype(device: torch.device) -> torch.dtype:
    """float16 on a GPU; on a CPU bfloat16 if its instructions include that, else float32, never float16."""
    if device.type != "cpu":
        return torch.float16
    ask = getattr(torch.cpu, "get_capabilities", dict[str, Any])  # torch 2.10 has no such question
    abilities: dict[str, Any] = ask()
    return torch.bfloat16 if any(abilities.get(name) for name in BFLOAT16) else torch.float32
