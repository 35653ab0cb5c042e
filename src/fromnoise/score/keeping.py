"""Pictures that are kept, so that a score can be interrupted, widened and repeated without drawing again."""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from fromnoise.durable import make_folder
from fromnoise.errors import RequestError
from fromnoise.images.files import replace
from fromnoise.images.pixels import read_picture, to_image, to_pictures, to_pixels

LETTERS: Final = 24  # of a digest: enough for a name


def kept(
    draw: Callable[[list[str], list[int]], Tensor], folder: Path, how: Mapping[str, Any]
) -> Callable[[list[str], list[int]], Tensor]:
    """Draw only what is not in the folder yet.

    `how`: all that a picture depends on beside its prompt and its seed, the model's hash above all
    Raises: StorageError; RequestError for a damaged file
    """
    make_folder(folder)
    stamp = json.dumps(how, sort_keys=True, default=str)

    def drawn(prompts: list[str], seeds: list[int]) -> Tensor:
        paths = [folder / name(stamp, *each) for each in zip(prompts, seeds, strict=True)]
        missing = [n for n, path in enumerate(paths) if not path.exists()]
        if missing:
            asked = [prompts[n] for n in missing], [seeds[n] for n in missing]
            for n, picture in zip(missing, to_pictures(draw(*asked), asked[1]), strict=True):
                data = BytesIO()
                to_image(picture).save(data, format="PNG")
                replace(paths[n], data.getvalue())
        return torch.cat([_read(path) for path in paths])

    return drawn


def name(stamp: str, prompt: str, seed: int) -> str:
    """The file of a picture: other models, settings, prompts and seeds have other names."""
    told = "\n".join((stamp, prompt, str(seed)))
    return f"{sha256(told.encode()).hexdigest()[:LETTERS]}.png"


def _read(path: Path) -> Tensor:
    try:
        return to_pixels(read_picture(path))
    except RequestError as error:
        raise RequestError(error.problems, hint=f"delete {path}: it will be drawn again") from error
