"""Stopping a drawing at the first number that is none."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from fromnoise.errors import NonFiniteError
from fromnoise.noise.samplers import Step


def check_finite(step: Step[Tensor], seeds: Sequence[int], of: int, dtype: torch.dtype) -> None:
    """Look at the latents of each seed after a step.  Raises: NonFiniteError"""
    fine = cast(list[bool], step.x.isfinite().flatten(1).all(dim=1).tolist())
    if not all(fine):
        where = f"step {step.index + 1} of {of} (sigma {step.sigma:.4g})"
        problem = f"the latents of seed {seeds[fine.index(False)]} are not finite after {where}"
        hint = "try dtype float32" if dtype != torch.float32 else "are the weights damaged?"
        raise NonFiniteError(problem, hint=hint)
