import json
import re
import sys
from pathlib import Path

import pytest
import torch
from conftest import FromNoise
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fromnoise.images.metadata import read_record, read_request
from fromnoise.specs import TINY
from fromnoise.text import Tokenizer
from fromnoise.weights.embeddings import Embedding, save_embedding
from fromnoise.weights.native import Parts, save_native

sys.path.insert(0, str(Path(__file__).parent.parent / "weights"))

from on_disk import as_checkpoint, with_averages, write_checkpoint
from tiny_files import SPECS, VOCAB, know_tiny_families
from tiny_files import tiny_parts as foreign_parts

FAST = ("--steps", "2", "--size", "16x24")


def write_png(name: str, **texts: str) -> Path:
    """A picture that says this of itself."""
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    Image.new("RGB", (8, 8)).save(name, pnginfo=info)
    return Path(name)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another program with averages, and beside it two autoencoders."""
    folder = tmp_path_factory.mktemp("foreign")
    state = as_checkpoint(foreign_parts(SPECS["sd1"]), "sd1")
    vae = {name: tensor for name, tensor in state.items() if name.startswith("first_stage_model.")}
    for factor in (2, 3):
        write_checkpoint(
            {name: tensor * factor for name, tensor in vae.items()}, folder / f"vae{factor}.ckpt"
        )
    return write_checkpoint(with_averages(state, 1.5), folder / "model.ckpt")


@pytest.fixture
def foreign(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That model, which we take for one of Stable Diffusion's family."""
    know_tiny_families(monkeypatch)
    tokenizers = (Tokenizer.train(["a hill"], VOCAB).to_json(),)
    monkeypatch.setattr("fromnoise.weights.foreign.read_tokenizers", lambda *_: tokenizers)
    return checkpoint


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


def test_a_replay_tells_what_it_cannot_repeat_of_other_programs(fromnoise: FromNoise, model: Path) -> None:
    text = "a cat\nSteps: 2, Sampler: Euler, Seed: 3, Size: 16x24, Clip skip: 2, Model hash: abcdef0123"
    png = write_png("theirs.png", parameters=text)
    done = fromnoise("replay", png, "--model", model)
    assert done.code == 0
    assert "another model drew this one (abcdef0123…)" in done.err
    assert "of its settings these are left out: Clip skip: 2\n" in done.err
    (digest,) = {read_record(path)["model_hash"] for path in done.paths}
    write_png("theirs.png", parameters=text.replace("abcdef0123", digest[:10]))
    assert "another model" not in fromnoise("replay", png, "--model", model).err


def test_a_picture_of_a_batch_says_so_and_is_replayed_alone(fromnoise: FromNoise, model: Path) -> None:
    drawn = fromnoise("a hill", "--model", model, "--seed", "1,2,3", "--batch-size", "2", *FAST)
    assert [read_record(path)["loaded"] for path in drawn.paths] == [{"batch": 2}, {"batch": 2}, {}]
    again = fromnoise("replay", drawn.paths[0], "--model", model)
    assert "it was drawn in a batch of 2; its last bits may differ" in again.err
    assert read_record(again.paths[0])["loaded"] == {}
    assert re.search(r"^batch +2$", fromnoise("info", drawn.paths[0]).out, re.MULTILINE)


def test_a_replay_loads_the_model_as_it_was_loaded(fromnoise: FromNoise, foreign: Path) -> None:
    plain = fromnoise("a hill", "--model", foreign, "--seed", "1", *FAST)
    special = ("--ema", "--prediction", "v", "--dtype", "bfloat16", "--engine", "plain")
    drawn = fromnoise("a hill", "--model", foreign, "--seed", "1", *FAST, *special)
    assert drawn.paths[0].read_bytes() != plain.paths[0].read_bytes()
    loaded = {"prediction": "v", "ema": True, "dtype": "bfloat16", "engine": "plain"}
    assert (read_record(plain.paths[0])["loaded"], read_record(drawn.paths[0])["loaded"]) == ({}, loaded)
    again = fromnoise("replay", drawn.paths[0], "--model", foreign)
    assert again.paths[0].read_bytes() == drawn.paths[0].read_bytes()
    other = fromnoise("replay", drawn.paths[0], "--model", foreign, "--prediction", "eps")
    assert read_record(other.paths[0])["loaded"] == loaded | {"prediction": "eps"}
    assert "prediction  v\n" in fromnoise("info", drawn.paths[0]).out


