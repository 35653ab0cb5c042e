import json
import os
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fromnoise.errors import StorageError, WeightsError
from fromnoise.images.pixels import to_pixels
from fromnoise.pipeline import Pipeline
from fromnoise.specs import TINY
from fromnoise.weights.inspection import inspect
from fromnoise.weights.model_loader import load_model
from fromnoise.weights.native import FORMAT, HEADER, WITH_BYTES, Parts, load_native, save_native

Change = Callable[[dict[str, Tensor], dict[str, Any]], None]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_parts: Parts) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_native(replace(tiny_parts, about={"author": "us"}), path)
    return path


def changed(source: Path, target: Path, change: Change) -> Path:
    """The same file with its tensors or its header tampered with."""
    tensors = load_file(source)
    with safe_open(source, framework="pt") as file:
        header = json.loads(file.metadata()["fromnoise"])
    change(tensors, header)
    save_file(tensors, target, metadata={"fromnoise": json.dumps(header)})
    return target


def test_saving_as_float32_and_loading_changes_nothing(tmp_path: Path, tiny_parts: Parts) -> None:
    save_native(tiny_parts, tmp_path / "tiny.safetensors", dtype=torch.float32)
    loaded = load_native(tmp_path / "tiny.safetensors")
    assert (loaded.spec, loaded.tokenizers) == (tiny_parts.spec, tiny_parts.tokenizers)
    states = tiny_parts.state(), loaded.state()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    drawn = [Pipeline.of(parts)("a red house", steps=1).pictures for parts in (tiny_parts, loaded)]
    assert drawn[0] == drawn[1]


def test_a_model_is_stored_in_half_the_bytes_and_computes_in_float32(model: Path, tiny_parts: Parts) -> None:
    loaded = load_native(model)
    assert {tensor.dtype for tensor in load_file(model).values()} == {torch.float16}
    assert {tensor.dtype for tensor in loaded.state().values()} == {torch.float32}
    half = load_native(model, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in half.state().values()} == {torch.bfloat16}
    found = loaded.state()
    for key, tensor in tiny_parts.state().items():
        assert torch.equal(found[key], tensor.half().float())


# --- weights as bytes ---


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, tiny_parts: Parts) -> Path:
    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    save_native(tiny_parts, path, small=True)
    return path


def test_a_small_file_keeps_each_row_in_127_steps(small: Path, tiny_parts: Parts) -> None:
    held, loaded = load_file(small), load_native(small).state()
    assert loaded.keys() == tiny_parts.state().keys()
    bytes_ = {name for name, tensor in held.items() if tensor.dtype == torch.int8}
    for key, tensor in tiny_parts.state().items():
        large = tensor.dim() > 1 and key.endswith(".weight") and key.split(".")[0] in ("unet", "texts")
        assert (key in bytes_) == large
        if large:
            step = tensor.flatten(1).abs().amax(1) / 127
            off = (loaded[key] - tensor).flatten(1).abs().amax(1)
            assert (off <= 0.501 * step).all()
        else:
            assert torch.equal(loaded[key], tensor.half().float())


def test_a_small_file_is_small_and_draws_nearly_the_same(small: Path, model: Path, tiny_parts: Parts) -> None:
    weights = [t for name, t in load_file(small).items() if not name.startswith(("encoder", "decoder"))]
    plain = [t for name, t in load_file(model).items() if not name.startswith(("encoder", "decoder"))]
    size, full = (sum(t.numel() * t.element_size() for t in each) for each in (weights, plain))
    assert size < 0.6 * full
    drawn = [
        to_pixels(Pipeline.of(parts)("a red house", steps=2).pictures[0])
        for parts in (tiny_parts, load_native(small))
    ]
    assert 0 < (drawn[0] - drawn[1]).abs().mean() < 0.02


def test_a_row_of_zeros_stays_one(tmp_path: Path, tiny_parts: Parts) -> None:
    parts = deepcopy(tiny_parts)
    with torch.no_grad():
        parts.unet.state_dict()["leave.weight"].zero_()
    save_native(parts, tmp_path / "zero.safetensors", small=True)
    assert not load_native(tmp_path / "zero.safetensors").unet.state_dict()["leave.weight"].any()


def test_bytes_without_their_scale_are_refused(tmp_path: Path, small: Path) -> None:
    def unscaled(tensors: dict[str, Tensor], _: dict[str, Any]) -> None:
        del tensors["unet.leave.weight_scale"]

    with pytest.raises(WeightsError, match=r"'unet\.leave\.weight' in .* in bytes, and its scale"):
        load_native(changed(small, tmp_path / "changed.safetensors", unscaled))


def test_a_loaded_model_is_ready_to_draw(model: Path) -> None:
    loaded = load_native(model)
    assert not any(module.training for _, module in loaded.modules())
    assert not any(
        p.requires_grad or p.is_meta for _, module in loaded.modules() for p in module.parameters()
    )
    assert not any(buffer.is_meta for _, module in loaded.modules() for buffer in module.buffers())
    assert dict(loaded.about) == {"author": "us"}
    result = Pipeline.of(loaded)("a red house", steps=1)
    assert result.model_hash == loaded.sha256 != ""


