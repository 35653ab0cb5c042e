from math import isfinite, isnan

import pytest
import torch

from fromnoise.score import kid


def normal(n: int, dims: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.mark.parametrize("seed", range(3))
def test_equal_distributions_are_no_distance_apart(seed: int) -> None:
    far = kid(normal(500, 8, seed), normal(400, 8, 100 + seed))
    assert abs(far.value) < 3 * far.error
    assert 0 < far.error < 0.05


def test_a_shift_is_as_far_as_it_is_in_closed_form() -> None:
    # In one dimension (x y + 1)^3 = 1 + 3 x y + 3 x²y² + x³y³: the distance is that of three moments.
    shift = 0.5
    true = 3 * shift**2 + 3 * shift**4 + (shift**3 + 3 * shift) ** 2
    far = kid(normal(3000, 1, 1, shift), normal(3000, 1, 2))
    assert far.value == pytest.approx(true, abs=3 * far.error)
    assert far.error < 0.2 * true


def test_the_error_is_the_spread_of_repetitions() -> None:
    found = [kid(normal(150, 4, seed, 0.3), normal(150, 4, 1000 + seed)) for seed in range(40)]
    spread = torch.tensor([far.value for far in found]).std().item()
    mean = sum(far.error for far in found) / len(found)
    assert mean == pytest.approx(spread, rel=0.35)


def test_twins_of_one_scene_do_not_count_as_evidence() -> None:
    one, true = normal(60, 4, 1), normal(300, 4, 2)
    prompts = torch.arange(60)
    alone, thrice = kid(one, true, prompts), kid(one.repeat(3, 1), true, prompts.repeat(3))
    assert thrice.value == pytest.approx(alone.value)
    assert thrice.error == pytest.approx(alone.error, rel=1e-6)
    turned = kid(true, one.repeat(3, 1), None, prompts.repeat(3))
    assert (turned.value, turned.error) == pytest.approx((alone.value, alone.error))


def test_two_scenes_are_too_few_for_an_error() -> None:
    far = kid(normal(2, 4, 1), normal(9, 4, 2))
    assert isfinite(far.value)
    assert isnan(far.error)
