"""What our pipelines and those of diffusers are asked, so that both draw the same: ten steps of DDIM."""

from typing import Any

import torch
from PIL import Image

from fromnoise.images.pixels import from_image
from fromnoise.request import GenerateRequest, Picture

STEPS_TOLERANCE = 1e-4  # float32, relative, after ten steps
PROMPT, NEGATIVE = "a red house on a hill, Café 8k", "snow, blurry"
WIDTH, HEIGHT, SEED, GUIDANCE, STEPS = 64, 80, 7, 6.0, 10
SIZE = {"width": WIDTH, "height": HEIGHT}
FIELDS: dict[str, Any] = {
    "negative": NEGATIVE,
    "steps": STEPS,
    "sampler": "ddim",
    "spacing": "leading",
    "guidance": GUIDANCE,
    **SIZE,
    "seeds": (SEED,),
}
THEIRS: dict[str, Any] = {
    "prompt": PROMPT,
    "negative_prompt": NEGATIVE,
    "num_inference_steps": STEPS,
    "guidance_scale": GUIDANCE,
    "output_type": "latent",
}
UNSAFE: dict[str, Any] = {
    "safety_checker": None,
    "feature_extractor": None,
    "requires_safety_checker": False,
}
# img2img of diffusers takes six of the ten times 901, 801, …, 1: from 501 of 999
SIX_OF_TEN, THEIR_SIX_OF_TEN = 501 / 999, 0.6
SAMPLE = "diffusers.models.autoencoders.vae.DiagonalGaussianDistribution.sample"


def request(**changes: Any) -> GenerateRequest:
    return GenerateRequest(prompt=PROMPT, **FIELDS | changes)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def mask_picture(width: int = WIDTH, height: int = HEIGHT) -> Picture:
    """White in whole latents, so that every way to shrink it is the same."""
    mask = Image.new("L", (width, height))
    mask.paste(255, (8, 24, 48, 64))
    return from_image(mask)


def most_likely(gaussian: Any, generator: Any = None) -> Any:
    """In the place of `SAMPLE`: their encoder draws from the Gaussian, ours takes its middle."""
    return gaussian.mode()