def test_loading_imports_nothing_that_is_heavy(model: Path) -> None:
    code = "import sys; from fromnoise.weights.native import load_native; load_native(sys.argv[1])"
    code += "; print({'sympy', 'torch._inductor'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_the_same_model_is_the_same_file(tmp_path: Path, tiny_parts: Parts) -> None:
    for name in ("a", "b"):
        save_native(tiny_parts, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_are_named_by_room(model: Path) -> None:
    rooms = {key.split(".")[0] for key in load_file(model)}
    assert rooms == {"texts", "unet", "encoder", "decoder"}


def drop_one(tensors: dict[str, Tensor], _: dict[str, Any]) -> None:
    del tensors["unet.leave.bias"]


def add_one(tensors: dict[str, Tensor], _: dict[str, Any]) -> None:
    tensors["unet.extra"] = torch.zeros(1)


def reshape_one(tensors: dict[str, Tensor], _: dict[str, Any]) -> None:
    tensors["decoder.leave.bias"] = torch.zeros(4)


def newer(_: dict[str, Tensor], header: dict[str, Any]) -> None:
    header["format"] = WITH_BYTES + 1


def no_spec(_: dict[str, Tensor], header: dict[str, Any]) -> None:
    del header["spec"]


def odd_tokenizers(_: dict[str, Tensor], header: dict[str, Any]) -> None:
    header["tokenizers"] = 3


def strange_spec(_: dict[str, Tensor], header: dict[str, Any]) -> None:
    header["spec"]["colour"] = "red"


def false_spec(_: dict[str, Tensor], header: dict[str, Any]) -> None:
    header["spec"]["unet"]["base_width"] = "wide"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_one, "lacks 1 of .* tensors, first: 'unet.leave.bias'"),
        (add_one, "holds 1 tensors that its spec has no place for, first: 'unet.extra'"),
        (reshape_one, r"'decoder.leave.bias' in .* has the shape \(4,\), not \(3,\)"),
        (newer, "has format 3, not 1 or 2"),
        (no_spec, "is damaged: it lacks 'spec'"),
        (odd_tokenizers, "is damaged: its 'tokenizers' is of the wrong type"),
        (strange_spec, "ModelSpec has no field 'colour'"),
        (false_spec, "describes no model we can build"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, model: Path, change: Change, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_native(changed(model, tmp_path / "changed.safetensors", change))


HOSTILE: dict[str, tuple[Any, str]] = {
    "many layers": ({"name": "x", "texts": [{"layers": 10**9}]}, "layers is 1000000000, which no model has"),
    "many blocks": ({"name": "x", "vae": {"blocks": 10**6}}, "number of blocks is 8,000,004"),
    "deep": ({"name": "x", "unet": {"mid": 10**6}}, "number of layers in a transformer is 1,000,000"),
    "wide": (
        {"name": "x", "unet": {"base_width": 32 * 10**5, "multipliers": [10**6] * 4}},
        "describes no model",
    ),
    "no object": ([], "its 'spec' is of the wrong type"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_small_file_cannot_ask_for_a_huge_model(tmp_path: Path, what: str) -> None:
    spec, said = HOSTILE[what]
    header = {"format": FORMAT, "spec": spec, "tokenizers": [], "about": {}}
    path = tmp_path / "x.safetensors"
    save_file({"v_pred": torch.zeros(1)}, path, {HEADER: json.dumps(header)})
    for read in (load_native, load_model):
        with pytest.raises(WeightsError, match=rf"x.safetensors .*{said}"):
            read(path)
    found = inspect(path, quick=True)
    assert not found.fit.is_perfect
    assert found.identity is not None


@pytest.mark.parametrize("keep", [0, 4, 100, 3000, -1])
def test_a_file_cut_short_is_damaged(tmp_path: Path, model: Path, keep: int) -> None:
    (tmp_path / "cut.safetensors").write_bytes(model.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"cut.safetensors is damaged"):
        load_native(tmp_path / "cut.safetensors")


def test_someone_elses_safetensors_file_is_not_ours(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="not a fromnoise model"):
        load_native(tmp_path / "x.safetensors")


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    for text in ("", "{", "[]", "3", '{"format":' + "[" * 100_000):
        save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", metadata={"fromnoise": text})
        with pytest.raises(WeightsError, match=r"header of x.safetensors is damaged"):
            load_native(tmp_path / "x.safetensors")


def test_a_false_checksum_is_refused_before_anything_is_read(model: Path) -> None:
    with pytest.raises(WeightsError, match=r"its SHA-256 is .* not 000000000000"):
        load_native(model, sha256="0" * 64)
    assert load_native(model, sha256=load_native(model).sha256).spec == TINY


def test_numbers_too_large_for_the_file_are_refused(tmp_path: Path, tiny_parts: Parts) -> None:
    parts = replace(tiny_parts, decoder=type(tiny_parts.decoder)(TINY.vae))
    torch.nn.init.constant_(parts.decoder.leave.bias, 1e6)
    with pytest.raises(WeightsError, match=r"decoder\.leave\.bias .* not finite as torch\.float16"):
        save_native(parts, tmp_path / "tiny.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, tiny_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.safetensors").write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="No space left"):
        save_native(tiny_parts, tmp_path / "tiny.safetensors")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_folder_that_is_missing_is_a_matter_of_storage(tmp_path: Path, tiny_parts: Parts) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        save_native(tiny_parts, tmp_path / "no" / "tiny.safetensors")
    with pytest.raises(StorageError, match="cannot read"):
        load_native(tmp_path / "no.safetensors")
