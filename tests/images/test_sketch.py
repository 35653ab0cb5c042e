import pytest
import torch

from fromnoise.errors import WeightsError
from fromnoise.images.sketch import Sketch


def test_the_fit_finds_the_line_that_made_the_pixels() -> None:
    chance = torch.Generator().manual_seed(0)
    true = Sketch(torch.randn(3, 4, generator=chance), torch.randn(3, generator=chance))
    latents = torch.randn(5, 4, 6, 6, generator=chance)
    pixels = torch.einsum("rc,bchw->brhw", true.weight, latents) + true.bias[:, None, None]
    found = Sketch.fit(latents, pixels.repeat_interleave(8, 2).repeat_interleave(8, 3))
    torch.testing.assert_close(found.weight, true.weight)
    torch.testing.assert_close(found.bias, true.bias)


def test_a_sketch_is_as_large_as_the_picture_and_survives_json() -> None:
    line = Sketch(torch.ones(3, 4) / 8, torch.zeros(3))
    again = Sketch.from_json(line.to_json(), channels=4)
    latents = torch.full((2, 4, 5, 7), 0.5)
    assert again(latents, 8).shape == (2, 3, 40, 56)
    torch.testing.assert_close(again(latents, 8), torch.full((2, 3, 40, 56), 0.25))


@pytest.mark.parametrize("data", [{}, {"weight": 1, "bias": 2}, {"weight": [["x"]], "bias": [0]}, []])
def test_a_line_for_other_latents_is_refused(data: object) -> None:
    with pytest.raises(WeightsError):
        Sketch.from_json(data, channels=4)  # type: ignore[arg-type]
