"""`fromnoise models` says what is on the disk; `--model` takes every name that it says."""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FromNoise, Outcome
from safetensors.torch import save_file

from fromnoise.cli.models import model_folders
from fromnoise.weights.identity import Identity
from fromnoise.weights.native import Parts, save_native
from fromnoise.weights.stored import Stored

LAYER = "lora_unet_down_blocks_0_attentions_0_proj_in"
LORA = {f"{LAYER}.lora_down.weight": torch.zeros(1, 4), f"{LAYER}.lora_up.weight": torch.zeros(4, 1)}


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the person who runs the tests is looked at."""
    top = tmp_path_factory.mktemp("home")
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(name, str(top / name))
    for name in ("FROMNOISE_MODELS", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return top


@pytest.fixture
def webui(tmp_path: Path, tiny_parts: Parts) -> Path:
    """A model, and a few files that are none, as AUTOMATIC1111 keeps them."""
    models = tmp_path / "webui" / "models" / "Stable-diffusion"
    models.mkdir(parents=True)
    save_native(tiny_parts, models / "tiny_one.safetensors")
    save_file(LORA, models / "style.safetensors")
    (models / "cut.ckpt").write_bytes(b"<!doctype html>")
    return tmp_path / "webui"


def records(outcome: Outcome) -> dict[str, dict[str, Any]]:
    assert outcome.code == 0
    return {record["name"]: record for record in map(json.loads, outcome.out.splitlines())}


def test_models_are_listed_and_the_rest_is_counted(fromnoise: FromNoise, webui: Path) -> None:
    found = fromnoise("models", "--models-dir", webui)
    assert found.code == 0
    (line,) = found.out.splitlines()
    assert line.split()[:5] == ["tiny_one", "model", "tiny", "eps", "float16"]
    assert line.endswith("tiny_one.safetensors")
    assert "not shown: 1 unreadable, 1 LoRA; --all shows them" in found.err
    everything = fromnoise("models", "--models-dir", webui, "--all")
    assert len(everything.out.splitlines()) == 3
    assert "cut: cut.ckpt is a web page: the download went wrong" in everything.err


def test_what_we_stumble_over_hides_no_other_file(
    fromnoise: FromNoise, webui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fromnoise.weights import detect

    def stumbles(stored: Stored) -> Identity:
        return 1 // 0 if stored.name == "style.safetensors" else right(stored)  # type: ignore[return-value]

    right = detect.detect
    monkeypatch.setattr(detect, "detect", stumbles)
    found = records(fromnoise("models", "--models-dir", webui, "--json", "--all"))
    assert found["tiny_one"]["usable"]
    assert found["style"]["kind"] == "unreadable"
    assert found["style"]["problem"].startswith("ZeroDivisionError: ")
    assert "this is our mistake" in found["style"]["problem"]


def test_a_name_that_is_no_text_hides_no_other_file(fromnoise: FromNoise, webui: Path) -> None:
    models = webui / "models" / "Stable-diffusion"
    (models / "cut.ckpt").rename(models / os.fsdecode(b"\xff.ckpt"))
    found = fromnoise("models", "--models-dir", webui, "--all")
    assert found.code == 0
    assert len(found.out.splitlines()) == 3


def test_a_run_is_unpacked_from_a_name(
    fromnoise: FromNoise, webui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROMNOISE_MODELS", str(webui))
    done = fromnoise("train", "unpack", "run", "--tiny", "--model", "tiny_one")
    assert done.code == 3
    assert "of tiny has another shape than this run's" in done.err


def test_json_has_everything(fromnoise: FromNoise, webui: Path) -> None:
    file = webui / "models" / "Stable-diffusion" / "tiny_one.safetensors"
    (record,) = records(fromnoise("models", "--models-dir", webui, "--json")).values()
    assert record["path"] == str(file)
    assert (record["kind"], record["program"], record["dtype"]) == ("model", "AUTOMATIC1111", "float16")
    assert (record["bytes"], record["sha256"]) == (file.stat().st_size, "")
    (record,) = records(fromnoise("models", "--models-dir", webui, "--json", "--hash")).values()
    digest = sha256(file.read_bytes()).hexdigest()
    assert record["sha256"] == digest
    (record,) = records(fromnoise("models", digest[:10], "--models-dir", webui, "--json")).values()
    assert record["path"] == str(file)


def test_a_name_shows_what_it_stands_for(fromnoise: FromNoise, webui: Path) -> None:
    found = records(fromnoise("models", "style", "--models-dir", webui, "--json"))
    assert found["style"]["kind"] == "LoRA"
    missing = fromnoise("models", "tiny_two", "--models-dir", webui)
    assert missing.code == 5
    assert "there is no model 'tiny_two'\n  hint: did you mean 'tiny_one'?" in missing.err


def test_where_there_is_nothing_it_says_where_it_looked(fromnoise: FromNoise, home: Path) -> None:
    found = fromnoise("models")
    assert (found.code, found.out) == (0, "")
    assert str(home) in found.err
    assert "FROMNOISE_MODELS" in found.err
    assert fromnoise("models", "--models-dir", "nowhere").code == 2


def test_a_name_draws(fromnoise: FromNoise, webui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = fromnoise(
        "a red house", "--model", "tiny_o", "--models-dir", webui, "--steps", "1", "--seed", "1"
    )
    assert drawn.code == 0
    (path,) = drawn.paths
    before = path.read_bytes()
    (again,) = drawn.again
    assert f"--model {webui}/models/Stable-diffusion/tiny_one.safetensors" in again
    monkeypatch.setenv("FROMNOISE_MODELS", str(webui))
    (other,) = fromnoise("a red house", "--model", "tiny_one", "--steps", "1", "--seed", "1").paths
    assert other.read_bytes() == before
    missing = fromnoise("a red house", "--model", "tiny_two")
    assert (missing.code, missing.out) == (5, "")
    assert "did you mean 'tiny_one'?" in missing.err


def test_the_prediction_can_be_overruled(fromnoise: FromNoise, webui: Path) -> None:
    file = webui / "models" / "Stable-diffusion" / "tiny_one.safetensors"
    drawing = ("a red house", "--model", file, "--steps", "1", "--seed", "1")
    plain, other = fromnoise(*drawing), fromnoise(*drawing, "--prediction", "v")
    assert plain.code == other.code == 0
    assert plain.paths[0].read_bytes() != other.paths[0].read_bytes()
    assert "--prediction v" in other.again[0]
    wrong = fromnoise(*drawing, "--prediction", "velocity")
    assert wrong.code == 2
    assert "prediction: 'velocity' is unknown" in wrong.err
    averages = fromnoise(*drawing, "--ema")
    assert averages.code == 3
    assert "no running average" in averages.err


def test_folders_of_the_environment_come_between_ours_and_those_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROMNOISE_MODELS", os.pathsep.join([str(home / "a"), str(home / "b"), ""]))
    monkeypatch.setenv("HF_HOME", f"{home}/hf")
    found = model_folders([Path("named")])
    assert found[:3] == (Path("named"), home / "a", home / "b")
    assert found[3].parts[-2:] == ("fromnoise", "models")
    assert found[4:] == (home / "hf",)
    monkeypatch.setenv("HF_HUB_CACHE", f"{home}/hub")
    assert model_folders()[-1] == home / "hub"
