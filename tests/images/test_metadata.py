import json
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fromnoise.errors import RequestError, StorageError
from fromnoise.images.metadata import (
    SAMPLER_LABELS,
    SPACING_LABELS,
    encode_png,
    from_parameters,
    parameters,
    read_record,
    read_request,
)
from fromnoise.names import SAMPLER_NAMES, SPACING_NAMES, find_sampler
from fromnoise.request import AdapterUse, GenerateRequest, GenerateResult, Picture
from fromnoise.specs import Defaults

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
PROMPTS = [
    "a red lighthouse on an island at sunset",
    "ein rotes Häuschen, naïve",
    "赤い灯台 🏝️ مَنارَة حَمراء",
    "several\nlines\n\nNegative prompt: none\nSteps: 3, Sampler: magic",
    "Negative prompt: at once",
    "Steps: 3",
    "",
    'quotes " and , and : and \\',
    "nul \0 and bell \a",
]


def result_of(prompt: str = "a red house", **fields: object) -> GenerateResult:
    request = GenerateRequest.of(prompt, **({"seeds": (7, 8)} | fields)).filled(Defaults(width=16, height=8))
    pictures = tuple(Picture(16, 8, bytes([seed % 256] * 3 * 16 * 8), seed) for seed in request.seeds)
    return GenerateResult(pictures, request, 1.0, model="tiny, it's: one", model_hash="ab" * 32, enlarge=4)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_saved_picture_carries_exactly_its_own_request(tmp_path: Path, prompt: str) -> None:
    result = result_of(prompt, negative=prompt, strength=0.3, guidance_interval=(0.5, 2))
    for path, seed in zip(result.save(tmp_path / "out.png"), (7, 8), strict=True):
        assert read_request(path) == replace(result.request, seeds=(seed,))


def test_pictures_are_saved_larger_beside_each_other(tmp_path: Path) -> None:
    result = result_of()
    assert [path.name for path in result.save(tmp_path / "out.png")] == ["out.png", "out-2.png"]
    assert [path.name for path in result.save(tmp_path / "seed-{seed}.png")] == ["seed-7.png", "seed-8.png"]
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (64, 32)
    assert result.images[0].size == (16, 8)


def test_an_existing_picture_is_overwritten_only_when_told(tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"precious")
    assert [path.name for path in result_of().save(tmp_path / "out.png")] == ["out-2.png", "out-3.png"]
    assert (tmp_path / "out.png").read_bytes() == b"precious"
    names = [path.name for path in result_of().save(tmp_path / "out.png", overwrite=True)]
    assert names == ["out.png", "out-4.png"]
    assert read_request(tmp_path / "out.png").seeds == (7,)


def test_a_saved_picture_says_how_its_model_was_loaded(tmp_path: Path) -> None:
    beside = {
        "loaded": {"ema": True, "dtype": "bfloat16"},
        "hashes": {"embedding a\u200db": "cd" * 32},
        "given": ("vae",),
    }
    (path,) = replace(result_of(seeds=(7,)), **beside).save(tmp_path / "out.png")
    record = read_record(path)
    assert {name: record[name] for name in beside} == beside | {"given": ["vae"]}


def test_only_png_files_are_written(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"'out.jpg' does not end in .png"):
        result_of().save(tmp_path / "out.jpg")
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("prompt", PROMPTS[:3])
def test_non_latin_prompts_are_readable_by_other_programs(tmp_path: Path, prompt: str) -> None:
    (path,) = result_of(prompt, seeds=(7,)).save(tmp_path / "out.png")
    with Image.open(path) as image:
        image.load()
        assert image.info["parameters"].startswith(prompt + "\nSteps: ")
        assert json.loads(image.info["fromnoise"])["request"]["prompt"] == prompt


def test_a_machine_made_picture_says_so(tmp_path: Path) -> None:
    (path,) = result_of(seeds=(7,)).save(tmp_path / "out.png")
    with Image.open(path) as image:
        (description,) = ElementTree.fromstring(image.info["XML:com.adobe.xmp"]).iter(f"{{{RDF}}}Description")
    source = description.attrib["{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"]
    assert source == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def test_a_notebook_shows_the_first_picture() -> None:
    result = result_of()
    assert result._repr_png_() == encode_png(result, result.pictures[0])


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
    [("x", 1), ("x:0.5", 0.5), ("x:+.5", 0.5), ("x:0.5:0.25", 0.25), ("x:1:lbw=OUTALL", 1), ("x:", 1)],
)
def test_adapters_are_read_however_they_are_asked_for(tag: str, scale: float) -> None:
    request = from_parameters(f"a <lora:{tag}> b\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1")
    assert (request.prompt, request.adapters) == ("a b", (AdapterUse("x", scale),))


def test_what_changed_another_program_s_picture_is_told(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", f"{FOREIGN}, Image CFG scale: 2.5")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    record = read_record(tmp_path / "a.png")
    assert record["left_out"] == ["Clip skip: 2"]
    assert (record["model"], record["model_hash"]) == ("a, b", "abcdef0123")
    assert record["request"]["image_guidance"] == 2.5
    assert read_record(*result_of(seeds=(7,)).save(tmp_path / "ours.png"))["left_out"] == []


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


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"request": 3}',
        '{"request": {"prompt": "", "schema": 99}}',
        "[" * 100_000,
        '{"request": {"prompt": "", "guidance": 1' + "0" * 400 + "}}",
        '{"request": {"prompt": "", "\\u001b[2J": 1}}',
        '{"request": {"prompt": ""}, "given": 3}',
        '{"request": {"prompt": ""}, "given": [["vae"]]}',
        '{"request": {"prompt": ""}, "loaded": {"dtype": []}}',
        '{"request": {"prompt": ""}, "loaded": {"newer": true}}',
        '{"request": {"prompt": ""}, "hashes": {"vae": 3}}',
        '{"request": {"prompt": ""}, "model_hash": "\\u001b[2J"}',
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, record: str) -> None:
    info = PngInfo()
    info.add_itxt("fromnoise", record)
    Image.new("RGB", (8, 8)).save(tmp_path / "out.png", pnginfo=info)
    with pytest.raises(RequestError) as caught:
        read_request(tmp_path / "out.png")
    assert "\x1b" not in caught.value.message


def test_a_picture_without_a_request_says_so(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    with pytest.raises(RequestError, match=r"plain.png does not say how it was made\n.*AUTOMATIC1111"):
        read_request(tmp_path / "plain.png")
    with pytest.raises(StorageError):
        read_request(tmp_path / "none.png")
