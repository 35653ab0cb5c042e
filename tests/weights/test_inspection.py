import json
from collections.abc import Callable
from hashlib import sha256
from math import inf, nan, prod
from pathlib import Path
from struct import pack

import pytest
import torch
from families import meta_state
from forgery import attacks, called, pickled, table, tensor, zipped
from on_disk import (
    FAMILIES,
    State,
    as_checkpoint,
    know_small_families,
    small,
    small_parts,
    with_averages,
    write_checkpoint,
    write_folder,
)
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from fromnoise.errors import WeightsError
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import SD15
from fromnoise.weights.finite import Broken
from fromnoise.weights.inspection import Amount, Inspection, inspect
from fromnoise.weights.key_rules import ldm_unet
from fromnoise.weights.mapped import TYPES
from fromnoise.weights.model_converter import flipped, translate
from fromnoise.weights.native import Parts, save_native
from fromnoise.weights.probe import probe
from fromnoise.weights.suspects import suspects

UNET, TEXT = "model.diffusion_model", "cond_stage_model.transformer.text_model"


@pytest.fixture(autouse=True)
def _small_families(monkeypatch: pytest.MonkeyPatch) -> None:
    know_small_families(monkeypatch)


@pytest.fixture(scope="session")
def sd1() -> Parts:
    """The structure of SD 1.x, narrow, with texts as wide as its own."""
    return small_parts(small(FAMILIES["sd1"]))


@pytest.fixture
def looked_at(tmp_path: Path) -> Callable[..., Inspection]:
    def look(state: State, quick: bool = False) -> Inspection:
        return inspect(write_checkpoint(state, tmp_path / "model.safetensors"), quick=quick)

    return look


def test_a_whole_model_is_told_with_all_that_proves_it(tmp_path: Path, sd1: Parts) -> None:
    path = write_checkpoint(as_checkpoint(sd1, "sd1"), tmp_path / "model.ckpt")
    found = inspect(path)
    assert found.identity
    assert (found.container, found.identity.family, found.identity.layout) == ("zip", "sd1", "ldm:sd1")
    assert found.identity.spec
    assert found.identity.spec.unet == sd1.spec.unet
    (file,) = found.files
    digest = sha256(path.read_bytes()).hexdigest()
    assert (file.bytes, file.sha256, file.short) == (path.stat().st_size, digest, digest[:10])
    assert {n.place: n.parameters for n in found.networks} == {
        UNET: numbers(sd1.unet),
        "first_stage_model": numbers(sd1.encoder) + numbers(sd1.decoder),
        "cond_stage_model.transformer": numbers(sd1.texts[0]),
    }
    total = sum(map(numbers, (sd1.unet, sd1.encoder, sd1.decoder, sd1.texts[0])))
    assert found.dtypes == {"float16": Amount(len(as_checkpoint(sd1, "sd1")), total)}
    assert (found.broken, found.averages.tensors, found.left_out, found.refused) == ((), 0, (), "")
    assert found.fit.is_perfect
    assert found.metadata == {"global_step": "7"}


def numbers(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.state_dict().values())


def test_a_folder_is_told_file_by_file(tmp_path: Path, sd1: Parts) -> None:
    found = inspect(write_folder(sd1, tmp_path / "sd", variant="fp16"))
    assert found.identity
    assert (found.container, found.identity.layout, found.fit.is_perfect) == ("folder", "diffusers", True)
    assert [Path(file.path).parent.name for file in found.files] == ["unet", "vae", "text_encoder"]
    for file in found.files:
        assert file.sha256 == sha256(Path(file.path).read_bytes()).hexdigest()
    assert found.metadata["variant"] == "unet fp16, vae fp16, text_encoder fp16"


def test_a_model_of_ours_is_told(tmp_path: Path, tiny_parts: Parts) -> None:
    save_native(tiny_parts, tmp_path / "m")
    found = inspect(tmp_path / "m")
    assert found.identity
    assert (found.identity.layout, found.identity.spec) == ("ours", tiny_parts.spec)
    assert {n.place: n.parameters for n in found.networks} == {
        name: numbers(module) for name, module in tiny_parts.modules()
    }
    assert found.fit.is_perfect
    assert (found.metadata, found.probe) == ({}, None)


