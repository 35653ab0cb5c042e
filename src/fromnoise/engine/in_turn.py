"""A U-Net that is asked one text at a time: half the activations, a thirtieth more work."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class InTurn:
    """Answers as a U-Net does for several rows of texts, but calculates a row at a time."""

    def __init__(self, make: Callable[[], Any]) -> None:
        """`make`: the U-Net for one row; what it remembers is of that row alone."""
        self.make = make
        self.each = list[Any]()

    def __call__(self, latents: Tensor, timesteps: Tensor, context: Tensor, *others: Tensor | None) -> Tensor:
        """Shapes: (B, I, H, W), (B,), (k B, N, D), … -> (k B, O, H, W)"""
        count = len(context)
        if count != len(self.each):  # guidance begins or ends: nothing is remembered beyond that
            self.each = [self.make() for _ in range(count)]
        given = (latents, timesteps, context, *others)
        answers = [
            unet(*(part if part is None else part[(at := row % len(part)) : at + 1] for part in given))
            for row, unet in enumerate(self.each)
        ]
        return torch.cat(answers)
