"""Files that are not what was asked for: each is called by name, with what to do, and nothing is drawn."""

import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from on_disk import (
    State,
    as_checkpoint,
    know_small_families,
    small,
    small_parts,
    with_averages,
    write_checkpoint,
    write_folder,
)

from fromnoise.cli.app import app
from fromnoise.errors import WeightsError
from fromnoise.loading import load
from fromnoise.specs import SD15, SDXL
from fromnoise.weights.model_loader import load_model

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
LAYER = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k"


@pytest.fixture(scope="module")
def sd1() -> State:
    return as_checkpoint(small_parts(small(SD15)), "sd1")


@pytest.fixture(scope="module")
def sdxl() -> State:
    return as_checkpoint(small_parts(small(SDXL)), "sdxl")


@pytest.fixture(autouse=True)
def small_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know_small_families(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def only(state: State, *starts: str) -> State:
    return {name: tensor for name, tensor in state.items() if name.startswith(starts)}


def without(state: State, *starts: str) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(starts)}


def shaped(shapes: dict[str, tuple[int, ...]]) -> State:
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


SD3 = shaped(
    {
        f"{UNET}joint_blocks.0.context_block.attn.qkv.weight": (6, 2),
        f"{UNET}x_embedder.proj.weight": (1536, 2, 2, 2),
    }
)
FLUX = shaped(
    {
        "double_blocks.0.img_attn.norm.key_norm.scale": (2,),
        "img_in.weight": (2, 64),
        "guidance_in.in_layer.weight": (2, 2),
    }
)
CONTROL = shaped({"control_model.zero_convs.0.0.weight": (2, 2, 1, 1)})
LORA = shaped({"lora_unet_mid_block_attentions_0_attn2_to_k.lora_down.weight": (4, 2048)})
NF4 = shaped({f"{LAYER}.weight.quant_state.bitsandbytes__nf4": (9,)})

SUPPORTED = "give a model of Stable Diffusion 1.x, 2.x or SDXL"
ALL = "download it again; `fromnoise inspect FILE` names every tensor that does not fit"
REST = "get the complete model, or one that has the rest; --vae FILE gives it an autoencoder"
BESIDE = "give the model that it was made for"
SD1, XL = "(Stable Diffusion 1.x)", "(SDXL)"


@dataclass(frozen=True)
class Case:
    make: Callable[[State, State], State]  # from a whole SD 1.x and a whole SDXL
    said: str  # after the name of the file
    action: str


CASES = {
    "missing tensors": Case(
        lambda sd1, _: without(sd1, f"{UNET}out.2.bias"),
        rf"{SD1} lacks 1 of 958 tensors, first: 'unet.leave.bias'",
        ALL,
    ),
    "tensors too many": Case(
        lambda sd1, _: sd1 | shaped({f"{UNET}out.3.weight": (1,)}),
        f"{SD1} cannot draw: 1 of 683 tensors in the U-Net have no rule, first: 'out.3.weight'",
        "another model family? `fromnoise inspect FILE` names it",
    ),
    "a wrong shape": Case(
        lambda sd1, _: sd1 | shaped({f"{VAE}decoder.conv_out.bias": (4,)}),
        f"{SD1} has the shape (4,), not (3,)",
        ALL,
    ),
    "a U-Net alone": Case(
        lambda _, sdxl: only(sdxl, UNET),
        f"{XL} cannot draw: it lacks a text encoder (CLIP-L), a text encoder (OpenCLIP-bigG) and an auto",
        REST,
    ),
    "no autoencoder": Case(
        lambda _, sdxl: without(sdxl, VAE), f"{XL} cannot draw: it lacks an autoencoder", REST
    ),
    "SD3": Case(lambda *_: SD3, " cannot draw: it is Stable Diffusion 3 medium: a diffusion tr", SUPPORTED),
    "Flux": Case(lambda *_: FLUX, " cannot draw: it is Flux.1 dev: a diffusion transformer", SUPPORTED),
    "a LoRA": Case(lambda *_: LORA, f"{XL} cannot draw: it is a LoRA: changes to a model's weights", BESIDE),
    "a ControlNet": Case(lambda *_: CONTROL, " cannot draw: it is a ControlNet: a network that", BESIDE),
    "an autoencoder": Case(
        lambda sd1, _: only(sd1, VAE),
        " cannot draw: it is an autoencoder alone, without a U-Net",
        "use it beside a model: `--vae FILE`",
    ),
    "a text encoder": Case(
        lambda sd1, _: only(sd1, TEXT),
        " cannot draw: it holds no U-Net, only CLIP-L",
        "give the whole model that it is a part of",
    ),
    "averages alone": Case(
        lambda sd1, _: only(with_averages(sd1, 1.0), "model_ema."),
        " cannot draw: it is an EMA: the running averages of a model, without the model",
        "give the whole model that it is a part of",
    ),
    "an embedding": Case(
        lambda *_: {"emb_params": torch.zeros(2, 768)},
        " cannot draw: it is an embedding (textual inversion): new words for CLIP-L",
        "use it beside a model: `--embedding FILE`, and its name in the prompt",
    ),
    "4-bit numbers": Case(
        lambda sd1, _: sd1 | NF4,
        f"{SD1} cannot draw: its weights are 4-bit numbers of bitsandbytes (NF4), which are not read",
        "get the model as float16, bfloat16 or float8",
    ),
    "something else": Case(
        lambda *_: {"bert.encoder.weight": torch.zeros(2, 3)},
        " cannot draw: it is nothing that is known here: 1 tensor, first 'bert.encoder.weight'",
        SUPPORTED,
    ),
}


