import json
import os
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from conftest import FromNoise
from safetensors.torch import save_file

LORA = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"


def said(out: str) -> dict[str, list[str]]:
    """The table: what, and what of it."""
    rows = dict[str, list[str]]()
    for line in out.splitlines():
        name, _, value = line.partition("  ")
        rows.setdefault(name, []).append(value.strip())
    return rows


def test_a_model_is_told_in_a_table(fromnoise: FromNoise, model: Path) -> None:
    done = fromnoise("inspect", model)
    assert (done.code, done.err) == (0, "")
    rows = said(done.out)
    digest = sha256(model.read_bytes()).hexdigest()
    assert rows["file"] == [f"tiny.safetensors, safetensors, {model.stat().st_size:,} bytes"]
    assert (rows["can draw"], rows["finite"]) == (["yes"], ["yes, all numbers"])
    assert rows["tensors"] == ["all that its networks need, and no others"]
    assert (rows["sha-256"], rows["short hash"]) == ([digest], [digest[:10]])


def test_the_same_is_said_in_json_on_one_line(fromnoise: FromNoise, model: Path) -> None:
    done = fromnoise("inspect", model, "--json")
    (line,) = done.out.splitlines()
    facts = json.loads(line)
    assert facts["files"][0]["sha256"] == sha256(model.read_bytes()).hexdigest()
    assert (facts["broken"], facts["identity"]["spec"]["name"]) == ([], "tiny")
    quick = json.loads(fromnoise("inspect", model, "--json", "--quick").out)
    assert (quick["broken"], quick["files"][0]["sha256"]) == (None, "")
    assert "sha-256" not in fromnoise("inspect", model, "--quick").out


def test_one_file_comes_in_no_variants(fromnoise: FromNoise, model: Path) -> None:
    done = fromnoise("inspect", model, "--variant", "fp16")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: variant: tiny.safetensors is one file")


def test_what_cannot_draw_is_inspected_with_success(fromnoise: FromNoise) -> None:
    save_file({LORA: torch.tensor([[1.0, float("nan")]])}, "x.safetensors", {"ss_network_dim": "4", "b": "c"})
    done = fromnoise("inspect", "x.safetensors")
    rows = said(done.out)
    assert done.code == 0
    assert rows["what"][0].startswith("LoRA")
    assert rows["can draw"][0].startswith("no: ")
    assert rows["finite"][0].startswith("no, in 1 tensor: lora_unet_mid_block")
    assert rows["finite"][0].endswith("1 NaN, 0 infinite")
    assert rows["says"] == ["ss_network_dim = 4", "b = c"]
    assert rows.keys().isdisjoint({"left out", "averages"})  # which would be the whole file, and no U-Net's


DAMAGED = {
    "nothing": (b"", r"x.ckpt is empty (0 bytes)"),
    "a web page": (b"<!DOCTYPE html>", "x.ckpt is a web page: the download went wrong"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "x.ckpt is a git-lfs pointer"),
    "half a file": (b"\xff\0\0\0\0\0\0\0{", "x.ckpt is a safetensors file that is cut short"),
    "half an archive": (b"PK\3\4" + bytes(100), "x.ckpt "),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_files_are_one_line_and_exit_3(fromnoise: FromNoise, what: str) -> None:
    content, message = DAMAGED[what]
    Path("x.ckpt").write_bytes(content)
    done = fromnoise("inspect", "x.ckpt")
    assert (done.code, done.out) == (3, "")
    error, *rest = done.err.splitlines()
    assert error.startswith(f"error: {message}")
    assert len(rest) <= 1


def test_a_file_that_is_not_there_is_exit_5(fromnoise: FromNoise) -> None:
    done = fromnoise("inspect", "none.ckpt")
    assert (done.code, done.err) == (5, "error: cannot read none.ckpt: No such file or directory\n")


def test_a_dangerous_pickle_is_told_and_refused(
    fromnoise: FromNoise, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bomb:
        def __reduce__(self) -> object:
            return Path.touch, (Path("sentinel"),)

    torch.save({"x": torch.zeros(2), "y": Bomb()}, "x.safetensors")
    done = fromnoise("inspect", "x.safetensors")
    assert done.code == 3
    assert "error: x.safetensors asks for " in done.err
    rows = said(done.out)
    assert rows["beware"] == ["its name says safetensors; it is a pickle"]
    dangers = [
        value for value in rows["pickle names"] if "DANGER: `pickle` would import and call it" in value
    ]
    assert len(dangers) == 1
    assert not Path("sentinel").exists()
    facts = json.loads(fromnoise("inspect", "x.safetensors", "--json").out)
    assert facts["refused"].startswith("x.safetensors asks for ")


def test_names_from_a_file_never_reach_the_terminal_raw(fromnoise: FromNoise) -> None:
    wild = "\x1b[31mred\r\n\u202eevil"
    save_file({f"a.{wild}": torch.zeros(1), wild: torch.full((1,), torch.nan)}, "x.safetensors", {wild: wild})
    torch.save({f"b.{wild}": torch.zeros(1), wild: wild}, "x.ckpt")
    for file in ("x.safetensors", "x.ckpt"):
        for more in ((), ("--json",)):
            out = fromnoise("inspect", file, *more).out
            assert out.replace("\n", "").isprintable()
            assert "red" in out


@pytest.mark.skipif(sys.platform != "linux", reason="others allow only names that are text")
def test_a_file_name_that_is_not_text_is_shown_safely(fromnoise: FromNoise, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b.ckpt")
    torch.save({"x": torch.zeros(1)}, path)
    done = fromnoise("inspect", path)
    assert done.code == 0
    assert said(done.out)["file"][0].startswith("??.ckpt, a checkpoint of PyTorch")


def test_a_variant_can_be_chosen(fromnoise: FromNoise) -> None:
    folder = Path("vae")
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for number, variant in enumerate(("fp16", "ema")):
        save_file({"x": torch.zeros(number + 1)}, folder / f"diffusion_pytorch_model.{variant}.safetensors")
    refused = fromnoise("inspect", folder)
    assert refused.code == 3
    assert refused.err == (
        "error: vae: there are several variants: ema, fp16\n  hint: choose one with --variant\n"
    )
    assert said(fromnoise("inspect", folder, "--variant", "ema").out)["float32"] == ["2 numbers in 1 tensor"]
