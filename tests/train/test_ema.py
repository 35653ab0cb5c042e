from math import sqrt

import pytest
import torch
from torch import nn

from fromnoise.train.ema import Ema, gamma_of


@pytest.mark.parametrize(("relative_std", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_the_exponent_is_that_of_the_paper(relative_std: float, gamma: float) -> None:
    assert gamma_of(relative_std) == pytest.approx(gamma, abs=0.005)  # Karras et al. 2024, sec. 3.1


def test_the_average_weighs_the_past_by_a_power_of_its_time() -> None:
    module, steps, gamma = nn.Linear(2, 1, bias=False).double(), 2000, gamma_of(0.10)
    ema = Ema(module, 0.10)
    for step in range(1, steps + 1):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([[step / steps, (step / steps) ** 2]]))
        ema.update(module, step)
    mean, mean_square = ema.averages["weight"][0].tolist()
    assert mean == pytest.approx((gamma + 1) / (gamma + 2), rel=1e-3)  # of the density t^gamma on 0..1
    assert sqrt(mean_square - mean**2) == pytest.approx(0.10, rel=1e-2)


def test_the_first_update_forgets_the_initial_weights() -> None:
    module = nn.Linear(2, 2)
    ema = Ema(module, 0.10)
    with torch.no_grad():
        module.weight.fill_(7.0)
    ema.update(module, 1)
    assert torch.equal(ema.averages["weight"], module.weight)


def test_loading_refuses_the_averages_of_another_network() -> None:
    ema = Ema(nn.Linear(2, 2), 0.10)
    with pytest.raises(AssertionError, match="another network"):
        ema.load({"weight": torch.zeros(2, 2)})
