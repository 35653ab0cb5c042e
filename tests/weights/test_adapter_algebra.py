"""Each way of changing a weight, against what it is defined to be."""

from math import prod

import pytest
import torch
import torch.nn.functional as F
from parity import noise
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.weights.adapter_algebra import LARGEST_RANK, LOHA, LOKR, LORA, MAGNITUDE, Change

WEIGHT, KERNEL = noise(6, 4), noise(6, 4, 3, 3)


def some(*shapes: tuple[int, ...]) -> list[Tensor]:
    return [noise(*shape, seed=seed) for seed, shape in enumerate(shapes, start=7)]


def test_lora_is_two_layers_in_a_row() -> None:
    up, down, x = some((6, 2), (2, 4), (3, 4))
    change = Change(LORA, {"up": up, "down": down}, alpha=5.0)
    assert (change.rank, change.factor, change.shape) == (2, 2.5, (6, 4))
    torch.testing.assert_close(x @ change.delta(WEIGHT).T, 2.5 * F.linear(F.linear(x, down), up))
    plain = Change(LORA, {"up": up, "down": down})  # without an alpha it counts as it is
    torch.testing.assert_close(plain.delta(WEIGHT), up @ down)


def test_locon_is_two_convolutions_in_a_row() -> None:
    up, down, x = some((6, 2, 1, 1), (2, 4, 3, 3), (1, 4, 5, 5))
    change = Change(LORA, {"up": up, "down": down}, alpha=1.0)
    expected = 0.5 * F.conv2d(F.conv2d(x, down, padding=1), up)
    torch.testing.assert_close(F.conv2d(x, change.delta(KERNEL), padding=1), expected)


def test_locon_with_a_middle_is_three_convolutions_in_a_row() -> None:
    up, down, mid, x = some((6, 2, 1, 1), (2, 4, 1, 1), (2, 2, 3, 3), (1, 4, 5, 5))
    change = Change(LORA, {"up": up, "down": down, "mid": mid})
    expected = F.conv2d(F.conv2d(F.conv2d(x, down), mid, padding=1), up)
    torch.testing.assert_close(F.conv2d(x, change.delta(KERNEL), padding=1), expected)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 1, 1)])
@pytest.mark.parametrize("ends", [(), (1, 1)])
def test_linear_layers_and_convolutions_of_one_pixel_are_the_same(
    shape: tuple[int, ...], ends: tuple[int, ...]
) -> None:
    up, down = some((6, 2), (2, 4))
    change = Change(LORA, {"up": up.reshape(6, 2, *ends), "down": down.reshape(2, 4, *ends)})
    weight = torch.zeros(shape)
    assert change.fits(weight)
    torch.testing.assert_close(change.delta(weight), (up @ down).reshape(shape))


def test_loha_is_a_product_number_by_number() -> None:
    for weight in (WEIGHT, KERNEL):
        columns = prod(weight.shape[1:])
        a, b, c, d = some((6, 2), (2, columns), (6, 2), (2, columns))
        change = Change(LOHA, {"w1_a": a, "w1_b": b, "w2_a": c, "w2_b": d}, alpha=1.0)
        expected = 0.5 * (a @ b) * (c @ d)
        assert (change.rank, change.fits(weight)) == (2, True)
        torch.testing.assert_close(change.delta(weight), expected.reshape(weight.shape))


def test_loha_of_a_convolution_may_have_cores() -> None:
    shapes = {"w1_a": (2, 6), "w1_b": (2, 4), "w1_core": (2, 2, 3, 3)}
    shapes |= {name.replace("w1", "w2"): shape for name, shape in shapes.items()}
    parts = dict(zip(shapes, some(*shapes.values()), strict=True))
    halves = [
        F.conv2d(F.conv2d(torch.eye(4)[:, :, None, None], b[:, :, None, None]), core, padding=2).transpose(
            0, 1
        )
        for b, core in ((parts["w1_b"], parts["w1_core"]), (parts["w2_b"], parts["w2_core"]))
    ]
    first, second = (  # what a convolution makes of single points is its kernel, mirrored
        torch.einsum("po,pihw->oihw", parts[f"w{k}_a"], half.flip(2, 3))
        for k, half in enumerate(halves, start=1)
    )
    change = Change(LOHA, parts)
    torch.testing.assert_close(change.delta(KERNEL), first * second)


@pytest.mark.parametrize("whole", [True, False])
def test_lokr_is_a_pattern_of_blocks(whole: bool) -> None:
    pattern, a, b = some((2, 2), (3, 1), (1, 2))
    parts = {"w1": pattern} | ({"w2": a @ b} if whole else {"w2_a": a, "w2_b": b})
    change = Change(LOKR, parts, alpha=4.0)
    factor = 1.0 if whole else 4.0  # of two whole matrices there is no rank, and alpha says nothing
    delta = change.delta(WEIGHT)
    for row in range(2):
        for column in range(2):
            block = delta[3 * row : 3 * row + 3, 2 * column : 2 * column + 2]
            torch.testing.assert_close(block, factor * pattern[row, column] * (a @ b))


