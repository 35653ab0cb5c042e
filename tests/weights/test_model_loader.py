from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from on_disk import same

from fromnoise import weights
from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.loading import load
from fromnoise.specs import TINY
from fromnoise.weights import model_loader
from fromnoise.weights.model_loader import find_device, find_dtype, load_model
from fromnoise.weights.native import Parts, save_native


@pytest.fixture
def shipped(tmp_path: Path, tiny_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TINY in the place of the embedded model."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    save_native(tiny_parts, folder / "model.safetensors")
    digest = sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "model.sha256").write_text(f"{digest}  model.safetensors\n")
    monkeypatch.setattr(model_loader, "FOLDER", folder)
    return folder


def test_the_embedded_model_needs_no_name(shipped: Path) -> None:
    assert load_model().spec == load_model("embedded").spec == TINY
    pipeline = load()
    assert repr(pipeline) == "Pipeline('tiny' on cpu, float32)"
    assert pipeline.load_seconds > 0
    assert load(dtype="bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize("file", ["model.safetensors", "model.sha256"])
def test_an_embedded_model_that_lacks_a_file_says_what_to_do(shipped: Path, file: str) -> None:
    (shipped / file).unlink()
    with pytest.raises(WeightsError, match=r"cannot be used: .*\n  hint: install fromnoise again"):
        load()


@pytest.mark.parametrize("where", [20, 5_000, -1])
def test_one_flipped_bit_in_the_embedded_model_is_noticed(shipped: Path, where: int) -> None:
    data = bytearray((shipped / "model.safetensors").read_bytes())
    data[where] ^= 1
    (shipped / "model.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match=r"cannot be used: model.safetensors is damaged: its SHA-256"):
        load()


def test_an_empty_checksum_is_no_checksum(shipped: Path) -> None:
    (shipped / "model.sha256").write_text("")
    with pytest.raises(WeightsError, match="cannot be used"):
        load()


def test_a_file_is_loaded_by_its_path(shipped: Path) -> None:
    assert load_model(shipped / "model.safetensors").spec == TINY
    assert load(str(shipped / "model.safetensors"))("a red house", steps=1).model == "tiny"


def test_what_is_not_there_is_a_matter_of_storage(tmp_path: Path) -> None:
    for name in ("magic", "x" * 4096, "a\0b"):
        with pytest.raises(StorageError, match="there is no model '"):
            load_model(name)
    (tmp_path / "model.ckpt").touch()
    with pytest.raises(WeightsError, match="is empty"):
        load_model(tmp_path / "model.ckpt")


def test_what_makes_no_sense_is_refused_before_anything_is_opened(shipped: Path) -> None:
    with pytest.raises(RequestError, match="prediction: 'epsilon' is unknown; did you mean 'eps'"):
        load_model(shipped / "model.safetensors", prediction="epsilon")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="ema: the embedded model has no use for it"):
        load_model(ema=True)


def test_the_prediction_of_our_own_file_can_be_overruled(shipped: Path) -> None:
    file = shipped / "model.safetensors"
    plain, overruled = load_model(file), load_model(file, prediction="v")
    assert overruled.spec == replace(plain.spec, prediction="v")
    assert overruled.tokenizers == plain.tokenizers
    assert overruled.sha256 == plain.sha256 != ""
    assert same(overruled, plain)


def test_the_type_follows_the_device_unless_it_is_given() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [find_dtype("auto", cpu), find_dtype("auto", gpu)] == [torch.float32, torch.float16]
    assert find_dtype("bfloat16", cpu) == torch.bfloat16
    assert find_device("cpu") == cpu
    assert find_device("auto").type in ("cpu", "cuda", "mps")


def test_the_embedded_folder_is_in_the_package() -> None:
    assert Path(weights.__file__).parent / "embedded" == model_loader.FOLDER
