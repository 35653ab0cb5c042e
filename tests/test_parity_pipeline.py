"""Whole pipelines against those of diffusers: the same random weights, words and noise; ten steps of DDIM."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fromnoise.images.pixels import to_image
from fromnoise.pipeline import Pipeline
from fromnoise.request import Picture
from fromnoise.specs import REFINER, SD15, SD21, SDXL, ClipSpec, ModelSpec, UNetSpec

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")
from full_size import DRAWINGS  # noqa: E402
from parity import relative_error  # noqa: E402
from peers import NUMBER_WIDTH  # noqa: E402
from side_by_side import (  # noqa: E402
    HEIGHT,
    SAMPLE,
    SEED,
    SIX_OF_TEN,
    SIZE,
    STEPS_TOLERANCE,
    THEIR_SIX_OF_TEN,
    THEIRS,
    UNSAFE,
    WIDTH,
    generator,
    mask_picture,
    most_likely,
    request,
)
from twins import Twin, latents, model, noise  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

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


def both(spec: ModelSpec, *texts: str, seed: int = 0) -> tuple[Pipeline, Twin]:
    parts = model(spec, seed)
    return Pipeline.of(parts), Twin(parts, *([texts] if texts else []))


@pytest.fixture
def takes_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SAMPLE, most_likely)


# --- words to a picture ---


@pytest.mark.parametrize(("spec", "spacing"), [(SD1, "leading"), (SD1, "trailing"), (SD2, "trailing")])
def test_stable_diffusion_1_and_2(spec: ModelSpec, spacing: str) -> None:
    ours, twin = both(spec)
    theirs = twin.pipeline(diffusers.StableDiffusionPipeline, spacing=spacing, **UNSAFE)
    wanted = theirs(**THEIRS, **SIZE, latents=noise(SEED, **SIZE)).images
    assert relative_error(latents(ours, request(spacing=spacing)), wanted) <= STEPS_TOLERANCE


def test_the_guidance_scale_is_an_input_of_lcm() -> None:
    ours, twin = both(LCM)
    theirs = twin.pipeline(diffusers.StableDiffusionPipeline, **UNSAFE)
    for scale in (8.5, 1.7):
        told = THEIRS | {"guidance_scale": scale, "negative_prompt": None}
        wanted = theirs(**told, **SIZE, latents=noise(SEED, **SIZE)).images
        assert relative_error(latents(ours, request(guidance=scale, negative="")), wanted) <= STEPS_TOLERANCE


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
def test_sdxl(mine: dict[str, Any], told: dict[str, Any]) -> None:
    ours, twin = both(XL)
    theirs = twin.pipeline(diffusers.StableDiffusionXLPipeline, add_watermarker=False)
    wanted = theirs(**THEIRS | told, **SIZE, latents=noise(SEED, **SIZE)).images
    assert relative_error(latents(ours, request(**mine)), wanted) <= STEPS_TOLERANCE


# --- the refiner ---


def refiner() -> tuple[Pipeline, Any]:
    ours, twin = both(LAST, "text_encoder_2", seed=1)
    others = {"text_encoder": None, "tokenizer": None, "requires_aesthetics_score": True}
    kind = diffusers.StableDiffusionXLImg2ImgPipeline
    return ours, twin.pipeline(kind, add_watermarker=False, **others)


@pytest.mark.usefixtures("takes_the_middle")
@pytest.mark.parametrize("marks", [None, (8.0, 1.5)])
def test_the_refiner_alone(marks: tuple[float, float] | None, gradient: Gradient) -> None:
    ours, theirs = refiner()
    picture, told = gradient(WIDTH, HEIGHT), dict[str, Any]()
    if marks:
        told = {"aesthetic_score": marks[0], "negative_aesthetic_score": marks[1]}
    told |= {"image": to_image(picture), "strength": THEIR_SIX_OF_TEN, "generator": generator()}
    wanted = theirs(**THEIRS, **told).images
    found = latents(ours, request(strength=SIX_OF_TEN, aesthetic=marks), picture=picture)
    assert relative_error(found, wanted) <= STEPS_TOLERANCE


@pytest.mark.parametrize("share", [0.8, 0.5])
def test_the_refiner_takes_over_from_the_base(share: float) -> None:
    ours, twin = both(XL)
    last, theirs_last = refiner()
    theirs = twin.pipeline(diffusers.StableDiffusionXLPipeline, add_watermarker=False)
    half = theirs(**THEIRS, **SIZE, latents=noise(SEED, **SIZE), denoising_end=share).images
    wanted = theirs_last(**THEIRS, image=half, denoising_start=share).images
    found = latents(ours, request(refine_from=share), refiner=last)
    assert relative_error(found, wanted) <= STEPS_TOLERANCE
    assert relative_error(latents(ours, request()), wanted) > 0.01


# --- pictures and masks ---


@pytest.mark.usefixtures("takes_the_middle")
@pytest.mark.parametrize(
    ("spec", "strength", "theirs_strength"),
    [(INPAINT, None, 1.0), (INPAINT, 701 / 999, 0.8), (SD1, 701 / 999, 0.8)],
    ids=["nine channels", "nine channels, from the picture", "four channels"],
)
def test_inpainting(
    spec: ModelSpec, strength: float | None, theirs_strength: float, gradient: Gradient
) -> None:
    ours, twin = both(spec)
    theirs = twin.pipeline(diffusers.StableDiffusionInpaintPipeline, **UNSAFE)
    picture, mask = gradient(WIDTH, HEIGHT), mask_picture()
    wanted = theirs(
        **THEIRS,
        **SIZE,
        image=to_image(picture),
        mask_image=to_image(mask).convert("L"),
        strength=theirs_strength,
        generator=generator(),
    ).images
    found = latents(ours, request(strength=strength), picture=picture, mask=mask)
    assert relative_error(found, wanted) <= STEPS_TOLERANCE


@pytest.mark.parametrize("picture_scale", [1.5, 1.0])
def test_instruct_pix2pix(picture_scale: float, gradient: Gradient) -> None:
    ours, twin = both(EDIT)
    theirs = twin.pipeline(diffusers.StableDiffusionInstructPix2PixPipeline, **UNSAFE)
    picture = gradient(WIDTH, HEIGHT)
    told = {"image": to_image(picture), "image_guidance_scale": picture_scale}
    wanted = theirs(**THEIRS, **told, latents=noise(SEED, **SIZE)).images
    found = latents(ours, request(image_guidance=picture_scale), picture=picture)
    assert relative_error(found, wanted) <= STEPS_TOLERANCE


# --- at full size ---


@pytest.mark.slow  # 8 GB of memory, 15 GB for SDXL
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_model_of_full_size_draws_the_same(name: str) -> None:
    assert DRAWINGS[name]() <= STEPS_TOLERANCE
