"""Whole pipelines against those of diffusers: the same random weights, words and noise; ten steps of DDIM."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fromnoise.images.pixels import from_image, to_image
from fromnoise.pipeline import Pipeline
from fromnoise.request import GenerateRequest, Picture
from fromnoise.specs import REFINER, SD15, SD21, SDXL, ClipSpec, ModelSpec, UNetSpec

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")
from parity import relative_error  # noqa: E402
from peers import NUMBER_WIDTH  # noqa: E402
from twins import Twin, latents, model, noise  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

TOLERANCE = 1e-4  # float32, relative, after ten steps
PROMPT, NEGATIVE = "a red house on a hill, Café 8k", "snow, blurry"
WIDTH, HEIGHT, SEED, GUIDANCE = 64, 80, 7, 6.0
FIELDS: dict[str, Any] = {
    "negative": NEGATIVE,
    "steps": 10,
    "sampler": "ddim",
    "spacing": "leading",
    "guidance": GUIDANCE,
    "width": WIDTH,
    "height": HEIGHT,
    "seeds": (SEED,),
}
THEIRS: dict[str, Any] = {
    "prompt": PROMPT,
    "negative_prompt": NEGATIVE,
    "num_inference_steps": 10,
    "guidance_scale": GUIDANCE,
    "output_type": "latent",
}
SIZE = {"width": WIDTH, "height": HEIGHT}
UNSAFE: dict[str, Any] = {
    "safety_checker": None,
    "feature_extractor": None,
    "requires_safety_checker": False,
}
POOLED = 24
Gradient = Callable[[int, int], Picture]


# --- the families, narrow; vocabularies and paddings are the real ones ---


def text(spec: ClipSpec, width: int) -> ClipSpec:
    return replace(spec, width=width, heads=2, layers=3, projection=spec.projection and POOLED)


def small(spec: ModelSpec, *widths: int, **changes: Any) -> ModelSpec:
    unet: UNetSpec = replace(
        spec.unet,
        base_width=16,
        groups=4,
        context_width=sum(widths),
        heads=spec.unet.heads and 2,
        head_width=spec.unet.head_width and 8,
        **changes,
    )
    texts = tuple(text(t, width) for t, width in zip(spec.texts, widths, strict=True))
    return replace(spec, texts=texts, unet=unet, vae=replace(spec.vae, base_width=8, groups=4))


SD1, SD2 = small(SD15, 32), small(SD21, 32)
XL = small(
    SDXL,
    *(24, 32),
    down=((0, 0), (1, 1), (2, 2)),
    mid=2,
    up=((2, 2, 2), (1, 1, 1), (0, 0, 0)),
    pooled_width=POOLED + 6 * NUMBER_WIDTH,
)
LAST = small(
    REFINER,
    *(32,),
    down=((0, 0), (1, 1), (1, 1), (0, 0)),
    mid=1,
    up=((0, 0, 0), (1, 1, 1), (1, 1, 1), (0, 0, 0)),
    pooled_width=POOLED + 5 * NUMBER_WIDTH,
)
INPAINT, EDIT = small(SD15, 32, in_channels=9), small(SD15, 32, in_channels=8)
LCM = small(SD15, 32, guidance_width=20)


def both(spec: ModelSpec, folder: Path, *texts: str, seed: int = 0) -> tuple[Pipeline, Twin]:
    parts = model(spec, seed)
    return Pipeline.of(parts), Twin(parts, folder, *([texts] if texts else []))


def request(**changes: Any) -> GenerateRequest:
    return GenerateRequest(prompt=PROMPT, **FIELDS | changes)


@pytest.fixture
def most_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their encoder draws from the Gaussian; ours takes its middle."""
    sample = "diffusers.models.autoencoders.vae.DiagonalGaussianDistribution.sample"
    monkeypatch.setattr(sample, lambda self, generator=None: self.mode())


# --- words to a picture ---


@pytest.mark.parametrize(("spec", "spacing"), [(SD1, "leading"), (SD1, "trailing"), (SD2, "trailing")])
def test_stable_diffusion_1_and_2(spec: ModelSpec, spacing: str, tmp_path: Path) -> None:
    ours, twin = both(spec, tmp_path)
    theirs = twin.pipeline(diffusers.StableDiffusionPipeline, spacing=spacing, **UNSAFE)
    wanted = theirs(**THEIRS, **SIZE, latents=noise(SEED, **SIZE)).images
    assert relative_error(latents(ours, request(spacing=spacing)), wanted) <= TOLERANCE


def test_the_guidance_scale_is_an_input_of_lcm(tmp_path: Path) -> None:
    ours, twin = both(LCM, tmp_path)
    theirs = twin.pipeline(diffusers.StableDiffusionPipeline, **UNSAFE)
    for scale in (8.5, 1.7):
        told = THEIRS | {"guidance_scale": scale, "negative_prompt": None}
        wanted = theirs(**told, **SIZE, latents=noise(SEED, **SIZE)).images
        assert relative_error(latents(ours, request(guidance=scale, negative="")), wanted) <= TOLERANCE


