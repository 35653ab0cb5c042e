"""Contact sheets: many pictures in one PNG, to be looked at."""

from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from fromnoise.durable import make_folder, replacing

GAP = 2  # pixels between pictures


def sheet(pixels: Float[Tensor, "b 3 h w"], columns: int = 8) -> Image.Image:
    """Lay pictures out in rows.  Units: pixels in [-1, 1]"""
    count, _, height, width = pixels.shape
    rows = -(-count // columns)
    page = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP), "white")
    values = (
        ((pixels.float() + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu()
    )
    for k, picture in enumerate(values):
        place = (k % columns * (width + GAP), k // columns * (height + GAP))
        page.paste(Image.frombytes("RGB", (width, height), picture.numpy().tobytes()), place)
    return page


def save_sheet(pixels: Float[Tensor, "b 3 h w"], path: Path, columns: int = 8) -> None:
    """Write a contact sheet as PNG.  Raises: StorageError"""
    make_folder(path.parent)
    with replacing(path) as part:
        sheet(pixels, columns).save(part, format="PNG")