def test_a_picture_drawn_with_another_autoencoder_needs_that_one(fromnoise: FromNoise, foreign: Path) -> None:
    vae, other = (foreign.with_name(f"vae{factor}.ckpt") for factor in (2, 3))
    fromnoise("a hill", "--model", foreign, "--vae", vae, "--seed", "1", *FAST)
    refused = fromnoise("replay", "hill-1.png", "--model", foreign)
    assert (refused.code, "hint: name it: --vae FILE" in refused.err) == (2, True)
    again = fromnoise("replay", "hill-1.png", "--model", foreign, "--vae", vae)
    assert again.paths[0].read_bytes() == Path("hill-1.png").read_bytes()
    assert "warning" not in again.err
    assert (
        "another vae drew this" in fromnoise("replay", "hill-1.png", "--model", foreign, "--vae", other).err
    )


def test_a_replay_with_another_refiner_or_embedding_warns(
    fromnoise: FromNoise, model: Path, tiny_parts: Parts
) -> None:
    save_native(tiny_parts, Path("other.safetensors"), dtype=torch.float32)
    for number in (1, 2):
        glim = Embedding("glim", (torch.full((1, TINY.texts[0].width), float(number)),))
        Path(str(number)).mkdir()
        save_embedding(glim, f"{number}/glim.safetensors")
    with_both = ("--refiner", model, "--embedding", "1/glim.safetensors")
    fromnoise("a glim", "--model", model, *with_both, "--seed", "1", *FAST)
    assert "warning" not in fromnoise("replay", "glim-1.png", "--model", model, *with_both).err
    others = ("--refiner", "other.safetensors", "--embedding", "2/glim.safetensors")
    said = fromnoise("replay", "glim-1.png", "--model", model, *others).err
    assert "another refiner drew this one" in said
    assert "another embedding glim drew this one" in said


def test_a_record_from_before_is_replayed(fromnoise: FromNoise, model: Path) -> None:
    drawn = fromnoise("a hill", "--model", model, "--seed", "1", *FAST)
    request = json.dumps(read_record(drawn.paths[0])["request"])
    old = write_png("old.png", fromnoise=f'{{"request": {request}, "model": "tiny"}}')
    done = fromnoise("replay", old, "--model", model, "--enlarge", "1")
    assert done.paths[0].read_bytes() == drawn.paths[0].read_bytes()


def test_a_samplers_name_brings_its_spacing_to_a_replay(fromnoise: FromNoise, model: Path) -> None:
    fromnoise("a hill", "--model", model, "--seed", "1", "--spacing", "uniform", *FAST)
    for words, spacing in ((("Euler Karras",), "karras"), (("Euler",), "uniform")):
        done = fromnoise("replay", "hill-1.png", "--model", model, "--sampler", *words, "--dry-run")
        assert json.loads(done.out)["spacing"] == spacing


FOREIGN = "a cat\n\x1b[2Jon a mat\nSteps: 2, Sampler: DPM++ 2M SDE, CFG scale: 7, Seed: 3, Size: 16x24"


def test_a_word_that_is_not_ours_is_shown_and_can_be_overridden(fromnoise: FromNoise, model: Path) -> None:
    path = write_png("theirs.png", parameters=FOREIGN)
    told = fromnoise("info", path)
    assert (told.code, "\x1b" in told.out, "?[2Jon a mat" in told.out) == (0, False, True)
    assert "problem  sampler: 'DPM++ 2M SDE' is unknown" in told.out
    assert json.loads(fromnoise("info", path, "--json").out)["text"] == FOREIGN
    assert "sampler: 'DPM++ 2M SDE' is unknown" in fromnoise("replay", path, "--model", model).err
    done = fromnoise("replay", path, "--model", model, "--sampler", "euler")
    request = read_request(done.paths[0])
    assert (request.sampler, request.seeds, request.width) == ("euler", (3,), 16)


def test_what_a_stranger_wrote_does_not_command_the_terminal(fromnoise: FromNoise) -> None:
    beside = {"model": "\x1b[2J", "hashes": {"\x1b[2J": "12"}}
    for negative in ("\ud83d", "\x9b"):  # half a character is refused, and shown raw
        request = {"prompt": "one\ntwo \x1b]0;x\x07", "negative": negative}
        path = write_png("odd.png", fromnoise=json.dumps(beside | {"request": request}))
        told = fromnoise("info", path)
        assert (told.code, {*"\x1b\x07\x9b\ud83d"} & {*told.out}) == (0, set())
    assert [line.split(None, 1)[-1] for line in told.out.splitlines()[:2]] == ["one", "?]0;x?"]
