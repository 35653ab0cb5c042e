"""A whole pipeline of ours beside the one of diffusers, for every kind of model: the same ten steps."""

from collections.abc import Callable
from math import hypot
from typing import Any

import pytest
from parity import relative_error
from PIL import Image
from side_by_side import (
    HEIGHT,
    SAMPLE,
    SEED,
    SIX_OF_TEN,
    SIZE,
    THEIR_SIX_OF_TEN,
    THEIRS,
    WIDTH,
    generator,
    mask_picture,
    most_likely,
    request,
)
from torch import Tensor
from twins import latents, noise

from fromnoise.images.pixels import from_image, to_image
from fromnoise.pipeline import Pipeline
from fromnoise.request import Picture
from fromnoise.specs import ModelSpec
from fromnoise.weights.native import Parts


def drawing_error(parts: Parts, theirs: Any) -> float:
    """Of the latents after ten steps."""
    draw = WAYS.get(type(theirs).__name__, from_words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SAMPLE, most_likely)
        return relative_error(*draw(Pipeline.of(parts), theirs))


def from_words(ours: Pipeline, theirs: Any) -> tuple[Tensor, Tensor]:
    mine, told = steps_of(ours.spec), dict[str, Any]()
    if ours.spec.unet.guidance_width:  # the network itself is told the scale
        mine, told = mine | {"negative": ""}, {"negative_prompt": None}
    start = noise(SEED, **SIZE) * start_scale(ours.spec)
    return latents(ours, request(**mine)), theirs(**THEIRS | told, **SIZE, latents=start).images


def refining(ours: Pipeline, theirs: Any) -> tuple[Tensor, Tensor]:
    told = {"image": to_image(slope()), "strength": THEIR_SIX_OF_TEN, "generator": generator()}
    return latents(ours, request(strength=SIX_OF_TEN), picture=slope()), theirs(**THEIRS | told).images


def inpainting(ours: Pipeline, theirs: Any) -> tuple[Tensor, Tensor]:
    mask = mask_picture()
    told = {"image": to_image(slope()), "mask_image": to_image(mask).convert("L"), "strength": 1.0}
    found = latents(ours, request(), picture=slope(), mask=mask)
    return found, theirs(**THEIRS, **SIZE, **told, generator=generator()).images


def editing(ours: Pipeline, theirs: Any) -> tuple[Tensor, Tensor]:
    mine = steps_of(ours.spec) | {"image_guidance": 1.5}
    told = {"image": to_image(slope()), "image_guidance_scale": 1.5}
    size = SIZE if "XL" in type(theirs).__name__ else {}
    start = noise(SEED, **SIZE) * start_scale(ours.spec)
    found = latents(ours, request(**mine), picture=slope())
    return found, theirs(**THEIRS, **size, **told, latents=start).images


WAYS: dict[str, Callable[[Pipeline, Any], tuple[Tensor, Tensor]]] = {
    "StableDiffusionXLImg2ImgPipeline": refining,
    "StableDiffusionInpaintPipeline": inpainting,
    "StableDiffusionXLInpaintPipeline": inpainting,
    "StableDiffusionInstructPix2PixPipeline": editing,
    "StableDiffusionXLInstructPix2PixPipeline": editing,
}


def slope() -> Picture:
    """A picture that is nowhere the same."""
    return from_image(Image.linear_gradient("L").resize((WIDTH, HEIGHT)).rotate(30).convert("RGB"))


# --- the same path ---


def steps_of(spec: ModelSpec) -> dict[str, Any]:
    """The fields of a request that ask for the steps of `twins.ddim`."""
    if spec.schedule.kind == "edm":
        return {"sampler": "euler", "spacing": "karras"}
    return {"spacing": "trailing"} if spec.schedule.zero_terminal else {}


def start_scale(spec: ModelSpec) -> float:
    """How much larger our pure noise is than theirs: EDM's latents are not of variance 1, as they take it."""
    schedule = spec.schedule
    if schedule.kind != "edm":
        return 1.0
    return hypot(schedule.sigma_max, schedule.sigma_data) / hypot(schedule.sigma_max, 1)
