"""Randomness that belongs to a seed: the n-th number of a seed is the same in any batch and on any device."""

from typing import Final

import torch
from torch import Tensor

WORD: Final = 0xFFFFFFFF


def scramble(x: Tensor) -> Tensor:
    """Mix 32-bit words held in int64.  Source: C. Wellons, "Prospecting for hash functions" (lowbias32)."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & WORD
    x = ((x ^ (x >> 15)) * 0x846CA68B) & WORD
    return x ^ (x >> 16)


class Dice:
    """Counter-based random numbers, one row for each seed.

    Letters: N seeds; each `roll` takes the next counters, so equal calls give equal numbers
    """

    def __init__(self, seeds: list[int], stream: int, device: torch.device | str = "cpu") -> None:
        low = torch.tensor([s & WORD for s in seeds], dtype=torch.int64, device=device)
        high = torch.tensor([(s >> 32) & WORD for s in seeds], dtype=torch.int64, device=device)
        self.key = scramble(scramble(low ^ (stream * 0x9E3779B9 & WORD)) ^ high)
        self.counter = 0

    def branch(self, stream: int) -> "Dice":
        """Other numbers of the same seeds, which take none of these."""
        other = object.__new__(Dice)
        other.key, other.counter = scramble(self.key ^ (stream * 0x85EBCA6B & WORD)), 0
        return other

    def roll(self, count: int = 1) -> Tensor:
        """Uniform numbers in [0, 1).  Shapes: (N, count)"""
        steps = torch.arange(self.counter + 1, self.counter + 1 + count, device=self.key.device)
        self.counter += count
        words = scramble((self.key[:, None] + steps * 0x9E3779B9) & WORD)
        return (words >> 8).float() * 2.0**-24  # 24 bits: exact in float32

    def between(self, low: float, high: float, count: int = 1) -> Tensor:
        """Uniform numbers in [low, high).  Shapes: (N, count)"""
        return low + (high - low) * self.roll(count)