def complaint(*words: str | Path) -> tuple[int, list[str]]:
    """The exit code and the lines of a command that must fail without a word on standard output."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.exit_code, done.stderr.splitlines()


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_called_by_name_with_the_nearest_action(
    name: str, sd1: State, sdxl: State, tmp_path: Path
) -> None:
    case = CASES[name]
    path = write_checkpoint(case.make(sd1, sdxl), tmp_path / "x.safetensors")
    with pytest.raises(WeightsError) as caught:
        load(path)
    error = caught.value
    assert case.said in error.message.partition("x.safetensors")[2]
    assert (error.hint, error.exit_code) == (case.action, 3)
    assert complaint("a hill", "--model", path, "-o", "y.png") == (
        3,
        [f"error: {error.message}", f"  hint: {case.action}"],
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.safetensors"]


def test_inspect_names_all_that_does_not_fit_and_says_what_to_do(sd1: State, tmp_path: Path) -> None:
    odd = without(sd1, f"{UNET}out.2.bias") | shaped(
        {f"{UNET}odd.weight": (1,), f"{VAE}quant_conv.bias": (9,)}
    )
    path = write_checkpoint(odd, tmp_path / "x.safetensors")
    done = CliRunner().invoke(app, ["inspect", "--quick", str(path)])
    rows = dict(re.split(" {2,}", line, maxsplit=1) for line in done.stdout.splitlines())
    assert rows["what"] == "model, Stable Diffusion 1.x"
    assert rows["hint"] == "download it again; what does not fit is named below"
    assert rows["unknown"] == f"1 tensor: {UNET}odd.weight"
    assert rows["missing"] == f"1 tensor: {UNET}out.2.bias"
    assert rows["odd shape"] == f"1 tensor: {VAE}quant_conv.bias"
    assert rows["text encoder"].startswith("CLIP-L, 15,022,848 numbers in 36 tensors")
    assert len(rows) == len(done.stdout.splitlines()), "one row for each network"


# --- numbers that are none ---


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_drawing_stops_at_the_first_step_that_is_not_finite(tmp_path: Path, bad: float) -> None:
    parts = small_parts(small(SD15))
    with torch.no_grad():
        parts.unet.down[0][0].weight[0, 0, 0, 0] = bad  # type: ignore[index]
    folder = write_folder(parts, tmp_path / "sd")
    name = "unet.conv_in.weight"
    how = ("a hill", "--model", folder, "--size", "64x64", "--steps", "3", "-o", "y.png")
    code, lines = complaint(*how)
    assert code == 3, lines  # what is converted is looked at
    assert f"error: sd is damaged: {name} holds NaN or infinity" in lines
    code, lines = complaint(*how, "--dtype", "float16", "--engine", "plain")  # and what is mapped is not
    wanted = r"error: the latents of seed \d+ are not finite after step 1 of 3 \(sigma [\d.]+\)"
    assert code == 4, lines
    assert any(re.fullmatch(wanted, line) for line in lines), lines
    assert not (tmp_path / "y.png").exists()
    done = CliRunner().invoke(app, ["inspect", str(folder)])
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("finite"))
    assert f"no, in 1 tensor: {name}: " in row


# --- what is no file, or changes under our hands ---


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, tuple[str, int, str]]:
    """What somebody may name: the path, the exit code, and what is said."""
    (tmp_path / "empty.ckpt").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.ckpt")
    (tmp_path / "closed.ckpt").write_bytes(b"x")
    (tmp_path / "closed.ckpt").chmod(0)
    raw = os.fsdecode(b"\xff\xfe.safetensors")
    (tmp_path / raw).write_bytes(b"x" * 99)
    return {
        "0 bytes": ("empty.ckpt", 3, "empty.ckpt is empty (0 bytes)"),
        "a folder": ("folder", 3, "folder: there is no model_index.json or config.json in this folder"),
        "a pipe": ("pipe.ckpt", 3, "pipe.ckpt is a pipe or a device, not a file"),
        "a device": ("/dev/zero", 3, "zero is a pipe or a device, not a file"),
        "unreadable": ("closed.ckpt", 5, "cannot read closed.ckpt: Permission denied"),
        "a name that is not text": (raw, 3, "??.safetensors is no file of weights that we know"),
        "a name of 4 KiB": ("n" * 4096, 5, f"{'n' * 79}…"),
    }


ODD = (
    "0 bytes",
    "a folder",
    "a pipe",
    "a device",
    "unreadable",
    "a name that is not text",
    "a name of 4 KiB",
)


@pytest.mark.skipif(sys.platform != "linux", reason="others have no such names, or no such devices")
@pytest.mark.parametrize("command", ["inspect", "draw", "convert"])
@pytest.mark.parametrize("what", ODD)
def test_what_is_no_file_is_one_line_at_once(
    what: str,
    command: str,
    odd: dict[str, tuple[str, int, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, code, said = odd[what]
    if what == "unreadable" and os.geteuid() == 0:  # root may read everything
        real = os.open

        def denied(path: Any, *rest: Any, **more: Any) -> int:
            if str(path).endswith("closed.ckpt"):
                raise PermissionError(13, "Permission denied")
            return real(path, *rest, **more)

        monkeypatch.setattr(os, "open", denied)
    before = sorted(tmp_path.iterdir())
    words = {"inspect": ("inspect", name), "draw": ("a hill", "--model", name, "-o", "y.png")}
    began = time.process_time()
    found, lines = complaint(*words.get(command, ("convert", name, "y.safetensors")))
    assert time.process_time() - began < 1
    assert (found, len(lines) <= 2) == (code, True), lines
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_is_cut_while_it_is_loaded_is_an_error(sd1: State, tmp_path: Path) -> None:
    """No SIGBUS: what is converted is read, and what is mapped is measured before it is touched."""
    for dtype, said in ((torch.float32, "became shorter"), (torch.float16, "became shorter")):
        path = write_checkpoint(sd1, tmp_path / "x.safetensors")
        size = path.stat().st_size

        def cut(*_: object, path: Path = path, size: int = size) -> None:
            os.truncate(path, size // 2)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fromnoise.weights.foreign.compare", cut)  # everything is opened, nothing is read
            with pytest.raises(WeightsError, match=said):
                load_model(path, dtype=dtype)


def test_a_file_that_is_replaced_while_it_is_loaded_is_not_mixed_with_the_other(
    sd1: State, tmp_path: Path
) -> None:
    other = {name: tensor * 2 for name, tensor in sd1.items()}
    for dtype in (torch.float32, torch.float16):
        path = write_checkpoint(sd1, tmp_path / "x.safetensors")

        def replaced(*_: object, path: Path = path) -> None:
            write_checkpoint(other, tmp_path / "other.safetensors").replace(path)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fromnoise.weights.foreign.compare", replaced)
            with pytest.raises(WeightsError, match=r"^x.safetensors was replaced while it was read"):
                load_model(path, dtype=dtype)
