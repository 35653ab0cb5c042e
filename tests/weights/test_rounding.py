"""Numbers in another type: exactly torch's, with the error measured and nothing lost without a word."""

import pytest
import torch
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.weights.rounding import FEW, Rounding, has_room

SMALL = (torch.float16, torch.bfloat16)
WIDE = (torch.float32, torch.float64)


def rounded(rounding: Rounding, numbers: Tensor) -> Tensor:
    made = torch.empty(len(numbers), dtype=rounding.dtype)
    rounding.round(numbers, made)
    return made


@pytest.mark.parametrize("given", [*SMALL, *WIDE, torch.float8_e4m3fn])
@pytest.mark.parametrize("wanted", [*SMALL, torch.float32])
def test_numbers_become_what_torch_makes_of_them(given: torch.dtype, wanted: torch.dtype) -> None:
    numbers = torch.randn(2 * FEW + 5, generator=torch.Generator().manual_seed(0)).to(given)
    rounding = Rounding("a", wanted)
    made = rounded(rounding, numbers)
    assert torch.equal(made, numbers.to(wanted))
    error = (made.double() - numbers.double()).abs().max() / numbers.double().abs().max()
    assert rounding.relative == pytest.approx(error.item(), rel=1e-6)
    assert rounding.relative == 0 or not has_room(wanted, given)


def test_the_error_is_that_of_all_pieces_together() -> None:
    rounding = Rounding("a", torch.bfloat16)
    rounded(rounding, torch.tensor([1 + 2**-9]))  # half a step of bfloat16
    rounded(rounding, torch.tensor([16.0]))
    assert rounding.relative == 2**-9 / 16


def test_what_is_not_finite_stays_so_and_is_not_measured() -> None:
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf, 1 + 2**-9])
    rounding = Rounding("a", torch.bfloat16)
    assert torch.equal(rounded(rounding, odd)[1:], torch.tensor([torch.inf, -torch.inf, 1]).bfloat16())
    assert (rounding.moved, rounding.largest) == (2**-9, 1 + 2**-9)


@pytest.mark.parametrize(("number", "wanted"), [(65520.0, torch.float16), (-3.4e38, torch.bfloat16)])
def test_a_number_that_does_not_fit_is_refused(number: float, wanted: torch.dtype) -> None:
    rounding = Rounding("layer.weight", wanted)
    rounded(rounding, torch.tensor([0.99 * number]))
    with pytest.raises(WeightsError, match=r"'layer\.weight' holds .*, which does not fit into"):
        rounded(rounding, torch.tensor([1.0, number, torch.inf]))


def test_which_types_have_every_number_of_which() -> None:
    for dtype in (*SMALL, torch.float32):
        assert all(has_room(wide, dtype) for wide in WIDE)
    assert not has_room(torch.float32, torch.float64)
    assert not has_room(torch.float16, torch.bfloat16)
    assert not has_room(torch.bfloat16, torch.float16)
    assert has_room(torch.float16, torch.float8_e5m2)
