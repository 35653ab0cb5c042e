import random
import struct
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fromnoise.errors import RequestError, StorageError
from fromnoise.images.pixels import (
    enlarged,
    fitted,
    from_image,
    read_picture,
    size_like,
    to_image,
    to_pictures,
    to_pixels,
)
from fromnoise.request import Picture

Gradient = Callable[[int, int], Picture]


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def header_only_png(path: Path, width: int, height: int) -> Path:
    """A PNG that promises this size and holds nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = b"IDAT" + zlib.compress(b"")
    rest = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + rest)
    return path


# --- tensors ---


@given(st.binary(min_size=3 * 6, max_size=3 * 6))
def test_bytes_come_back_from_tensors(rgb: bytes) -> None:
    picture = Picture(3, 2, rgb, seed=4)
    pixels = to_pixels(picture)
    assert pixels.shape == (1, 3, 2, 3)
    assert -1 <= pixels.min() <= pixels.max() <= 1
    assert to_pictures(pixels, [4]) == (picture,)


def test_black_is_minus_one_and_white_is_one() -> None:
    pixels = to_pixels(Picture(2, 1, bytes([0, 0, 0, 255, 255, 255])))
    assert pixels[0, :, 0].tolist() == [[-1, 1]] * 3


def test_each_byte_stands_for_equally_much_light() -> None:
    ramp = torch.linspace(-1, 1, 256 * 64).expand(1, 3, 1, -1)
    (picture,) = to_pictures(ramp, [0])
    counts = [picture.rgb[::3].count(byte) for byte in range(256)]
    assert max(counts[1:-1]) - min(counts[1:-1]) <= 1


def test_what_is_brighter_than_white_is_white() -> None:
    (picture,) = to_pictures(torch.tensor([-9.0, 9.0, 0.0]).view(1, 3, 1, 1), [0])
    assert list(picture.rgb) == [0, 255, 128]


# --- PIL ---


def test_a_picture_comes_back_from_pil(gradient: Gradient) -> None:
    assert from_image(to_image(gradient(9, 5))) == gradient(9, 5)


def test_enlarging_multiplies_both_sides(gradient: Gradient) -> None:
    image = to_image(gradient(16, 8))
    assert enlarged(image, 4).size == (64, 32)
    assert enlarged(image, 1) is image


def test_fitting_cuts_the_longer_side_in_the_middle() -> None:
    image = Image.new("RGB", (30, 10), "red")
    image.paste("blue", (10, 0, 20, 10))
    middle = fitted(from_image(image), 8, 8)
    assert (middle.width, middle.height) == (8, 8)
    assert to_image(middle).getpixel((4, 4)) == (0, 0, 255)


def test_fitting_to_its_own_size_changes_nothing(gradient: Gradient) -> None:
    picture = gradient(16, 8)
    assert fitted(picture, 16, 8) is picture


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((128, 128), (128, 128)),
        ((4000, 3000), (144, 112)),
        ((100, 400), (64, 256)),
        ((10_000, 10), (4048, 8)),
    ],
)
def test_the_size_keeps_the_shape_and_the_area(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert size_like(Picture(*shape, bytes(3 * shape[0] * shape[1])), 128 * 128) == expected


# --- files ---


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_the_three_kinds_of_files_are_read(tmp_path: Path, gradient: Gradient, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {"quality": 100} if suffix == "jpg" else {}
    picture = read_picture(saved(tmp_path / f"picture.{suffix}", to_image(gradient(40, 24)), **options))
    assert (picture.width, picture.height) == (40, 24)
    assert max(abs(a - b) for a, b in zip(picture.rgb, gradient(40, 24).rgb, strict=True)) <= 12


def test_the_kind_is_what_the_file_says_not_its_name(tmp_path: Path, gradient: Gradient) -> None:
    path = tmp_path / "really-a-png.jpg"
    to_image(gradient(8, 8)).save(path, "PNG")
    assert read_picture(path) == gradient(8, 8)


def test_a_photo_taken_sideways_stands_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 16), "white")
    image.paste("black", (0, 0, 8, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    picture = read_picture(saved(tmp_path / "photo.jpg", image, exif=exif, quality=95))
    assert (picture.width, picture.height) == (16, 40)
    assert to_image(picture).getpixel((8, 2))[0] < 30
    assert to_image(picture).getpixel((8, 36))[0] > 220


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 2, 4))
    picture = to_image(read_picture(saved(tmp_path / "clear.png", image.convert(mode))))
    assert (picture.getpixel((0, 0)), picture.getpixel((3, 3))) == ((0, 0, 0), (255, 255, 255))


def test_sixteen_bits_of_grey_are_scaled_not_cut_off(tmp_path: Path) -> None:
    image = Image.new("I;16", (3, 1))
    for x, grey in enumerate((0, 32_768, 65_535)):
        image.putpixel((x, 0), grey)
    picture = read_picture(saved(tmp_path / "deep.png", image))
    assert list(picture.rgb[::3]) == pytest.approx([0, 127, 255], abs=1)


def test_a_missing_file_is_a_matter_of_storage(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        read_picture(tmp_path / "nowhere.png")
    with pytest.raises(StorageError, match="cannot read"):
        read_picture(tmp_path)


@pytest.mark.parametrize("size", [(50_000, 50_000), (8001, 8000), (2**31 - 1, 2**31 - 1)])
def test_huge_pictures_are_refused_by_their_header(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(RequestError, match=rf"bomb.png is {size[0]}x{size[1]}, more than 64 megapixels"):
        read_picture(header_only_png(tmp_path / "bomb.png", *size))


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"%PDF-1.4", b"II*\x00", b"<svg/>", b"\x00" * 100])
def test_other_kinds_of_files_are_not_even_tried(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "picture.png").write_bytes(data)
    with pytest.raises(RequestError, match="not a PNG, JPEG or WebP file"):
        read_picture(tmp_path / "picture.png")


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp"])
@given(seed=st.integers(0, 2**32))
def test_damaged_files_are_one_clear_error_or_a_picture(suffix: str, seed: int) -> None:
    chance = random.Random(seed)
    buffer = BytesIO()
    Image.linear_gradient("L").resize((32, 24)).convert("RGB").save(buffer, suffix)
    data = bytearray(buffer.getvalue())
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(8, len(data))] = chance.randrange(256)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data[: chance.randint(8, len(data))])
        file.flush()
        with suppress(RequestError):
            picture = read_picture(file.name)
            assert len(picture.rgb) == 3 * picture.width * picture.height
