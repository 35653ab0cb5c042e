"""Attention in tiles gives what the plain one gives, and learns what the plain one learns."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fromnoise.engine.attention import FEWEST, attend_and_learn, attend_in_tiles
from fromnoise.nets.attention import attend

WHAT = ("answer", "gradient of q", "gradient of k", "gradient of v")
SIZES = pytest.mark.parametrize("size", [1.0, 30.0], ids=["bounded", "with the maximum"])
PLACES = pytest.mark.parametrize(("n", "m"), [(40, 40), (33, 5), (1, 1), (17, 14)])


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch) -> None:
    """Of 16 queries and 7 keys, also where few scores are to be calculated."""
    monkeypatch.setattr("fromnoise.engine.attention.FEW", 0)
    monkeypatch.setattr("fromnoise.engine.attention.TILE", {torch.float32: 1, torch.bfloat16: 1})
    monkeypatch.setattr("fromnoise.engine.attention.KEYS", {torch.float32: 7})


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def asked(size: float, n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys that share a large part, and values."""
    assert n <= FEWEST or n % FEWEST  # the last tile is a smaller one
    return size * noise(2, 3, n, 8), size * noise(2, 3, m, 8, seed=1) + 5, noise(2, 3, m, 8, seed=2)


def learned(form: Callable[..., Tensor], given: tuple[Tensor, ...]) -> list[Tensor]:
    """What a form of attention answers, and the gradients of what it is given."""
    given = tuple(each.clone().requires_grad_() for each in given)
    found = form(*given)
    (found * noise(*found.shape, seed=3).to(found.dtype)).sum().backward()
    return [found.detach(), *(each.grad for each in given if each.grad is not None)]


@SIZES
@PLACES
def test_attention_in_tiles(size: float, n: int, m: int) -> None:
    q, k, v = asked(size, n, m)
    exact = attend(*(each.double() for each in (q, k, v)))
    assert error(attend_in_tiles(q, k, v), exact) <= 1e-5
    assert attend_in_tiles(q, k, v).isfinite().all()


def test_a_picture_that_is_no_number_leaves_the_others_alone() -> None:
    q, k, v = asked(30.0, 40, 40)
    q[1] = float("nan")
    assert attend_in_tiles(q, k, v)[0].isfinite().all()


def test_the_largest_score_may_come_last() -> None:
    q, k, v = asked(30.0, 40, 40)
    k = k[..., (q @ k.mT).mean((0, 1, 2)).argsort(), :]
    assert error(attend_in_tiles(q, k, v), attend(*(each.double() for each in (q, k, v)))) <= 1e-5


@SIZES
@PLACES
def test_it_learns_the_same_and_remembers_no_weights(size: float, n: int, m: int) -> None:
    given = asked(size, n, m)
    exact = learned(attend, tuple(each.double() for each in given))
    largest = max(each.abs().max() for each in exact[1:])
    plain, tiled = learned(attend, given), learned(attend_and_learn, given)
    for name, ours, theirs, right in zip(WHAT, tiled, plain, exact, strict=True):
        # of one key there is nothing to learn: what is left is rounding, small beside the other gradients
        is_nothing = (ours - right).abs().max() <= 1e-6 * largest
        assert is_nothing or error(ours, right) <= max(2e-6, 3 * error(theirs, right)), name


def test_in_bfloat16_it_rounds_about_as_much_as_the_plain_one() -> None:
    given = asked(1.0, 40, 40)
    exact = learned(attend, tuple(each.double() for each in given))
    rounded = tuple(each.bfloat16() for each in given)
    plain, tiled = learned(attend, rounded), learned(attend_and_learn, rounded)
    for name, ours, theirs, right in zip(WHAT, tiled, plain, exact, strict=True):
        assert ours.dtype == torch.bfloat16
        assert error(ours, right) <= 1.5 * error(theirs, right), name


def test_what_it_remembers_is_no_larger_than_what_it_is_given() -> None:
    given = tuple(each.requires_grad_() for each in asked(1.0, 40, 40))
    kept = list[Tensor]()

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attend_and_learn(*given)
    assert len(kept) == 6
    assert max(each.numel() for each in kept) == given[0].numel()  # 40 x 40 weights would be more


def test_float16_whose_range_is_short_is_left_to_the_plain_one() -> None:
    q, k, v = (6 * noise(1, 2, 40, 8, seed=seed).half() for seed in range(3))
    assert torch.equal(attend_in_tiles(q, k, v), attend(q, k, v))


@pytest.mark.parametrize("form", [attend_in_tiles, attend_and_learn])
def test_causal_attention_is_the_plain_one(form) -> None:
    q, k, v = (noise(1, 2, 6, 8, seed=seed) for seed in range(3))
    assert torch.equal(form(q, k, v, causal=True), attend(q, k, v, causal=True))
