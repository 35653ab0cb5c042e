"""Contact sheets: many pictures in one PNG, to be looked at."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from fromnoise.durable import make_folder, replacing
from fromnoise.images.pixels import to_image, to_pictures
from fromnoise.request import Picture

GAP = 2  # pixels between pictures


def sheet(pictures: Sequence[Picture], columns: int = 8) -> Image.Image:
    """Lay pictures of one size out in rows."""
    width, height = pictures[0].width, pictures[0].height
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP), "white")
    for k, picture in enumerate(pictures):
        page.paste(to_image(picture), (k % columns * (width + GAP), k // columns * (height + GAP)))
    return page


def save_sheet(pixels: Float[Tensor, "b 3 h w"], path: Path, columns: int = 8) -> None:
    """Write a contact sheet as PNG.  Units: pixels in [-1, 1]  Raises: StorageError"""
    make_folder(path.parent)
    with replacing(path) as part:
        sheet(to_pictures(pixels, range(len(pixels))), columns).save(part, format="PNG")