def test_quick_reads_names_only(tmp_path: Path, sd1: Parts) -> None:
    """SD 1.x at full size, in a file that takes no space on the disk."""
    state = translate(meta_state(SD15.unet), flipped(ldm_unet()), source="ours")
    path = sparse({name: tuple(each.shape) for name, each in state.items()}, tmp_path / "x.safetensors")
    found = inspect(path, quick=True)
    assert found.identity
    assert (found.identity.kind, found.identity.family) == ("U-Net", "sd1")
    assert [(n.title, n.parameters) for n in found.networks] == [("U-Net", 859_520_964)]
    assert found.dtypes == {"float16": Amount(686, 859_520_964)}
    assert (found.fit.is_perfect, found.broken, found.probe, found.files[0].sha256) == (True, None, None, "")


def sparse(shapes: dict[str, tuple[int, ...]], path: Path) -> Path:
    header, at = dict[str, object](), 0
    for name, shape in shapes.items():
        size = 2 * prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    path.write_bytes(pack("<Q", len(raw)) + raw)
    with path.open("r+b") as file:
        file.truncate(8 + len(raw) + at)
    return path


# --- what is wrong ---


def test_tensors_with_nan_and_infinity_are_named_and_counted(
    looked_at: Callable[..., Inspection], sd1: Parts
) -> None:
    state = as_checkpoint(sd1, "sd1")
    state[f"{UNET}.out.2.bias"][:] = torch.tensor([nan, inf, -inf, nan])
    state[f"{TEXT}.final_layer_norm.bias"][5] = -inf
    found = looked_at(state)
    assert found.broken
    assert sorted(found.broken, key=lambda each: each.name) == [
        Broken(f"{TEXT}.final_layer_norm.bias", 0, 1),
        Broken(f"{UNET}.out.2.bias", 2, 2),
    ]
    assert found.probe is None, "such a network cannot answer"


def test_every_type_of_numbers_is_looked_at(tmp_path: Path) -> None:
    state = {kind: torch.zeros(16, dtype=torch.uint8).view(dtype) for kind, dtype in TYPES.items()}
    save_file(state, tmp_path / "good")
    assert inspect(tmp_path / "good").broken == ()
    state = {kind: each for kind, each in state.items() if each.is_floating_point() or each.is_complex()}
    for each in state.values():  # all bits set is NaN in all of these, but for one in which the sign alone is
        each.view(torch.uint8)[:] = 0x80 if each.dtype in FNUZ else 0xFF
    save_file(state, tmp_path / "bad")
    broken = inspect(tmp_path / "bad").broken
    assert broken is not None
    assert {each.name: each.nan for each in broken} == {kind: each.numel() for kind, each in state.items()}


FNUZ = (torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)


def test_sums_that_overflow_are_no_fault(tmp_path: Path) -> None:
    save_file(
        {"x": torch.full((9,), 3e38), "y": torch.full((9,), 1.7e308, dtype=torch.float64)}, tmp_path / "x"
    )
    assert inspect(tmp_path / "x").broken == ()


def test_unknown_and_missing_tensors_are_named_as_the_file_names_them(
    looked_at: Callable[..., Inspection], sd1: Parts
) -> None:
    state = as_checkpoint(sd1, "sd1") | {f"{UNET}.strange.weight": torch.ones(2)}
    del state[f"{UNET}.out.2.bias"], state["first_stage_model.decoder.conv_out.bias"]
    state[f"{TEXT}.final_layer_norm.bias"] = torch.ones(7).half()
    fit = looked_at(state, quick=True).fit
    assert fit.unknown == (f"{UNET}.strange.weight",)
    assert sorted(fit.missing) == ["first_stage_model.decoder.conv_out.bias", f"{UNET}.out.2.bias"]
    assert fit.misshapen == (f"{TEXT}.final_layer_norm.bias",)
    assert not fit.is_perfect


