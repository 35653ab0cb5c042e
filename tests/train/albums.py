"""Tiny folders of pictures, as users have them."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image


def picture(path: Path, size: tuple[int, int] = (40, 30), mode: str = "RGB", **how: Any) -> Path:
    """A picture of one colour, in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, how.pop("color", 80)).save(path, **how)
    return path


def ramp(size: tuple[int, int]) -> Image.Image:
    """Red says where a pixel is from left to right, green from top to bottom."""
    width, height = size
    image = Image.new("RGB", size)
    image.putdata([(x * 255 // width, y * 255 // height, 0) for y in range(height) for x in range(width)])
    return image


def kohya(folder: Path, count: int, suffix: str = ".txt") -> Path:
    """Pictures with a caption beside each."""
    for k in range(count):
        picture(folder / f"{k:03}.png", color=(k % 256, 0, 0))
        (folder / f"{k:03}{suffix}").write_text(f"red number {k}\n", encoding="utf-8")
    return folder


def table(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def shard(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def png(size: tuple[int, int] = (40, 30), shade: int = 80) -> bytes:
    """The bytes of a picture."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()
