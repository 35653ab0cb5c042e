from math import cos, sin

import pytest
import torch
from parity import noise

from fromnoise.nets.blocks import Downsample, ResnetBlock, Upsample, time_features


def picking(corner: tuple[int, int]) -> torch.Tensor:
    """A 3x3 convolution that copies one of the nine pixels it sees."""
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[0, 0, corner[0], corner[1]] = 1
    return kernel


def test_time_features_are_cosines_then_sines_of_falling_frequencies() -> None:
    times, half = [0.0, 1.0, 37.25, 999.0], 5
    formula = [[wave(t * 10_000 ** (-k / half)) for wave in (cos, sin) for k in range(half)] for t in times]
    found = time_features(torch.tensor(times), 2 * half)
    torch.testing.assert_close(found, torch.tensor(formula), rtol=0, atol=1e-4)  # float32 at an angle of 999


def test_time_features_of_whole_numbers_are_float32() -> None:
    assert torch.equal(time_features(torch.tensor([7]), 8), time_features(torch.tensor([7.0]), 8))
    assert time_features(torch.tensor([7]), 8).dtype == torch.float32


@pytest.mark.parametrize(("one_sided", "first"), [(True, 0), (False, 1)])
def test_the_autoencoder_pads_right_and_below_the_unet_all_round(one_sided: bool, first: int) -> None:
    layer = Downsample(1, one_sided=one_sided).requires_grad_(False)
    layer.conv.weight.copy_(picking((first, first)))
    layer.conv.bias.zero_()  # type: ignore[union-attr]
    x = noise(1, 1, 6, 8)
    assert torch.equal(layer(x), x[:, :, ::2, ::2])  # its window begins at the pixel, or one before it


@pytest.mark.parametrize("size", [None, (5, 7)])
def test_upsampling_repeats_each_pixel(size: tuple[int, int] | None) -> None:
    layer = Upsample(1).requires_grad_(False)
    layer.conv.weight.copy_(picking((1, 1)))
    layer.conv.bias.zero_()  # type: ignore[union-attr]
    x = noise(1, 1, 3, 4)
    repeated = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    height, width = size or (6, 8)
    if size is None:
        assert torch.equal(layer(x), repeated)
    else:
        rows, columns = (
            [int(i * 3 / height) for i in range(height)],
            [int(j * 4 / width) for j in range(width)],
        )
        assert torch.equal(layer(x, size), x[:, :, rows][..., columns])


def test_a_resnet_block_of_silent_convolutions_is_its_skip_path() -> None:
    x = noise(2, 4, 5, 6)
    same = ResnetBlock(4, 4, groups=2, eps=1e-5).requires_grad_(False)
    wider = ResnetBlock(4, 6, groups=2, eps=1e-5).requires_grad_(False)
    for block in (same, wider):
        block.conv2.weight.zero_()
        block.conv2.bias.zero_()  # type: ignore[union-attr]
    assert torch.equal(same(x), x)
    assert torch.equal(wider(x), wider.skip(x))


def test_a_block_that_knows_time_insists_on_it() -> None:
    block = ResnetBlock(4, 4, groups=2, eps=1e-5, time_width=8)
    with pytest.raises(AssertionError, match="needs a time embedding"):
        block(noise(1, 4, 2, 2))
