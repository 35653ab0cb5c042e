"""Masks, networks that read more than noise, and refiners, from the request to the picture."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from fromnoise.drawing.canvas import Canvas
from fromnoise.drawing.course import level_at
from fromnoise.drawing.settling import DEFAULT_STRENGTH, IMAGE_GUIDANCE, REFINE_FROM, reads_negative
from fromnoise.engine.packing import packed_in
from fromnoise.errors import RequestError, SpecError
from fromnoise.images.pixels import from_image
from fromnoise.names import SAMPLER_NAMES
from fromnoise.pipeline import Pipeline
from fromnoise.reading import NUMBER_WIDTH
from fromnoise.request import GenerateRequest, Picture
from fromnoise.specs import TINY, ModelSpec, ScheduleKind, ScheduleSpec
from fromnoise.weights.native import Parts

Build = Callable[[ModelSpec], Parts]
Gradient = Callable[[int, int], Picture]
POOLED = 24
LEFT = (0, 0, 40, 64)  # what the mask leaves alone
SQUARE: dict[str, Any] = {"width": 16, "height": 16}


def variant(name: str, **unet: Any) -> ModelSpec:
    return replace(TINY, name=name, unet=replace(TINY.unet, **unet))


def told(name: str, numbers: int) -> ModelSpec:
    """A family that is told about the picture, as SDXL is."""
    spec = variant(name, pooled_width=POOLED + numbers * NUMBER_WIDTH)
    return replace(spec, texts=(replace(TINY.texts[0], projection=POOLED),))


SPECS = {
    "inpaint": variant("inpaint", in_channels=9),
    "edit": variant("edit", in_channels=8),
    "lcm": variant("lcm", guidance_width=20),
    "base": told("base", 6),
    "refiner": told("refiner", 5),
}


@pytest.fixture(scope="session")
def models(tiny: Pipeline, build: Build) -> dict[str, Pipeline]:
    return {"plain": tiny, **{name: Pipeline.of(build(spec)) for name, spec in SPECS.items()}}


@pytest.fixture(scope="session")
def mask() -> Picture:
    """White on the right, with an edge within a latent."""
    image = Image.new("L", (64, 64), 255)
    image.paste(0, LEFT)
    image.paste(255, (37, 10, 40, 11))
    return from_image(image)


@contextmanager
def watched(model: Pipeline) -> Iterator[list[tuple[Any, ...]]]:
    calls: list[tuple[Any, ...]] = []
    handle = model.unet.register_forward_pre_hook(lambda _, arguments: calls.append(arguments))
    try:
        yield calls
    finally:
        handle.remove()


def pixels(picture: Picture) -> Tensor:
    flat = torch.frombuffer(bytearray(picture.rgb), dtype=torch.uint8)
    return flat.view(picture.height, picture.width, 3)


def refused(model: Pipeline, field: str, **named: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        model("a red house", steps=1, **named)
    assert list(caught.value.problems) == [field]
    return caught.value


# --- guidance ---


def test_what_guidance_leaves_unread_is_refused_or_known(
    models: dict[str, Pipeline], gradient: Gradient
) -> None:
    assert "nothing to rescale" in str(refused(models["lcm"], "guidance_rescale", guidance_rescale=0.5))
    for name, fields, reads in (
        ("plain", {"guidance": 1.0}, False),
        ("plain", {"guidance": 2.0}, True),
        ("edit", {"guidance": 1.0, "image_guidance": 1.5}, True),
        ("edit", {"guidance": 1.0, "image_guidance": 1.0}, False),
    ):
        model, picture = models[name], gradient(64, 64) if name == "edit" else None
        asked = model.settled(GenerateRequest(prompt="a red house", negative="snow", **fields), picture)
        assert reads_negative(asked) == reads
        other = replace(asked, negative="a hill", steps=1)
        drawn = [model(each, picture=picture).pictures for each in (replace(asked, steps=1), other)]
        assert (drawn[0] != drawn[1]) == reads


# --- masks ---


@pytest.mark.parametrize("name", ["plain", "inpaint", "edit"])
@pytest.mark.parametrize("strength", [None, 1, 0.4])
def test_what_is_black_is_kept_to_the_byte_and_the_rest_is_drawn(
    name: str, strength: float | None, models: dict[str, Pipeline], mask: Picture, gradient: Gradient
) -> None:
    picture = gradient(64, 64)
    for batch in (1, 2):
        model = replace(models[name], batch=batch)
        result = model("a red house", picture=picture, mask=mask, strength=strength, steps=2, seeds=(1, 2))
        kept = pixels(mask).eq(0)
        for drawn in result.pictures:
            assert torch.equal(pixels(drawn)[kept], pixels(picture)[kept])
            changed = (pixels(drawn) != pixels(picture))[~kept].float().mean()
            assert changed > 0.9
        assert result.pictures[0] != result.pictures[1]
        assert result.given == ("image", "mask")


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_the_network_sees_the_kept_part_at_the_present_noise(
    sampler: str, tiny: Pipeline, mask: Picture, gradient: Gradient
) -> None:
    picture, kept = gradient(64, 64), slice(0, 4)  # latents of which no pixel is white
    with watched(tiny) as calls:
        tiny("", picture=picture, mask=mask, strength=1, guidance=1, steps=3, sampler=sampler, seed=5)
    source = tiny.encode(picture)[..., kept]
    noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(5))
    (first, time), last = calls[0][:2], calls[-1]
    sigma = tiny.schedule.sigma_of(time)
    shown = tiny.schedule.signal(sigma) * (source + sigma * noise[..., kept])
    torch.testing.assert_close(first[..., kept], shown, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(first[..., 5:], noise[None, ..., 5:], atol=1e-5, rtol=1e-4)
    sigma = tiny.schedule.sigma_of(last[1])
    spread = (last[0][..., kept] / tiny.schedule.signal(sigma) - source).std() / sigma
    assert 0.7 < float(spread) < 1.3


def test_a_mask_that_is_white_all_over_changes_nothing(tiny: Pipeline, gradient: Gradient) -> None:
    white = from_image(Image.new("L", (10, 10), 255))
    fields: dict[str, Any] = {"picture": gradient(64, 64), "strength": 0.6, "steps": 3, "seed": 1}
    assert tiny("a red house", mask=white, **fields).pictures == tiny("a red house", **fields).pictures


def test_a_mask_is_fitted_to_the_picture_that_is_drawn(tiny: Pipeline, gradient: Gradient) -> None:
    half = Image.new("L", (30, 20))
    half.paste(255, (15, 0, 30, 20))
    (drawn,) = tiny(
        "", picture=gradient(96, 64), mask=from_image(half), width=48, height=32, steps=1
    ).pictures
    (kept,) = tiny("", picture=gradient(96, 64), width=48, height=32, strength=0).pictures
    assert torch.equal(pixels(drawn)[:, :22], pixels(kept)[:, :22])
    assert not torch.equal(pixels(drawn)[:, 26:], pixels(kept)[:, 26:])


def test_a_mask_needs_a_picture_and_some_white(tiny: Pipeline, mask: Picture, gradient: Gradient) -> None:
    assert "--image" in refused(tiny, "mask", mask=mask).hint
    black = from_image(Image.new("L", (64, 64)))
    assert "white is drawn anew" in refused(tiny, "mask", mask=black, picture=gradient(64, 64)).hint


# --- networks that read more than noise ---


def test_an_inpainting_network_reads_the_mask_and_what_it_leaves(
    models: dict[str, Pipeline], mask: Picture, gradient: Gradient
) -> None:
    model, picture = models["inpaint"], gradient(64, 64)
    with watched(model) as calls:
        model("a red house", picture=picture, mask=mask, steps=1)
    ((shown, *_),) = calls
    assert shown.shape == (2, 9, 8, 8)
    covered = torch.zeros(8, 8)
    covered[:, 5:] = covered[1, 4] = 1
    assert torch.equal(shown[:, 4], covered.expand(2, -1, -1))
    grey = torch.where(pixels(mask) == 255, 127.5, pixels(picture).float()) / 127.5 - 1
    hidden = model.encoder(grey.permute(2, 0, 1)[None]).mean * model.spec.vae.latent_scale
    torch.testing.assert_close(shown[:, 5:], hidden.expand(2, -1, -1, -1))


def test_an_inpainting_network_draws_without_a_picture(models: dict[str, Pipeline]) -> None:
    with watched(models["inpaint"]) as calls:
        result = models["inpaint"]("a red house", steps=1, width=32, height=16)
    assert result.given == ()
    shown = calls[0][0]
    assert (shown[:, 4] == 1).all()
    grey = models["inpaint"].encoder(torch.zeros(1, 3, 16, 32)).mean * TINY.vae.latent_scale
    torch.testing.assert_close(shown[:, 5:], grey.expand(2, -1, -1, -1))


def test_without_a_mask_an_inpainting_network_starts_from_the_picture(
    models: dict[str, Pipeline], gradient: Gradient
) -> None:
    drawn, other = (
        models["inpaint"]("a red house", picture=picture, steps=2)
        for picture in (gradient(64, 64), from_image(Image.new("L", (64, 64), 200)))
    )
    assert (drawn.request.strength, drawn.given) == (DEFAULT_STRENGTH, ("image",))
    assert drawn.pictures != other.pictures
    assert models["inpaint"](drawn.request, strength=1).given == ()


def test_an_editing_network_reads_the_picture_without_its_scale(
    models: dict[str, Pipeline], gradient: Gradient
) -> None:
    model, picture = models["edit"], gradient(64, 64)
    with watched(model) as calls:
        result = model("a red house", picture=picture, steps=1)
    ((shown, *_),) = calls
    raw = model.encode(picture) / model.spec.vae.latent_scale
    assert shown.shape == (3, 8, 8, 8)
    assert not shown[0, 4:].any()
    torch.testing.assert_close(shown[1:, 4:], raw.expand(2, -1, -1, -1))
    assert (result.request.strength, result.request.image_guidance) == (1.0, IMAGE_GUIDANCE)
    assert result.given == ("image",)
    again = model(result.request, picture=picture)
    assert again.pictures == result.pictures
    assert model(result.request, picture=picture, image_guidance=3.0).pictures != result.pictures
    assert "--image" in refused(model, "picture").hint


@pytest.mark.parametrize(("kind", "scale"), [("scaled_linear", 1.0), ("edm", TINY.vae.latent_scale)])
def test_only_editing_networks_of_edms_read_scaled_latents(
    kind: ScheduleKind, scale: float, gradient: Gradient
) -> None:
    spec = replace(SPECS["edit"], schedule=ScheduleSpec(kind=kind))  # CosXL's, of those we know
    full = GenerateRequest(prompt="", strength=1).filled(TINY.defaults)
    canvas = Canvas.of(full, gradient(64, 64), None, spec, lambda pixels: torch.ones(1, 4, 8, 8))
    assert canvas.beside is not None
    assert torch.equal(canvas.beside, torch.full((1, 4, 8, 8), scale))


def test_outside_the_interval_a_distilled_network_is_told_a_scale_of_one(models: dict[str, Pipeline]) -> None:
    model = models["lcm"]
    with watched(model) as calls:
        model("a red house", steps=4, guidance=8.0, guidance_interval=(0.3, 3.0), sampler="euler")
    sigmas = model.schedule.sigmas(4, "karras")[:-1]
    assert [len(latents) for latents, *_ in calls] == [1] * 4
    is_one = [not bool(features[0, :10].any()) for *_, features in calls]  # the sines of nothing
    assert is_one == [not 0.3 < sigma <= 3.0 for sigma in sigmas]


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("plain", "image_guidance", 0.0),
        ("plain", "refine_from", 0.8),
        ("plain", "original_size", (64, 64)),
        ("plain", "crop", (0, 0)),
        ("base", "aesthetic", (6.0, 2.5)),
        ("lcm", "negative", "snow"),
    ],
)
def test_what_a_model_has_no_use_for_is_refused(
    name: str, field: str, value: Any, models: dict[str, Pipeline]
) -> None:
    refused(models[name], field, **{field: value})


def test_a_network_that_reads_other_channels_is_refused(build: Build) -> None:
    with pytest.raises(SpecError, match=r"reads 5 channels; we can show it 4 \(plain\), 9"):
        Pipeline.of(build(variant("depth", in_channels=5)))


# --- refiners ---


def test_the_refiner_does_the_steps_below_its_level(models: dict[str, Pipeline]) -> None:
    base, refiner = models["base"], models["refiner"]
    fields: dict[str, Any] = {
        "steps": 10,
        "sampler": "ddim",
        "spacing": "trailing",
        **SQUARE,
    }
    with watched(base) as early, watched(refiner) as late:
        result = base("a red house", refiner=refiner, seed=3, **fields)
    level = level_at(base.schedule, 1 - REFINE_FROM)
    assert all(base.schedule.sigma_of(time[0]) >= level for _, time, *_ in early)
    assert all(base.schedule.sigma_of(time[0]) < level for _, time, *_ in late)
    assert (len(early), len(late)) == (8, 2)
    assert result.request.refine_from == REFINE_FROM
    assert (result.refiner, result.given) == ("refiner", ("refiner",))
    assert base(result.request, refiner=refiner).pictures == result.pictures
    assert base("a red house", seed=3, **fields).pictures != result.pictures
    assert all(each.made is None for each in packed_in(refiner._fast_unet)), "it holds nothing afterwards"
    alone, both = base.planned(result.request), base.planned(result.request, refiner=refiner)
    assert both.drawing > alone.drawing
    marked = base(result.request, refiner=refiner, aesthetic=(9.0, 0.0))
    assert marked.pictures != result.pictures


@pytest.mark.parametrize(("share", "spacing"), [(0, "trailing"), (1, "exponential"), (1, "karras")])
def test_at_the_ends_one_of_the_two_draws_alone(
    models: dict[str, Pipeline], share: float, spacing: str
) -> None:
    base, refiner = models["base"], models["refiner"]
    with watched(base) as early, watched(refiner) as late:
        base(
            "a house", refiner=refiner, refine_from=share, spacing=spacing, steps=3, sampler="ddim", **SQUARE
        )
    assert (len(early), len(late)) == ((0, 3) if share == 0 else (3, 0))


def test_a_refiner_takes_over_by_its_own_schedule(models: dict[str, Pipeline], build: Build) -> None:
    refiner = models["refiner"]
    base = Pipeline.of(build(replace(SPECS["base"], schedule=ScheduleSpec(kind="edm"), prediction="edm")))
    with watched(base) as early, watched(refiner) as late:
        base("a house", refiner=refiner, spacing="karras", steps=20, sampler="ddim", **SQUARE)
    sigmas = base.schedule.sigmas(20, "karras")
    level = level_at(refiner.schedule, 1 - REFINE_FROM)
    assert len(late) == sum(0 < sigma < level for sigma in sigmas) > 1
    assert len(early) + len(late) == 20


def test_a_mask_holds_for_the_refiner_of_an_inpainting_network_too(
    models: dict[str, Pipeline], mask: Picture, gradient: Gradient
) -> None:
    picture = gradient(64, 64)
    request = GenerateRequest(prompt="a red house", steps=6, sampler="ddim", spacing="trailing", guidance=1)
    with watched(models["plain"]) as late:
        models["inpaint"].generate(request, picture, mask, models["plain"])
    source = models["plain"].encode(picture)[..., :4]
    shown, time, *_ = late[-1]
    sigma = models["plain"].schedule.sigma_of(time)
    spread = (shown[..., :4] / models["plain"].schedule.signal(sigma) - source).std() / sigma
    assert 0.7 < float(spread) < 1.3


def test_a_refiner_that_cannot_go_on_is_refused(models: dict[str, Pipeline]) -> None:
    assert "reads a picture" in str(refused(models["base"], "refiner", refiner=models["inpaint"]))
    other = replace(models["refiner"], spec=replace(TINY, vae=replace(TINY.vae, latent_scale=0.13025)))
    assert "other latents" in str(refused(models["base"], "refiner", refiner=other))
