from math import sqrt

import pytest
import torch
from parity import noise

from fromnoise.errors import SpecError
from fromnoise.nets.attention import Attention


def attention(**options: int | bool) -> Attention:
    torch.manual_seed(0)
    return Attention(12, 3, **options).requires_grad_(False)  # type: ignore[arg-type]


def test_it_is_equation_1_of_the_paper() -> None:
    layer, x, context = attention(context_width=8), noise(2, 5, 12), noise(2, 7, 8)
    heads = []
    for rows in torch.arange(12).split(4):  # the paper's W_i: each head has its own rows
        q, k, v = (
            x @ layer.to_q.weight[rows].T,
            context @ layer.to_k.weight[rows].T,
            context @ layer.to_v.weight[rows].T,
        )
        heads.append(torch.softmax(q @ k.transpose(1, 2) / sqrt(4), dim=-1) @ v)
    torch.testing.assert_close(layer(x, context), layer.to_out(torch.cat(heads, dim=-1)))


def test_equal_scores_give_the_mean_of_the_values() -> None:
    layer, x, context = attention(context_width=8), noise(2, 5, 12), noise(2, 7, 8)
    layer.to_q.weight.zero_()
    mean = layer.to_out(layer.to_v(context).mean(dim=1, keepdim=True))
    torch.testing.assert_close(layer(x, context), mean.expand(2, 5, 12))


def test_a_causal_position_sees_itself_and_the_past_only() -> None:
    layer, x = attention(), noise(1, 8, 12)
    changed = torch.cat([x[:, :5], noise(1, 3, 12, seed=2)], dim=1)
    same = (layer(x, causal=True) - layer(changed, causal=True)).abs().amax(dim=(0, 2)) < 1e-6
    assert same.tolist() == [True] * 5 + [False] * 3
    assert not torch.allclose(layer(x)[:, :5], layer(changed)[:, :5])
    torch.testing.assert_close(layer(x, causal=True)[:, 0], layer.to_out(layer.to_v(x[:, 0])))


def test_without_a_context_it_reads_itself() -> None:
    layer, x = attention(bias=True), noise(2, 5, 12)
    assert torch.equal(layer(x), layer(x, x))


@pytest.mark.parametrize("heads", [5, 0, -1])
def test_heads_that_do_not_divide_the_width_are_refused(heads: int) -> None:
    with pytest.raises(SpecError, match=f"12 does not divide into {heads} heads"):
        Attention(12, heads)
