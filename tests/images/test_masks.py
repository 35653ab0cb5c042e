from pathlib import Path

import pytest
import torch
from PIL import Image

from fromnoise.errors import RequestError
from fromnoise.images.masks import pasted, read_mask, to_latent_mask, to_mask
from fromnoise.images.pixels import from_image
from fromnoise.request import Picture


def spotted(width: int, height: int, *spots: tuple[int, int], shade: int = 255) -> Picture:
    image = Image.new("L", (width, height))
    for spot in spots:
        image.putpixel(spot, shade)
    return from_image(image)


def test_white_is_one_and_black_is_zero() -> None:
    mask = to_mask(spotted(3, 2, (2, 1)), 3, 2)
    assert mask.tolist() == [[[[0, 0, 0], [0, 0, 1]]]]


def test_a_mask_of_another_size_is_fitted_and_leaves_no_shadow_in_black() -> None:
    half = Image.new("L", (100, 50))
    half.paste(255, (50, 0, 100, 50))
    for size in ((200, 100), (40, 20), (64, 64)):
        mask = to_mask(from_image(half), *size)[0, 0]
        third = size[0] // 3
        assert mask.shape == size[::-1]
        assert not mask[:, :third].any()
        assert (mask[:, -third:] == 1).all()


@pytest.mark.parametrize("shade", [0, 127])
def test_a_mask_in_which_nothing_is_white_is_refused(shade: int) -> None:
    with pytest.raises(RequestError, match="mask: nothing in it is white") as caught:
        to_mask(spotted(8, 8, (3, 3), shade=shade), 8, 8)
    assert caught.value.hint == "white is drawn anew, black is kept"


def test_a_latent_is_drawn_anew_if_any_of_its_pixels_is() -> None:
    latent = to_latent_mask(to_mask(spotted(24, 16, (9, 15), (23, 0)), 24, 16), 8)
    assert latent.tolist() == [[[[0, 0, 1], [0, 1, 0]]]]
    faint = to_mask(spotted(16, 8, (0, 0)), 16, 8)
    faint[..., 12] = 0.4  # less than half: mixed in the end, but nothing is drawn for it
    assert to_latent_mask(faint, 8).tolist() == [[[[1, 0]]]]


def test_pasting_keeps_black_to_the_byte_and_mixes_grey() -> None:
    original = Picture(4, 1, bytes(range(12)))
    drawn = Picture(4, 1, bytes(range(200, 212)), seed=9)
    mask = torch.tensor([[[[0.0, 1.0, 0.25, 0.0]]]])
    done = pasted(drawn, original, mask)
    assert (done.rgb[:3], done.rgb[9:], done.seed) == (original.rgb[:3], original.rgb[9:], 9)
    assert done.rgb[3:6] == drawn.rgb[3:6]
    assert list(done.rgb[6:9]) == [56, 57, 58]  # 0.75 * 6 + 0.25 * 206


def test_what_is_transparent_in_a_mask_file_is_kept(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    image.putpixel((1, 0), (255, 255, 255, 255))
    image.save(tmp_path / "mask.png")
    assert to_mask(read_mask(tmp_path / "mask.png"), 2, 1).flatten().tolist() == [0, 1]
