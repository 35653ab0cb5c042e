"""From a file's bytes to an upright picture in plain colours, cut to a size; or a reason why not.

The rules are those of `images/pixels.py`: PNG, JPEG and WebP by their first bytes, a limit on pixels that is
checked before anything is decoded, and one way to flatten what is transparent.
"""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Final

from PIL import ExifTags, Image, ImageFile, ImageOps
from PIL.PngImagePlugin import PngImageFile

from fromnoise.images.pixels import KINDS, MAX_PIXELS, from_image
from fromnoise.request import Picture
from fromnoise.train.pictures.examples import Reason, Remark, Size, Unfit
from fromnoise.train.pictures.places import Place

MAX_BYTES: Final = 512 << 20  # of a picture's file
MIN_SIDE: Final = 16  # pixels: enlarged to a bucket, less than that is a smear
HEAD: Final = 32  # bytes that tell the kind of a file, and the depth of a PNG
DEPTH_AT: Final = 24  # in a PNG. Source: PNG specification, 3rd ed., sec. 11.2.1 (IHDR)
SIDEWAYS: Final = (5, 6, 7, 8)  # orientations. Source: Exif 2.32, tag 0x0112
PLAIN: Final = ("L", "RGB", "RGBA", "CMYK")  # modes whose pixels can be mixed with their neighbours
FEWER: Final = 3.0  # times the size wanted: first down to that by whole numbers, then smoothly

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels of the whole picture."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's file says before anything is decoded."""

    size: Size  # upright
    remarks: tuple[Remark, ...]


def read_header(place: Place) -> Header:
    """Raises: Unfit"""
    try:
        _check_length(place.length())
        with place.open() as file, _opened(file) as image:
            file.seek(0)
            deep = file.read(HEAD)[DEPTH_AT : DEPTH_AT + 1] == b"\x10"
            return Header(_upright(image), tuple(_remarks(image, deep)))
    except OSError as error:
        raise Unfit(Reason.UNREADABLE, error.strerror or str(error)) from error


def read_bytes(place: Place) -> bytes:
    """A picture's file.  Raises: Unfit"""
    try:
        _check_length(place.length())
        return place.read()
    except OSError as error:
        raise Unfit(Reason.UNREADABLE, error.strerror or str(error)) from error


def decode(data: bytes) -> Image.Image:
    """Upright, and in a mode that can be scaled; of an animation the first frame.  Raises: Unfit"""
    with _opened(BytesIO(data)) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return _plain(image)


def cut(image: Image.Image, box: Box, size: Size, page: str) -> Picture:
    """Bring what is in the box to a size; what is transparent shows the page."""
    scaled = image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=FEWER)
    return from_image(scaled, page=page)


@contextmanager
def _opened(file: BinaryIO) -> Generator[ImageFile.ImageFile]:
    head = file.read(HEAD)
    file.seek(0)
    kind = next((kind for start, kind in KINDS.items() if head.startswith(start)), None)
    if kind is None:
        raise Unfit(Reason.STRANGE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of metadata that is not needed
            image = kind(file)
            _check_size(image.size)
            yield image
    except Unfit:
        raise
    except Exception as error:  # a broken file makes Pillow raise a dozen kinds
        raise Unfit(Reason.DAMAGED, str(error)) from error


def _check_length(length: int) -> None:
    if length == 0:
        raise Unfit(Reason.EMPTY)
    if length > MAX_BYTES:
        raise Unfit(Reason.TOO_LARGE, f"{length >> 20} MB, more than {MAX_BYTES >> 20}")


def _check_size(size: Size) -> None:
    pixels = size[0] * size[1]
    if pixels > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise Unfit(Reason.TOO_LARGE, f"{size[0]}x{size[1]}, more than {limit} megapixels")
    if min(size) < MIN_SIDE:
        raise Unfit(Reason.TOO_SMALL, f"{size[0]}x{size[1]}, less than {MIN_SIDE} pixels along a side")


def _upright(image: ImageFile.ImageFile) -> Size:
    width, height = image.size
    return (height, width) if _orientation(image) in SIDEWAYS else (width, height)


def _orientation(image: ImageFile.ImageFile) -> int:
    # not a PNG's own `getexif`: that decodes all of it, to look behind the pixels
    return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)


def _remarks(image: ImageFile.ImageFile, deep: bool) -> Generator[Remark]:
    if _orientation(image) in range(2, 9):
        yield Remark.TURNED
    if image.has_transparency_data:
        yield Remark.TRANSPARENT
    if image.mode == "CMYK":
        yield Remark.CMYK
    if isinstance(image, PngImageFile) and deep:
        yield Remark.DEEP
    if getattr(image, "n_frames", 1) > 1:
        yield Remark.ANIMATED


def _plain(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return image.convert("I")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in PLAIN else image.convert("RGB")
