"""Weights of 8 bits, plain and scaled, as files keep them: read as the numbers that they stand for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from on_disk import State, as_checkpoint, know_small_families, small, small_parts, write_checkpoint
from safetensors.torch import save_file
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.specs import SD15
from fromnoise.weights.model_loader import load_model
from fromnoise.weights.native import Parts
from fromnoise.weights.scaled import FLOAT8
from fromnoise.weights.stored import open_weights
from fromnoise.weights.supply import Supply

P = "model.diffusion_model."
E4M3 = torch.float8_e4m3fn
WEIGHT = torch.tensor([[1.0, -2.0], [0.5, 448.0]])
HALVED = {"x.weight": WEIGHT.to(E4M3), "x.scale_weight": torch.tensor(0.5)}


def saved(path: Path, state: State, **metadata: Any) -> Path:
    said = {name: text if isinstance(text, str) else json.dumps(text) for name, text in metadata.items()}
    save_file(state, path, said or None)
    return path


def mark(**facts: Any) -> Tensor:
    return torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8)


SCALED: dict[str, tuple[State, Tensor]] = {
    "by one number": (HALVED, WEIGHT / 2),
    "by a list of one number": (HALVED | {"x.scale_weight": torch.tensor([0.5])}, WEIGHT / 2),
    "by one number in bfloat16": (
        HALVED | {"x.scale_weight": torch.tensor(0.5, dtype=torch.bfloat16)},
        WEIGHT / 2,
    ),
    "row by row": (
        HALVED | {"x.scale_weight": torch.tensor([2.0, 0.5])},
        WEIGHT * torch.tensor([[2.0], [0.5]]),
    ),
    "row by row, upright": (
        HALVED | {"x.scale_weight": torch.tensor([[2.0], [0.5]])},
        WEIGHT * torch.tensor([[2.0], [0.5]]),
    ),
    "by the younger name": (
        {"x.weight": WEIGHT.to(E4M3), "x.weight_scale": torch.tensor(0.5), "x.input_scale": torch.tensor(3.0)}
        | {"x.comfy_quant": mark(format="float8_e4m3fn", full_precision_matrix_mult=True)},
        WEIGHT / 2,
    ),
    "with all its marks": (
        HALVED | {"x.scale_input": torch.tensor(3.0), "scaled_fp8": torch.zeros(2, dtype=E4M3)},
        WEIGHT / 2,
    ),
    "as integers, row by row": (
        {"x.weight": torch.tensor([[127, -3], [1, 0]], dtype=torch.int8)}
        | {"x.weight_scale": torch.tensor([0.5, 2.0])},
        torch.tensor([[63.5, -1.5], [2.0, 0.0]]),
    ),
    "in the other format": (
        HALVED | {"x.weight": torch.tensor([49152.0]).to(torch.float8_e5m2)},
        torch.tensor([24576.0]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("way", SCALED)
def test_scaled_weights_are_multiplied_when_they_are_read(tmp_path: Path, way: str, suffix: str) -> None:
    state, wanted = SCALED[way]
    path = write_checkpoint({**state, "y.bias": torch.ones(3)}, tmp_path / f"x{suffix}")
    with open_weights(path) as stored:
        assert stored.shapes == {"x.weight": tuple(wanted.shape), "y.bias": (3,)}
        assert stored.dtypes == {"x.weight": torch.float32, "y.bias": torch.float32}
        assert stored.scaled == {"x.weight": state["x.weight"].dtype}
        assert torch.equal(stored.read("x.weight"), wanted)
        assert torch.equal(stored.read("y.bias"), torch.ones(3))
        assert "scales of 8-bit weights (1, multiplied in)" in stored.dropped
        supply = Supply()
        with supply.files:
            supply.add(stored)
            assert torch.equal(supply.tensor("x.weight"), wanted)
            assert b"".join(supply.pieces("x.weight")) == wanted.numpy().tobytes()
            assert torch.equal(supply.tensor("y.bias"), torch.ones(3))


def test_a_folder_is_multiplied_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    saved(tmp_path / "diffusion_pytorch_model.safetensors", HALVED)
    with open_weights(tmp_path) as stored:
        assert torch.equal(stored.read("x.weight"), WEIGHT / 2)


UNTOUCHED: dict[str, State] = {
    "a scale without a weight": {"x.scale_weight": torch.tensor(0.5)},
    "a scale of what is no float8": {"x.weight": torch.ones(2), "x.scale_weight": torch.tensor(0.5)},
    "a scale of another shape": HALVED | {"x.scale_weight": torch.ones(2, 2)},
    "a scale of whole numbers": HALVED | {"x.scale_weight": torch.tensor(2)},
    "a mark that asks for more": HALVED | {"x.comfy_quant": mark(format="float8_e4m3fn", convrot=True)},
    "a mark of another format": HALVED | {"x.comfy_quant": mark(format="mxfp8")},
    "a mark that makes no sense": HALVED | {"x.comfy_quant": torch.full((9,), 200, dtype=torch.uint8)},
    "a mark without end": HALVED | {"x.comfy_quant": torch.full((2000,), 91, dtype=torch.uint8)},
    "a mark of numbers": HALVED | {"x.comfy_quant": torch.ones(2)},
}


@pytest.mark.parametrize("what", UNTOUCHED)
def test_what_is_scaled_in_another_way_is_left_as_it_is(tmp_path: Path, what: str) -> None:
    state = UNTOUCHED[what]
    with open_weights(saved(tmp_path / "x", state)) as stored:
        assert stored.scaled == {}
        assert stored.shapes.keys() == state.keys()


LAYER = {"format": "float8_e4m3fn"}


@pytest.mark.parametrize(
    ("said", "scaled"),
    [
        ({"layers": {"x": LAYER}}, True),
        ({"layers": {"x": LAYER, "y": {"format": "nvfp4"}}}, False),
        ({"layers": {"x": {**LAYER, "convrot": True}}}, False),
        ({"layers": []}, False),
        ("[" * 100_000, False),
        ("{", False),
    ],
)
def test_metadata_may_say_of_all_layers_how_they_are_scaled(tmp_path: Path, said: Any, scaled: bool) -> None:
    with open_weights(saved(tmp_path / "x", HALVED, _quantization_metadata=said, b="c")) as stored:
        assert bool(stored.scaled) == scaled
        if scaled:  # it is true no more
            assert stored.metadata == {"b": "c"}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_scale_that_is_no_number_is_named(tmp_path: Path, bad: float) -> None:
    path = saved(tmp_path / "x", HALVED | {"x.scale_weight": torch.tensor(bad)})
    said = r"^x is damaged: x\.scale_weight holds NaN or infinity$"
    with open_weights(path) as stored, pytest.raises(WeightsError, match=said):
        stored.read("x.weight")


# --- whole models ---


@pytest.fixture(scope="module")
def sd1() -> Parts:
    return small_parts(small(SD15))


@pytest.fixture(autouse=True)
def small_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know_small_families(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def in_float8(state: State, dtype: torch.dtype) -> tuple[State, State]:
    """A checkpoint whose U-Net is in scaled float8, as ComfyUI writes it; and what it stands for."""
    written, meant = dict(state), {name: tensor.float() for name, tensor in state.items()}
    for name, tensor in state.items():
        if name.startswith(P) and name.endswith(".weight") and tensor.dim() == 2:
            scale = tensor.float().abs().amax() / torch.finfo(dtype).max
            written[name] = (tensor.float() / scale).to(dtype)
            written[name.removesuffix("weight") + "scale_weight"] = scale
            meant[name] = written[name].float() * scale
    written[f"{P}scaled_fp8"] = torch.zeros(0, dtype=dtype)
    return written, meant


@pytest.mark.parametrize("wanted", [torch.float32, torch.float16])
@pytest.mark.parametrize("dtype", FLOAT8)
def test_a_model_of_scaled_float8_is_the_model_that_it_stands_for(
    tmp_path: Path, sd1: Parts, dtype: torch.dtype, wanted: torch.dtype
) -> None:
    written, meant = in_float8(as_checkpoint(sd1, "sd1"), dtype)
    one = load_model(write_checkpoint(written, tmp_path / "scaled.safetensors"), dtype=wanted)
    other = load_model(write_checkpoint(meant, tmp_path / "meant.safetensors"), dtype=wanted)
    ours, theirs = one.state(), other.state()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    weight = "unet.down.1.1.blocks.0.self_attention.to_q.weight"
    true = sd1.state()[weight]
    assert (ours[weight].float() - true).norm() / true.norm() < 0.05  # a float8 keeps one or two digits


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("dtype", FLOAT8)
def test_plain_float8_is_read_as_it_is(tmp_path: Path, sd1: Parts, dtype: torch.dtype, suffix: str) -> None:
    state = as_checkpoint(sd1, "sd1", dtype)
    loaded = load_model(write_checkpoint(state, tmp_path / f"plain{suffix}"))
    wanted = as_checkpoint(replace(sd1, unet=loaded.unet), "sd1", torch.float32)
    assert all(
        torch.equal(tensor.float(), wanted[name]) for name, tensor in state.items() if name.startswith(P)
    )
