"""Pictures of the model's own, learned beside the new ones, so that what it knew is not forgotten.

Source: Ruiz et al. 2022, sec. 3.3 (arXiv:2208.12242): prior preservation
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fromnoise.durable import make_folder, replacing
from fromnoise.errors import RequestError
from fromnoise.images.pixels import to_image, to_pictures
from fromnoise.pipeline import Pipeline
from fromnoise.train.lock import only_one_in
from fromnoise.train.own.drawing import draw
from fromnoise.train.pictures import Example, open_pictures
from fromnoise.world import caption, sample_scene, scene_seed

PRIOR: Final = "prior"  # the folder's name in a run
MODEL_HASH: Final = "model_hash"  # in each picture: whose own it is
SEED: Final = 2  # of the scenes that its captions tell of; training had 0, scores have 1
AT_ONCE: Final = 16 * 128 * 128  # pixels drawn at a time


def prior_prompts(pipe: Pipeline, count: int, said: Sequence[str]) -> list[str]:
    """What to draw: these prompts in turn; of a model of the procedural world, captions of its scenes.

    Raises: RequestError if nobody says what such a model knows
    """
    if said:
        return [said[k % len(said)] for k in range(count)]
    if not pipe.about.get("words"):
        problem = f"{pipe.spec.name} does not say which words it knows"
        raise RequestError({"prior": problem}, hint="say what it is to draw: --prior-prompt TEXT")
    return [caption(sample_scene(scene_seed(SEED, k)), k) for k in range(count)]


def draw_prior(
    pipe: Pipeline,
    folder: Path,
    prompts: Sequence[str],
    size: tuple[int, int],
    precision: AbstractContextManager[Any],
) -> Iterator[int]:
    """Draw what is not there yet, a caption beside each; yields how many there are.

    Raises: StorageError, also if another process draws into the folder
    """
    make_folder(folder)
    with only_one_in(folder):
        whose = PngInfo()
        whose.add_text(MODEL_HASH, pipe.model_hash)
        wanted = [k for k in range(len(prompts)) if not _is_there(folder, k, prompts[k], pipe.model_hash)]
        there, several = len(prompts) - len(wanted), max(1, AT_ONCE // (size[0] * size[1]))
        if not wanted:
            yield there
        for at in range(0, len(wanted), several):
            some = wanted[at : at + several]
            with precision:
                pixels = draw(pipe, [prompts[k] for k in some], some, size)
            for k, picture in zip(some, to_pictures(pixels, some), strict=True):
                with replacing(folder / f"{k:06}.png") as part:
                    to_image(picture).save(part, "PNG", pnginfo=whose)
                with replacing(folder / f"{k:06}.txt") as part:  # last: a picture without it is drawn again
                    part.write_text(prompts[k], encoding="utf-8")
            there += len(some)
            yield there


def _is_there(folder: Path, k: int, prompt: str, model_hash: str) -> bool:
    try:
        with Image.open(folder / f"{k:06}.png") as picture:
            is_own = picture.info.get(MODEL_HASH) == model_hash
        return is_own and (folder / f"{k:06}.txt").read_text(encoding="utf-8") == prompt
    except OSError:
        return False


def prior_examples(folder: Path, count: int) -> list[Example]:
    """They are learned as any others."""
    examples = sorted(open_pictures(folder).examples, key=lambda each: each.name)[:count]
    return [replace(each, name=f"{PRIOR}/{each.name}") for each in examples]