def test_a_tensor_of_a_model_of_ours_that_does_not_belong_is_named(tmp_path: Path, tiny_parts: Parts) -> None:
    save_native(tiny_parts, tmp_path / "m")
    with safe_open(tmp_path / "m", framework="pt") as file:
        state, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    state["unet.leave.bios"] = state.pop("unet.leave.bias")
    save_file(state, tmp_path / "odd", metadata)
    fit = inspect(tmp_path / "odd").fit
    assert (fit.unknown, fit.missing) == (("unet.leave.bios",), ("unet.leave.bias",))
    strays = {"v_pred": torch.zeros(1), "texts": torch.zeros(1)}  # of no room at all
    save_file(state | strays, tmp_path / "odd", metadata)
    assert set(inspect(tmp_path / "odd").fit.unknown) == {"texts", "unet.leave.bios", "v_pred"}


def test_a_text_encoder_of_another_family_is_left_out_of_the_comparison(
    looked_at: Callable[..., Inspection], sd1: Parts
) -> None:
    other = {"other.text_model.encoder.layers.0.layer_norm1.weight": torch.zeros(9)}
    fit = looked_at(as_checkpoint(sd1, "sd1") | other, quick=True).fit
    assert fit.is_perfect


def test_what_is_left_out_is_counted_with_the_reason(
    looked_at: Callable[..., Inspection], sd1: Parts
) -> None:
    state = with_averages(as_checkpoint(sd1, "sd1"), 0.5)
    del state["model_ema.diffusion_modelout2bias"]
    state |= {"betas": torch.zeros(3), "logvar": torch.zeros(3), "other.x": torch.zeros(1)}
    found = looked_at(state, quick=True)
    count = len(sd1.unet.state_dict()) - 1
    assert (found.averages.tensors, found.averages.lacking) == (count, 1)
    reasons = {group.reason: (group.count, group.first) for group in found.left_out}
    assert reasons["only training needs it"] == (1, ("logvar",))
    assert reasons["the running average of the U-Net's weights: a second copy"][0] == count
    assert ("other.x",) in [first for _, first in reasons.values()]
    assert found.fit.is_perfect


def test_what_cannot_be_used_is_inspected_all_the_same(looked_at: Callable[..., Inspection]) -> None:
    found = looked_at({
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.zeros(4, 8),
        "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": torch.zeros(8, 4),
    })  # fmt: skip
    assert found.identity
    assert (found.identity.kind, found.identity.spec, found.networks) == ("LoRA", None, ())
    assert found.identity.obstacle
    assert not found.fit.compared
    assert sum(group.count for group in found.left_out) == 2


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"<!doctype html>")
    with pytest.raises(WeightsError, match="x is a web page"):
        inspect(tmp_path / "x")
    (tmp_path / "x").write_bytes(zipped(pickled(table(x=tensor((5,))))))
    with pytest.raises(WeightsError, match="larger than the 4 numbers"):
        inspect(tmp_path / "x")


# --- the probe ---


class Answering(nn.Module):
    """What a trained network would say: all of the noise, or none of it where there is nothing else."""

    def __init__(self, spec: object, is_v: bool) -> None:
        super().__init__()
        self.spec, self.is_v = spec, is_v
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor, t: torch.Tensor, *_: object) -> torch.Tensor:
        level = 1.0 if t[0] > 900 else 0.851
        return (1 - level**2) ** 0.5 * x / level if self.is_v else x / level


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_the_answer_of_the_unet_is_a_finding(
    tmp_path: Path, sd1: Parts, monkeypatch: pytest.MonkeyPatch, prediction: str
) -> None:
    asked = list[UNet]()

    def forward(unet: UNet, *inputs: torch.Tensor) -> torch.Tensor:
        asked.append(unet)
        return Answering(unet.spec, prediction == "v")(*inputs)

    monkeypatch.setattr(UNet, "forward", forward)
    path = write_checkpoint(as_checkpoint(sd1, "sd1"), tmp_path / "x.safetensors")
    found = inspect(path)
    assert found.probe
    assert found.probe.prediction == prediction
    assert found.identity
    said = found.identity.finding("prediction")
    assert said
    assert (said.value, said.decided) == (prediction, True)
    wanted = sd1.unet.state_dict()
    assert all(each.equal(wanted[name].half()) for name, each in asked[0].state_dict().items())