@pytest.mark.parametrize(
    ("mine", "told"),
    [
        ({}, {}),
        ({"negative": ""}, {"negative_prompt": ""}),
        ({"negative": "", "zero_negative": True}, {"negative_prompt": None}),
        (
            {"original_size": (200, 300), "crop": (8, 24)},
            {"original_size": (300, 200), "crops_coords_top_left": (24, 8)},
        ),
    ],
    ids=["plain", "empty negative", "zero negative", "sizes"],
)
def test_sdxl(mine: dict[str, Any], told: dict[str, Any], tmp_path: Path) -> None:
    ours, twin = both(XL, tmp_path)
    theirs = twin.pipeline(diffusers.StableDiffusionXLPipeline, add_watermarker=False)
    wanted = theirs(**THEIRS | told, **SIZE, latents=noise(SEED, **SIZE)).images
    assert relative_error(latents(ours, request(**mine)), wanted) <= TOLERANCE


# --- the refiner ---


def refiner(folder: Path) -> tuple[Pipeline, Any]:
    ours, twin = both(LAST, folder, "text_encoder_2", seed=1)
    others = {"text_encoder": None, "tokenizer": None, "requires_aesthetics_score": True}
    kind = diffusers.StableDiffusionXLImg2ImgPipeline
    return ours, twin.pipeline(kind, add_watermarker=False, **others)


@pytest.mark.usefixtures("most_likely")
@pytest.mark.parametrize("marks", [None, (8.0, 1.5)])
def test_the_refiner_alone(marks: tuple[float, float] | None, tmp_path: Path, gradient: Gradient) -> None:
    ours, theirs = refiner(tmp_path)
    picture, told = gradient(WIDTH, HEIGHT), {}
    if marks:
        told = {"aesthetic_score": marks[0], "negative_aesthetic_score": marks[1]}
    generator = torch.Generator().manual_seed(SEED)
    # six of the ten times 901, 801, …, 1: from 501 of 999
    wanted = theirs(**THEIRS, **told, image=to_image(picture), strength=0.6, generator=generator).images
    found = latents(ours, request(strength=501 / 999, aesthetic=marks), picture=picture)
    assert relative_error(found, wanted) <= TOLERANCE


@pytest.mark.parametrize("share", [0.8, 0.5])
def test_the_refiner_takes_over_from_the_base(share: float, tmp_path: Path) -> None:
    for name in ("base", "refiner"):
        (tmp_path / name).mkdir()
    ours, twin = both(XL, tmp_path / "base")
    last, theirs_last = refiner(tmp_path / "refiner")
    theirs = twin.pipeline(diffusers.StableDiffusionXLPipeline, add_watermarker=False)
    half = theirs(**THEIRS, **SIZE, latents=noise(SEED, **SIZE), denoising_end=share).images
    wanted = theirs_last(**THEIRS, image=half, denoising_start=share).images
    found = latents(ours, request(refine_from=share), refiner=last)
    assert relative_error(found, wanted) <= TOLERANCE
    assert relative_error(latents(ours, request()), wanted) > 0.01


# --- pictures and masks ---


def mask_picture(width: int, height: int) -> Picture:
    """White in whole latents, so that every way to shrink it is the same."""
    mask = Image.new("L", (width, height))
    mask.paste(255, (8, 24, 48, 64))
    return from_image(mask)


@pytest.mark.usefixtures("most_likely")
@pytest.mark.parametrize(
    ("spec", "strength", "theirs_strength"),
    [(INPAINT, None, 1.0), (INPAINT, 701 / 999, 0.8), (SD1, 701 / 999, 0.8)],
    ids=["nine channels", "nine channels, from the picture", "four channels"],
)
def test_inpainting(
    spec: ModelSpec, strength: float | None, theirs_strength: float, tmp_path: Path, gradient: Gradient
) -> None:
    ours, twin = both(spec, tmp_path)
    theirs = twin.pipeline(diffusers.StableDiffusionInpaintPipeline, **UNSAFE)
    picture, mask = gradient(WIDTH, HEIGHT), mask_picture(WIDTH, HEIGHT)
    wanted = theirs(
        **THEIRS,
        **SIZE,
        image=to_image(picture),
        mask_image=to_image(mask).convert("L"),
        strength=theirs_strength,
        generator=torch.Generator().manual_seed(SEED),
    ).images
    found = latents(ours, request(strength=strength), picture=picture, mask=mask)
    assert relative_error(found, wanted) <= TOLERANCE


@pytest.mark.parametrize("picture_scale", [1.5, 1.0])
def test_instruct_pix2pix(picture_scale: float, tmp_path: Path, gradient: Gradient) -> None:
    ours, twin = both(EDIT, tmp_path)
    theirs = twin.pipeline(diffusers.StableDiffusionInstructPix2PixPipeline, **UNSAFE)
    picture = gradient(WIDTH, HEIGHT)
    told = {"image": to_image(picture), "image_guidance_scale": picture_scale}
    wanted = theirs(**THEIRS, **told, latents=noise(SEED, **SIZE)).images
    found = latents(ours, request(image_guidance=picture_scale), picture=picture)
    assert relative_error(found, wanted) <= TOLERANCE
