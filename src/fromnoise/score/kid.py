"""KID: how far the pictures of a model are from true ones as a whole, by the features of a network."""

from dataclasses import dataclass
from math import nan, sqrt
from typing import Final, cast

import torch
from torch import Tensor
from torch.nn.functional import one_hot

LEAST: Final = 3  # scenes, so that some two are left when one is left out


@dataclass(frozen=True, slots=True)
class Distance:
    """A squared distance of two distributions, and its standard error; about 0 or below where they agree."""

    value: float
    error: float


def kid(
    drawn: Tensor, true: Tensor, drawn_of: Tensor | None = None, true_of: Tensor | None = None
) -> Distance:
    """The unbiased squared maximum mean discrepancy under the cubic kernel (x · y / D + 1)³.

    `drawn_of`, `true_of`: which scene each picture is of; pairs of one scene are left out of the mean, and
    the error is the jackknife's over scenes, for pictures of one scene are no independent witnesses; it is
    NaN where there are fewer than three, of which none can be left out
    Shapes: drawn (N, D), true (M, D), drawn_of (N,) and true_of (M,) integers
    Source: Bińkowski et al. 2018, sec. 4 (arXiv:1801.01401); Efron 1982 for the jackknife
    """
    a, b, of_a, of_b = drawn.double(), true.double(), _groups(drawn, drawn_of), _groups(true, true_of)
    within = _pairs(a, a, of_a, of_a), _pairs(b, b, of_b, of_b)
    across = _pairs(a, b, of_a, of_b)
    value = float(_mean(*within[0]) + _mean(*within[1]) - 2 * _mean(*across))
    turned = across[0].T, across[1].T
    spread = _jackknife(within[0], across, within[1]) + _jackknife(within[1], turned, within[0])
    return Distance(value, sqrt(spread))


def _groups(pictures: Tensor, of: Tensor | None) -> Tensor:
    """The scenes counted through from 0."""
    if of is None:
        return torch.arange(len(pictures))
    return cast(Tensor, torch.unique(of, return_inverse=True)[1])


Sums = tuple[Tensor, Tensor]  # of the kernel over the pairs of two groups, and how many pairs there are


def _pairs(a: Tensor, b: Tensor, of_a: Tensor, of_b: Tensor) -> Sums:
    """Shapes: (N, D), (M, D), (N,), (M,) -> both (groups of a, groups of b)"""
    kernel = (a @ b.T / a.shape[1] + 1) ** 3
    left, right = one_hot(of_a).double(), one_hot(of_b).double()
    sums, counts = left.T @ kernel @ right, left.sum(0)[:, None] * right.sum(0)[None]
    if a is b:  # no picture, and no scene, is compared with itself
        sums.fill_diagonal_(0)
        counts.fill_diagonal_(0)
    return sums, counts


def _mean(sums: Tensor, counts: Tensor) -> Tensor:
    return sums.sum() / counts.sum()


def _jackknife(within: Sums, across: Sums, other: Sums) -> float:
    """The variance that comes from the first set: what leaving out one group after the other changes."""
    (kernel, pairs), (kernel_ab, pairs_ab) = within, across
    if len(pairs) < LEAST:
        return nan
    inside = (kernel.sum() - 2 * kernel.sum(1)) / (pairs.sum() - 2 * pairs.sum(1))
    between = (kernel_ab.sum() - kernel_ab.sum(1)) / (pairs_ab.sum() - pairs_ab.sum(1))
    without = inside + _mean(*other) - 2 * between
    count = len(without)
    return float((count - 1) / count * ((without - without.mean()) ** 2).sum())
