import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_results import PROMPTS, result_of

from fromnoise.errors import RequestError
from fromnoise.images.parameters import SAMPLER_LABELS, SPACING_LABELS, from_parameters, parameters
from fromnoise.names import SAMPLER_NAMES, SPACING_NAMES, find_sampler
from fromnoise.request import AdapterUse, GenerateRequest

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def test_how_closely_a_picture_was_kept_to_is_said() -> None:
    result = result_of(image_guidance=1.25)
    assert from_parameters(parameters(result, result.pictures[0])).image_guidance == 1.25


def test_the_text_is_what_other_programs_read() -> None:
    result = result_of("a red house", negative="snow", steps=20, sampler="DPM++ 2M Karras", strength=0.75)
    assert parameters(result, result.pictures[1]) == (
        "a red house\n"
        "Negative prompt: snow\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 8, Size: 16x8, "
        'Model hash: ababababab, Model: "tiny, it\'s: one", Denoising strength: 0.75, RNG: CPU, '
        'Version: fromnoise 0.1.0, Hashes: {"model": "ababababab"}'
    )


@pytest.mark.parametrize("prompt", PROMPTS)
def test_other_programs_find_the_settings_whatever_the_prompt(prompt: str) -> None:
    text = parameters(result := result_of(prompt), result.pictures[0])
    lines = text.split("\n")
    assert [line.startswith("Steps: ") for line in lines] == [False] * (len(lines) - 1) + [True]
    assert not any(line.strip().startswith("Negative prompt:") for line in lines)
    assert re.search(r", Hashes:\s*({[^}]+})", text)
    assert "\0" not in text


def test_every_sampler_and_spacing_has_a_label_that_leads_back() -> None:
    assert tuple(SAMPLER_LABELS) == SAMPLER_NAMES
    assert sorted(SPACING_LABELS) == sorted(SPACING_NAMES)
    assert [find_sampler(label)[0] for label in SAMPLER_LABELS.values()] == list(SAMPLER_NAMES)


@given(texts, texts, st.sampled_from(SAMPLER_NAMES), st.sampled_from(SPACING_NAMES))
def test_the_text_alone_gives_the_settings_back(
    prompt: str, negative: str, sampler: str, spacing: str
) -> None:
    result = result_of(prompt, negative=negative, sampler=sampler, spacing=spacing, seeds=(3,))
    request = from_parameters(parameters(result, result.pictures[0]))
    assert (request.sampler, request.spacing, request.seeds) == (sampler, spacing, (3,))
    assert (request.width, request.height, request.steps) == (16, 8, 30)


FOREIGN = """a cat
on a mat
Negative prompt: dog,
ugly
Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 42, Size: 512x768, \
Model hash: abcdef0123, Model: "a, b", Denoising strength: 0.75, Clip skip: 2, Version: v1.10.1"""


def test_the_strength_of_a_second_pass_is_no_request_s() -> None:
    for second in ("Hires upscale: 2", "Hires resize: 1024x1536"):
        assert from_parameters(f"{FOREIGN}, {second}, Hires upscaler: Latent").strength is None


def test_uniform_is_what_automatic1111_means_by_it() -> None:
    said = {"Uniform": "linspace", "SGM Uniform": "uniform", "Normal": "linspace"}
    read = {label: from_parameters(FOREIGN.replace("Automatic", label)).spacing for label in said}
    assert read == said


def test_pictures_by_other_programs_are_read() -> None:
    assert from_parameters(FOREIGN) == GenerateRequest(
        prompt="a cat\non a mat",
        negative="dog,\nugly",
        steps=20,
        sampler="euler_a",
        spacing="linspace",
        guidance=7,
        seeds=(42,),
        width=512,
        height=768,
        strength=0.75,
    )
    old = from_parameters("a cat\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 42, Size: 512x512")
    assert (old.sampler, old.spacing, old.negative) == ("dpmpp_2m", "karras", "")


@pytest.mark.parametrize(
    ("said", "spacing"),
    [
        ("Euler", "linspace"),
        ("DPM++ 2M", "linspace"),
        ("DPM++ 2M Karras", "karras"),
        ("DDIM", "leading"),
        ("LCM", "trailing"),
    ],
)
@pytest.mark.parametrize("schedule", ["", ", Schedule type: Automatic"])
def test_a_sampler_alone_means_its_own_levels(said: str, spacing: str, schedule: str) -> None:
    request = from_parameters(f"x\nSteps: 20, Sampler: {said}{schedule}, CFG scale: 7, Seed: 1")
    assert request.spacing == spacing


@pytest.mark.parametrize(
    ("tag", "scale"),
    [
        ("x", 1),
        ("x:0.5", 0.5),
        ("x:+.5", 0.5),
        ("x:0.5:0.25", 0.25),
        ("x:1:lbw=OUTALL", 1),
        ("x:", 1),
        ("x:te=1:unet=0.5", 0.5),
        ("x:1e-05", 1e-5),
    ],
)
def test_adapters_are_read_however_they_are_asked_for(tag: str, scale: float) -> None:
    request = from_parameters(f"a <lora:{tag}> b\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1")
    assert (request.prompt, request.adapters) == ("a b", (AdapterUse("x", scale),))


def test_long_settings_are_read_at_once() -> None:
    with pytest.raises(RequestError):
        from_parameters("a" + " " * 100_000 + "\n" + "a" * 300_000)


@pytest.mark.parametrize(
    "text",
    ["", "just a prompt", "x\nSteps: many, Seed: 1", "x\nSteps: 20, Sampler: Magic", "x\nSteps: 1, Size: 5"],
)
def test_text_that_is_no_list_of_settings_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        from_parameters(text)


@given(texts)
def test_any_text_is_settings_or_one_clear_error(text: str) -> None:
    with suppress(RequestError):
        assert isinstance(from_parameters(text + "\nSteps: 3, Seed: " + text), GenerateRequest)
