"""Attention in tiles that stay in a processor's cache: to draw and to learn on a CPU."""

from collections.abc import Callable, Iterator, Mapping
from math import e, log2, prod
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from fromnoise.nets.attention import attend

# Measured: with fewer bytes of scores in all, the plain form is sooner; so many at a time does a core hold,
FEW: Final = 2**22
TILE: Final[Mapping[torch.dtype, int]] = {torch.float32: 2**20, torch.bfloat16: 2**21}
# of so many keys; in bfloat16 of all, for sums in parts would be rounded with each part.
KEYS: Final[Mapping[torch.dtype, int]] = {torch.float32: 512}
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
    if causal or not _pays(q, k):
        return attend(q, k, v, causal=causal)
    asked, keys = _in_powers(q), _centred(k)
    # else, and where one picture is no number, weights have to be relative to the largest of a row
    is_bounded = _longest(asked) * _longest(keys) < SAFE
    found, sums, _ = _gathered(asked, keys, v.flatten(0, 1), None if is_bounded else _nothing_yet(asked))
    return (found / sums).view(q.shape)


def attend_and_learn(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> Tensor:
    """The same with gradients: no weight is remembered, each is calculated once more on the way back.

    Shapes: (B, H, N, D), (B, H, M, D), (B, H, M, D) -> (B, H, N, D)
    Source: Dao et al. 2022, sec. 3.1 and app. B (arXiv:2205.14135)
    """
    if causal or not _pays(q, k):
        return attend(q, k, v, causal=causal)
    learn: Callable[..., Tensor] = _Learning.apply  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return learn(q, k, v)


class _Learning(Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        q, k, v = given
        asked = _in_powers(q)
        found, sums, largest = _gathered(asked, _centred(k), v.flatten(0, 1), _nothing_yet(asked))
        found = found / sums
        ctx.save_for_backward(q, k, v, found, sums, largest)
        return found.view(q.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A weight is its power of two by its row's sum; it is the gradient that is divided by that."""
        q, k, v, found, sums, largest = ctx.saved_tensors
        asked, keys, values = _in_powers(q), _centred(k), v.flatten(0, 1)
        gradient = gradients[0].flatten(0, 1) / sums
        mean = (gradient.float() * found).sum(dim=-1, keepdim=True)
        to_q, to_k, to_v = (torch.zeros_like(each, dtype=torch.float32) for each in (asked, keys, values))
        for heads, some, these in _tiles(asked, keys):
            scores = torch.bmm(asked[heads, some], keys[heads, these].mT)
            powers = scores.sub_(largest[heads, some]).float().exp2_()
            to_v[heads, these] += torch.bmm(powers.to(v.dtype).mT, gradient[heads, some])
            to_powers = torch.bmm(gradient[heads, some], values[heads, these].mT)
            to_scores = to_powers.float().sub_(mean[heads, some]).mul_(powers).to(q.dtype)
            to_q[heads, some] += torch.bmm(to_scores, keys[heads, these])
            to_k[heads, these] += torch.bmm(to_scores.mT, asked[heads, some])
        to_q *= q.shape[-1] ** -0.5
        to_k /= log2(e)  # queries are in powers of two, and divided by the root of the width
        return to_q.to(q.dtype).view(q.shape), to_k.to(k.dtype).view(k.shape), to_v.to(v.dtype).view(v.shape)


def _pays(q: Tensor, k: Tensor) -> bool:
    """Are there many scores, of numbers that hold sums of powers? float16 ends at 2^16."""
    batch, heads, n, _ = q.shape
    return q.dtype in TILE and batch * heads * n * k.shape[-2] * q.element_size() > FEW


def _in_powers(q: Tensor) -> Tensor:
    """Queries whose scores are powers of two.  Shapes: (B, H, N, D) -> (B H, N, D)"""
    return (q * (q.shape[-1] ** -0.5 * log2(e))).flatten(0, 1)


def _centred(k: Tensor) -> Tensor:
    """Shapes: (B, H, M, D) -> (B H, M, D)"""
    return (k - k.mean(dim=-2, keepdim=True)).flatten(0, 1)


def _tiles(q: Tensor, k: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Heads, queries and keys whose scores are calculated at once, one head on each core."""
    side_by_side, queries, keys = _tile(q, k)
    for heads in _parts(len(q), side_by_side):
        for some in _parts(q.shape[1], queries):
            for these in _parts(k.shape[1], keys):
                yield heads, some, these


def _tile(q: Tensor, k: Tensor) -> tuple[int, int, int]:
    """How many heads, queries and keys these are, but for the last."""
    keys = min(k.shape[1], KEYS.get(q.dtype, k.shape[1]))
    queries = max(FEWEST, TILE[q.dtype] // (keys * q.element_size()))
    return min(len(q), torch.get_num_threads()), min(q.shape[1], queries), keys


def _parts(count: int, size: int) -> list[slice]:
    return [slice(at, at + size) for at in range(0, count, size)]


def _gathered(
    q: Tensor, k: Tensor, v: Tensor, largest: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What queries gather, by powers of two; their powers' sums; and the largest score, if that is wanted.

    Powers are then relative to it, or to the largest so far. Source: Milakov and Gimelshein 2018, alg. 3
    (arXiv:1805.02867)
    """
    (count, m, d), n = v.shape, q.shape[1]
    values = v.new_ones(count, m, d + SPARE)
    values[..., :d] = v
    out = q.new_empty(count, n, d + SPARE)
    room = q.new_empty(prod(_tile(q, k)))  # once: the system clears every block that it gives
    for heads, some, these in _tiles(q, k):
        asked, keys, gathered = q[heads, some], k[heads, these], out[heads, some]
        shape = (*asked.shape[:2], keys.shape[1])
        scores = torch.bmm(asked, keys.mT, out=room[: prod(shape)].view(shape))
        is_first = these.start == 0
        if largest is not None:
            before = largest[heads, some]
            most = torch.maximum(before, scores.amax(dim=-1, keepdim=True))
            scores -= most
            if not is_first:
                gathered *= (before - most).exp2_()
            largest[heads, some] = most
        gathered.baddbmm_(scores.exp2_(), values[heads, these], beta=0.0 if is_first else 1.0)
    return out[..., :d], out[..., d : d + 1], largest


def _nothing_yet(q: Tensor) -> Tensor:
    """Room for each query's largest score.  Shapes: (B H, N, D) -> (B H, N, 1)"""
    return q.new_full((*q.shape[:2], 1), float("-inf"))


def _longest(vectors: Tensor) -> float:
    """The greatest length among vectors."""
    return vectors.float().square().sum(dim=-1).amax().sqrt().item()