def test_lokr_of_a_convolution() -> None:
    pattern, block = some((2, 2), (3, 2, 3, 3))
    delta = Change(LOKR, {"w1": pattern, "w2": block}).delta(KERNEL)
    torch.testing.assert_close(delta[3:, :2], pattern[1, 0] * block)


@pytest.mark.parametrize("weight", [WEIGHT, KERNEL])
@pytest.mark.parametrize("axis", [0, 1])
def test_dora_gives_every_row_or_column_its_length(weight: Tensor, axis: int) -> None:
    up, down = some((6, 2), (2, *weight.shape[1:]))
    wanted = torch.arange(1.0, weight.shape[axis] + 1)
    magnitude = wanted.reshape([-1 if dim == axis else 1 for dim in range(weight.ndim)])
    change = Change(LORA, {"up": up, "down": down, MAGNITUDE: magnitude})
    changed = weight + change.delta(weight)
    torch.testing.assert_close(changed.transpose(0, axis).flatten(1).norm(dim=1), wanted)
    turned = weight + Change(LORA, {"up": up, "down": down}).delta(weight)
    cosine = F.cosine_similarity(changed.transpose(0, axis).flatten(1), turned.transpose(0, axis).flatten(1))
    torch.testing.assert_close(cosine, torch.ones_like(wanted))  # the direction is LoRA's


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"up": (6, 3), "down": (2, 4)}, r"do not go together: up \(6, 3\), down \(2, 4\)"),
        ({"up": (6, 2)}, "up without down"),
        ({"up": (6,), "down": (2, 4)}, "do not go together"),
        ({"up": (), "down": ()}, "do not go together"),
        ({"up": (6, 2, 3, 3), "down": (2, 4, 3, 3)}, "do not go together"),
        ({"up": (6, 2), "down": (2, 4), "mid": (2, 3, 3, 3)}, "do not go together"),
        ({"up": (6, 2), "down": (2, 4, 3, 3), "mid": (2, 2, 3, 3)}, "do not go together"),
        ({"up": (6, 10**6), "down": (10**6, 4)}, "a rank of 1,000,000, where"),
        ({"up": (6, LARGEST_RANK + 1), "down": (LARGEST_RANK + 1, 4)}, "a rank of"),
    ],
)
def test_what_does_not_go_together_is_refused_without_a_number(
    parts: dict[str, tuple[int, ...]], said: str
) -> None:
    blank = {name: torch.empty(shape, device="meta") for name, shape in parts.items()}
    with pytest.raises(WeightsError, match=said):
        Change(LORA, blank).checked()


@pytest.mark.parametrize(
    "parts",
    [
        {"w1_a": (6, 2), "w1_b": (2, 4), "w2_a": (6, 2), "w2_b": (2, 5)},
        {"w1_a": (6, 2), "w1_b": (3, 4), "w2_a": (6, 2), "w2_b": (2, 4)},
        {"w1_a": (6, 2), "w1_b": (2, 4)},
        {"w1_a": (2, 6), "w1_b": (2, 4), "w1_core": (3, 2, 3, 3), "w2_a": (6, 2), "w2_b": (2, 4)},
    ],
)
def test_halves_of_a_loha_that_do_not_go_together(parts: dict[str, tuple[int, ...]]) -> None:
    blank = {name: torch.empty(shape, device="meta") for name, shape in parts.items()}
    with pytest.raises(WeightsError, match=r"do not go together|without w2_a"):
        Change(LOHA, blank).checked()


@pytest.mark.parametrize("shape", [(4, 6), (24,), (6, 5), (12, 2), (6, 4, 3, 3)])
def test_a_weight_of_another_shape_does_not_fit(shape: tuple[int, ...]) -> None:
    up, down = some((6, 2), (2, 4))
    assert not Change(LORA, {"up": up, "down": down}).fits(torch.empty(shape, device="meta"))
    if shape != (6, 4, 3, 3):
        return
    wide = Change(LORA, {"up": up, "down": noise(2, 4, 3, 3), MAGNITUDE: noise(5, 1)})
    assert not wide.fits(torch.empty(shape, device="meta"))  # five lengths for six outputs


def test_a_product_too_large_for_memory_is_refused_by_its_shape() -> None:
    sizes = {"w1": (2000, 2000), "w2": (2000, 2000)}
    bomb = Change(LOKR, {name: torch.empty(shape, device="meta") for name, shape in sizes.items()})
    assert not bomb.fits(torch.empty(320, 320, device="meta"))
