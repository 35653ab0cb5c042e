import pytest
import torch
from parity import noise

from fromnoise.nets.oracle import Oracle
from fromnoise.specs import OracleSpec

SPEC = OracleSpec(kinds=7, colours=5, settings=3, times=4, width=8, groups=4)


def network() -> Oracle:
    torch.manual_seed(0)
    return Oracle(SPEC).eval().requires_grad_(False)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 48)])
def test_it_looks_at_every_fourth_pixel_and_once_at_the_whole(height: int, width: int) -> None:
    seen = network()(noise(2, 3, height, width))
    assert seen.kinds.shape == (2, SPEC.kinds, height // 4, width // 4)
    assert seen.colours.shape == (2, SPEC.colours, height // 4, width // 4)
    assert seen.setting.shape == (2, SPEC.settings)
    assert seen.time.shape == (2, SPEC.times)


def test_its_features_grow_coarser_and_wider() -> None:
    features = network().features(noise(1, 3, 64, 32))
    assert [tuple(f.shape) for f in features] == [(1, 16, 16, 8), (1, 24, 8, 4), (1, 32, 4, 2)]


def test_a_picture_is_seen_the_same_in_any_batch() -> None:
    pixels, oracle = noise(3, 3, 32, 32), network()
    together, alone = oracle(pixels), oracle(pixels[2:])
    torch.testing.assert_close(together.kinds[2:], alone.kinds, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.time[2:], alone.time, rtol=1e-4, atol=1e-5)
