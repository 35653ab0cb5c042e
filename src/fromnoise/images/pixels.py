"""Pictures as bytes (0..255), as tensors (-1..1) and as PIL images: the only file that knows both ranges."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from jaxtyping import Float
from PIL import Image, ImageFile, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from fromnoise.checks import MAX_SIDE, SIDE_STEP
from fromnoise.errors import RequestError, StorageError
from fromnoise.request import Picture

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS: Final = 64_000_000  # of a picture that comes in: 192 MB once decoded
MIDDLE: Final = 127.5  # the byte between black (0, or -1) and white (255, or 1)

# Where the file says so itself; Pillow's own guessing would try forty more decoders.
KINDS: Final[Mapping[bytes, type[ImageFile.ImageFile]]] = {
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"RIFF": WebPImageFile,
}


# --- tensors ---


def to_pictures(pixels: "Float[Tensor, 'b 3 h w']", seeds: Sequence[int]) -> tuple[Picture, ...]:
    """Round to bytes; what lies outside [-1, 1] becomes black or white."""
    rounded = ((pixels.float() + 1) * MIDDLE).round().clamp(0, 255).byte()
    height, width = rounded.shape[-2:]
    rows = rounded.permute(0, 2, 3, 1).contiguous().cpu()
    return tuple(
        Picture(width, height, row.numpy().tobytes(), seed) for row, seed in zip(rows, seeds, strict=True)
    )


def to_pixels(picture: Picture) -> "Float[Tensor, '1 3 h w']":
    """Bytes to float32 in [-1, 1]; `to_pictures` gives the same bytes back."""
    import torch

    flat = torch.frombuffer(bytearray(picture.rgb), dtype=torch.uint8)
    rows = flat.view(1, picture.height, picture.width, 3).permute(0, 3, 1, 2)
    return rows.float() / MIDDLE - 1


# --- PIL ---


def to_image(picture: Picture) -> Image.Image:
    """As a PIL image."""
    return Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)


def from_image(image: Image.Image, *, page: str = "white") -> Picture:
    """From a PIL image of any mode; what is transparent shows the page."""
    flat = _flat(image, page)
    return Picture(flat.width, flat.height, flat.tobytes())


def enlarged(image: Image.Image, times: int) -> Image.Image:
    """The picture, `times` larger, smoothly."""
    size = image.width * times, image.height * times
    return image if times == 1 else image.resize(size, Image.Resampling.LANCZOS)


def fitted(picture: Picture, width: int, height: int) -> Picture:
    """Fill exactly this size: scaled, and cut alike on both sides where the shape differs."""
    if (picture.width, picture.height) == (width, height):
        return picture
    image = ImageOps.fit(to_image(picture), (width, height), Image.Resampling.LANCZOS)
    return Picture(width, height, image.tobytes(), picture.seed)


def size_like(picture: Picture, area: int) -> tuple[int, int]:
    """The width and height, in whole latents, that keep the picture's shape at about `area` pixels."""
    scale = sqrt(area / (picture.width * picture.height))
    width, height = (
        min(max(round(side * scale / SIDE_STEP), 1) * SIDE_STEP, MAX_SIDE)
        for side in (picture.width, picture.height)
    )
    return width, height


# --- files ---


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Read a PNG, JPEG or WebP file, upright, its transparency on white.

    Raises: StorageError if it cannot be read; RequestError if it is no such picture, damaged, or too large
    """
    with opened(path) as image:
        return from_image(ImageOps.exif_transpose(image))


@contextmanager
def opened(path: str | os.PathLike[str]) -> Generator[Image.Image]:
    """A picture file whose header has been checked, and nothing decoded yet.  Raises: as `read_picture`"""
    name = Path(path).name
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    with file:
        try:
            image = _identified(file, name)
            yield image
        except (RequestError, StorageError):
            raise
        except Exception as error:  # a broken file makes Pillow raise a dozen kinds
            problem = f"{name} is damaged ({error})" if str(error) else f"{name} is damaged"
            raise RequestError(
                {"picture": problem}, hint="open and save it again in another program"
            ) from error


def _identified(file: BinaryIO, name: str) -> Image.Image:
    magic = file.read(8)
    file.seek(0)
    kind = next((kind for start, kind in KINDS.items() if magic.startswith(start)), None)
    if kind is None:
        raise RequestError({"picture": f"{name} is not a PNG, JPEG or WebP file"}, hint="convert it to PNG")
    image = kind(file)
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width}x{image.height}"
        limit = f"{MAX_PIXELS // 1_000_000} megapixels"
        raise RequestError({"picture": f"{name} is {size}, more than {limit}"}, hint="make it smaller first")
    return image


def _flat(image: Image.Image, page: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey: `convert` would cut off, not scale
        image = image.convert("I").point(lambda grey: grey * (1 / 257)).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    below = Image.new("RGBA", image.size, page)
    return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")
