from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from parity import noise

from fromnoise.nets.clip import ImageTower, Layer, TextTransformer
from fromnoise.specs import TINY, ClipSpec, ImageTowerSpec

SPEC = TINY.texts[0]
END = SPEC.end
TOKENS = torch.tensor([[5, 17, 3, 99, END, END, END], [8, END, 2, 41, 7, END, 6]])


def network(spec: ClipSpec = SPEC) -> TextTransformer:
    torch.manual_seed(0)
    return TextTransformer(spec).eval().requires_grad_(False)


def test_a_token_is_read_in_the_light_of_those_before_it_only() -> None:
    changed = TOKENS.clone()
    changed[:, 3:] = 500
    before, after = network()(TOKENS).context, network()(changed).context
    same = (before - after).abs().amax(dim=(0, 2)) < 1e-5
    assert same.tolist() == [True] * 3 + [False] * 4


def test_the_state_of_the_first_end_token_stands_for_the_text() -> None:
    states = network()(TOKENS)
    assert torch.equal(states.pooled, states.context[[0, 1], [4, 1]])


def test_the_projection_widens_only_the_vector_of_the_whole() -> None:
    states = network(replace(SPEC, projection=24))(TOKENS)
    assert states.context.shape == (2, 7, SPEC.width)
    assert states.pooled.shape == (2, 24)


@pytest.mark.parametrize("hidden", [-1, -2])
def test_an_earlier_state_is_that_of_a_shorter_network(hidden: int) -> None:
    whole = network(replace(SPEC, hidden=hidden))
    shorter = network(replace(SPEC, layers=SPEC.layers + 1 + hidden))
    shorter.load_state_dict(whole.state_dict(), strict=False)
    torch.testing.assert_close(whole(TOKENS).context, shorter(TOKENS).context)


def test_without_the_final_norm_the_raw_state_is_given() -> None:
    raw, normed = network(replace(SPEC, final_norm=False)), network()
    torch.testing.assert_close(raw.norm(raw(TOKENS).context), normed(TOKENS).context)
    assert not torch.allclose(raw(TOKENS).context, normed(TOKENS).context)


def test_quick_gelu_is_near_gelu_but_not_the_same() -> None:
    x = noise(1000)
    quick, exact = (Layer(8, 2, kind)._activate(x) for kind in ("quick_gelu", "gelu"))
    assert torch.equal(exact, F.gelu(x))
    assert 0.005 < (quick - exact).abs().max() < 0.03  # Hendrycks & Gimpel call it a fast approximation


def test_an_image_becomes_one_vector_whatever_its_batch() -> None:
    torch.manual_seed(0)
    tower = ImageTower(ImageTowerSpec(size=16, patch=8, width=16, heads=2, layers=2, projection=12)).eval()
    pixels = noise(3, 3, 16, 16)
    vectors = tower(pixels)
    assert vectors.shape == (3, 12)
    torch.testing.assert_close(tower(pixels[1:2]), vectors[1:2])
