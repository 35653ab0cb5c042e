import json
from pathlib import Path

from conftest import FromNoise
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fromnoise.images.metadata import read_request

FAST = ("--steps", "2", "--size", "16x24")


def test_a_replay_is_the_same_file_byte_for_byte(fromnoise: FromNoise, model: Path) -> None:
    fromnoise("a red house", "--model", model, "--seed", "5,6", "--enlarge", "3", "--cfg", "2", *FAST)
    done = fromnoise("replay", "red-house-6.png", "--model", model)
    assert (done.code, done.out) == (0, "red-house-6-2.png\n")
    assert Path("red-house-6-2.png").read_bytes() == Path("red-house-6.png").read_bytes()


def test_a_replay_changes_what_is_named_and_nothing_else(fromnoise: FromNoise, model: Path) -> None:
    fromnoise("a red house", "--model", model, "--seed", "5", "--cfg", "2", *FAST)
    done = fromnoise("replay", "red-house-5.png", "--model", model, "--steps", "3", "--seed", "8")
    request = read_request(done.paths[0])
    assert (request.steps, request.seeds, request.guidance, request.width) == (3, (8,), 2.0, 16)


def test_a_replay_with_another_model_warns(fromnoise: FromNoise, model: Path) -> None:
    fromnoise("a red house", "--model", model, "--seed", "5", *FAST)
    Path("other.safetensors").write_bytes(model.read_bytes())
    assert "another model" not in fromnoise("replay", "red-house-5.png", "--model", "other.safetensors").err
    with Image.open("red-house-5.png") as image:
        info = PngInfo()
        info.add_itxt("fromnoise", image.info["fromnoise"].replace('"model_hash": "', '"model_hash": "0'))
        image.save("claims.png", pnginfo=info)
    assert "another model drew this one" in fromnoise("replay", "claims.png", "--model", model).err


def test_a_picture_from_a_picture_needs_that_picture(fromnoise: FromNoise, model: Path) -> None:
    Image.new("RGB", (16, 24), "red").save("red.png")
    fromnoise("a hill", "--model", model, "-i", "red.png", "--strength", "0.5", "--seed", "1", *FAST)
    refused = fromnoise("replay", "hill-1.png", "--model", model)
    assert refused.code == 2
    assert "hill-1.png began from another picture\n  hint: name it: --image FILE" in refused.err
    done = fromnoise("replay", "hill-1.png", "--model", model, "--image", "red.png")
    assert done.paths[0].read_bytes() == Path("hill-1.png").read_bytes()


def test_a_picture_drawn_with_a_mask_or_a_refiner_needs_them(fromnoise: FromNoise, model: Path) -> None:
    Image.new("RGB", (16, 24), "red").save("red.png")
    Image.new("RGB", (16, 24), "white").save("white.png")
    fromnoise("a hill", "--model", model, "-i", "red.png", "--mask", "white.png", "--seed", "1", *FAST)
    refused = fromnoise("replay", "hill-1.png", "--model", model, "--image", "red.png")
    assert (refused.code, "hint: name it: --mask FILE" in refused.err) == (2, True)
    start = ("--image", "red.png", "--mask", "white.png")
    done = fromnoise("replay", "hill-1.png", "--model", model, *start)
    assert done.paths[0].read_bytes() == Path("hill-1.png").read_bytes()

    fromnoise("a hat", "--model", model, "--refiner", model, "--seed", "1", *FAST)
    refused = fromnoise("replay", "hat-1.png", "--model", model)
    assert (refused.code, "hint: name it: --refiner FILE" in refused.err) == (2, True)
    done = fromnoise("replay", "hat-1.png", "--model", model, "--refiner", model)
    assert done.paths[0].read_bytes() == Path("hat-1.png").read_bytes()


def test_info_tells_how_a_picture_was_made(fromnoise: FromNoise, model: Path) -> None:
    fromnoise("a red house", "--model", model, "--seed", "5", "--enlarge", "2", *FAST)
    said = fromnoise("info", "red-house-5.png")
    lines = dict(line.split(None, 1) for line in said.out.splitlines())
    assert (lines["prompt"], lines["seed"], lines["steps"]) == ("a red house", "5", "2")
    assert lines["size"] == "16x24, saved as 32x48"
    assert lines["again"] == "fromnoise replay red-house-5.png"
    facts = json.loads(fromnoise("info", "red-house-5.png", "--json").out)
    assert facts["request"] == read_request("red-house-5.png").to_json()
    assert (facts["model"], facts["width"]) == ("tiny", 32)
    assert len(facts["model_hash"]) == 64


def test_info_reads_what_other_programs_write(fromnoise: FromNoise) -> None:
    info = PngInfo()
    info.add_text(
        "parameters", "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 3"
    )
    Image.new("RGB", (8, 8)).save("theirs.png", pnginfo=info)
    lines = dict(line.split(None, 1) for line in fromnoise("info", "theirs.png").out.splitlines())
    assert (lines["prompt"], lines["negative"], lines["sampler"], lines["seed"]) == (
        "a cat",
        "dog",
        "euler_a",
        "3",
    )
    assert "model" not in lines