def test_an_untrained_unet_leaves_it_undecided(looked_at: Callable[..., Inspection], sd1: Parts) -> None:
    found = looked_at(as_checkpoint(sd1, "sd1"))
    assert found.probe
    assert found.probe.prediction is None
    assert found.identity
    assert "prediction" in found.identity.undecided
    in_float32 = probe(sd1.unet)
    assert found.probe.last == pytest.approx(in_float32.last, abs=1e-4)
    assert found.probe.middle == pytest.approx(in_float32.middle, abs=1e-4)


def test_numbers_of_8_bits_answer_too(looked_at: Callable[..., Inspection], sd1: Parts) -> None:
    state = as_checkpoint(sd1, "sd1")
    few = {n: each.to(torch.float8_e4m3fn) if n.startswith(UNET) else each for n, each in state.items()}
    found = looked_at(few)
    assert found.probe
    wide = {n: each.float() if n.startswith(UNET) else each for n, each in few.items()}
    assert found.probe == looked_at(wide).probe


# --- pickles ---


def test_names_in_pickles_are_listed_and_harmless_ones_known(tmp_path: Path, sd1: Parts) -> None:
    path = tmp_path / "x.ckpt"
    torch.save(
        {"state_dict": as_checkpoint(sd1, "sd1"), "epoch": 3}, path, _use_new_zipfile_serialization=False
    )
    found = inspect(path, quick=True)
    assert "torch._utils._rebuild_tensor_v2" in [suspect.name for suspect in found.suspects]
    assert not [suspect for suspect in found.suspects if suspect.is_danger]


def test_a_pickle_that_would_run_something_is_told_with_all_its_names(tmp_path: Path) -> None:
    path, sentinel = tmp_path / "x.ckpt", tmp_path / "sentinel"
    call = called("os", "system", b"X" + pack("<L", 4) + b"true")
    more = called("webbrowser", "open", b"N") + b"0" + called("torch", "device", b"N") + b"0"
    path.write_bytes(zipped(pickled(call + b"0" + more + table(x=tensor()))))
    found = inspect(path)
    assert {suspect.name: suspect.is_danger for suspect in found.suspects} == {
        "os.system": True,
        "webbrowser.open": True,
        "torch.device": False,
        "torch._utils._rebuild_tensor_v2": False,
        "torch.FloatStorage": False,
    }
    assert "asks for os.system" in found.refused
    assert found.hint
    assert found.files[0].short == sha256(path.read_bytes()).hexdigest()[:10]
    for name, attack in attacks(sentinel).items():
        path.write_bytes(zipped(pickled(attack)))
        try:
            assert any(suspect.is_danger for suspect in inspect(path).suspects), name
        except WeightsError:
            assert name.startswith("the instruction"), "others name what they call"
    assert not sentinel.exists()


def test_what_is_not_known_to_be_harmless_is_a_danger() -> None:
    names = ("collections.OrderedDict", "collections.OrderedDict2", "_io.open", "torch.load")
    assert [suspect.is_danger for suspect in suspects(names)] == [False, True, True, True]


def test_an_inspection_is_json(tmp_path: Path, sd1: Parts) -> None:
    found = inspect(write_folder(sd1, tmp_path / "sd"), quick=True)
    back = json.loads(json.dumps(found.to_json()))
    assert back["identity"]["spec"]["unet"]["context_width"] == 768
    assert back["files"][0]["path"].endswith("unet/diffusion_pytorch_model.safetensors")
    assert back["fit"]["compared"] is True
