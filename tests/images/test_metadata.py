import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from some_results import PROMPTS, result_of

from fromnoise.errors import RequestError, StorageError
from fromnoise.images.metadata import encode_png, read_record, read_request

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


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


THEIRS = """a cat
Steps: 20, Sampler: Euler a, CFG scale: 7, Image CFG scale: 2.5, Seed: 42, Size: 512x768, \
Model hash: abcdef0123, Model: "a, b", Clip skip: 2, Version: v1.10.1, \
Hashes: {"model": "abcdef0123", "lora:ink": "7c6bad76eb", "embed:bad": "66a7279a88"}"""


def test_what_changed_another_program_s_picture_is_told(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", THEIRS)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    record = read_record(tmp_path / "a.png")
    assert record["left_out"] == ["Clip skip: 2"]
    assert (record["model"], record["model_hash"]) == ("a, b", "abcdef0123")
    hostile = PngInfo()
    hostile.add_text("parameters", THEIRS.replace("abcdef0123", "\x1b[2Jabcdef"))
    Image.new("RGB", (8, 8)).save(tmp_path / "hostile.png", pnginfo=hostile)
    assert read_record(tmp_path / "hostile.png")["model_hash"] == ""
    assert record["request"]["image_guidance"] == 2.5
    assert read_record(*result_of(seeds=(7,)).save(tmp_path / "ours.png"))["left_out"] == []


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
