from math import isclose, log

import pytest
from albums import ramp
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from fromnoise.errors import RequestError
from fromnoise.request import Picture
from fromnoise.specs import SD15, SDXL, TINY
from fromnoise.train.pictures.buckets import Buckets, box_in, bucket_table
from fromnoise.train.pictures.decoding import cut
from fromnoise.train.pictures.examples import Example, Layout, Told
from fromnoise.train.pictures.places import Place
from fromnoise.train.presets import MITE

grids = st.tuples(st.integers(1, 16), st.sampled_from([8, 16, 32, 64])).map(lambda t: (t[0] * t[1], t[1]))
sides = st.integers(16, 8000)
shares = st.floats(0, 1)


@given(grids)
def test_buckets_are_whole_steps_of_about_one_area(grid: tuple[int, int]) -> None:
    side, step = grid
    buckets = Buckets.around(side, step)
    assert (side, side) in buckets.sizes
    assert len(set(buckets.sizes)) == len(buckets.sizes)
    assert {(h, w) for w, h in buckets.sizes} == set(buckets.sizes)
    for width, height in buckets.sizes:
        assert width % step == height % step == 0
        assert width * height <= side**2 < max(width, height) * (min(width, height) + step)
        assert max(width, height) <= 2 * side


@given(grids, sides, sides)
def test_a_picture_goes_to_the_nearest_shape(grid: tuple[int, int], width: int, height: int) -> None:
    buckets = Buckets.around(*grid)
    chosen = buckets.nearest((width, height))

    def off(size: tuple[int, int]) -> float:
        return abs(log(size[0] / size[1]) - log(width / height))

    assert all(off(chosen) <= off(other) for other in buckets.sizes)
    assert chosen in buckets.sizes


@given(grids, sides, sides, shares, shares)
def test_a_crop_never_distorts_and_is_never_larger_than_the_picture(
    grid: tuple[int, int], width: int, height: int, across: float, down: float
) -> None:
    bucket = Buckets.around(*grid).nearest((width, height))
    left, top, right, bottom = box_in((width, height), bucket, (across, down))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    scale = bucket[0] / (right - left)
    assert isclose(scale, bucket[1] / (bottom - top), rel_tol=1e-9)
    assert isclose(right - left, width) or isclose(bottom - top, height)  # as much as there is
    assert width * scale >= bucket[0] * (1 - 1e-9)  # scaled, the picture covers the bucket
    assert height * scale >= bucket[1] * (1 - 1e-9)


@given(st.integers(16, 400), st.integers(16, 400))
def test_little_is_cut_off_where_the_shape_is_not_extreme(width: int, height: int) -> None:
    assume(1 / 3 <= width / height <= 3)
    buckets = Buckets.around(128, 16)
    left, top, right, bottom = box_in((width, height), buckets.nearest((width, height)), (0.5, 0.5))
    assert (right - left) * (bottom - top) > 0.8 * width * height


def test_a_crop_shows_what_its_box_holds() -> None:
    image = ramp((300, 100))
    box = box_in(image.size, (128, 128), (1.0, 0.0))
    assert box == (200, 0, 300, 100)
    shown = cut(image, box, (128, 128), "white")
    assert (shown.width, shown.height) == (128, 128)
    red = shown.rgb[::3]
    assert abs(red[0] - 200 * 255 // 300) <= 2
    assert abs(red[127] - 254) <= 2


@pytest.mark.parametrize(("page", "shade"), [("white", 255), ("grey", 128)])
def test_what_is_transparent_shows_the_page(page: str, shade: int) -> None:
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert cut(clear, (0, 0, 32, 32), (16, 16), page) == Picture(16, 16, bytes([shade]) * 3 * 256)


def test_models_have_their_usual_buckets() -> None:
    assert Buckets.of(MITE) == Buckets.around(128, 16)
    assert Buckets.of(SD15) == Buckets.around(512, 64)
    assert Buckets.of(SDXL) == Buckets.around(1024, 64)
    assert Buckets.of(TINY, 24) == Buckets.around(24, 8)
    assert Buckets.of(SD15).sizes[0] == (256, 1024)
    assert (448, 576) in Buckets.of(SD15).sizes
    with pytest.raises(RequestError, match="500 is not a multiple of 8; try 496"):
        Buckets.of(SD15, 500)


def test_the_table_says_what_falls_where_and_what_is_cut_off() -> None:
    def example(size: tuple[int, int]) -> Example:
        return Example("a.png", Place(None), Told(("x",), Layout.GIVEN, ""), size)  # pyright: ignore

    examples = [example(size) for size in ((256, 256), (100, 90), (4000, 1000), (3000, 300))]
    wide, square = sorted(bucket_table(examples, Buckets.around(128, 16)), key=lambda row: -row.size[0])
    assert (wide.size, wide.pictures, wide.enlarged) == ((256, 64), 2, 0)
    assert wide.kept == pytest.approx((1 + 0.4) / 2)
    assert (square.size, square.pictures, square.enlarged) == ((128, 128), 2, 1)
    assert square.kept == pytest.approx((1 + 0.9) / 2)
