"""`fromnoise convert`: the path on stdout, the account on stderr, errors in one line with an exit code."""

import json
import sys
from pathlib import Path

import pytest
from conftest import FromNoise
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent.parent / "weights"))

from on_disk import as_checkpoint, write_checkpoint
from tiny_files import SPECS, know_tiny_families, same, tiny_parts


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = as_checkpoint(tiny_parts(SPECS["sd1"]), "sd1")
    return write_checkpoint(state, tmp_path_factory.mktemp("sd1") / "sd1.safetensors")


@pytest.fixture(autouse=True)
def tiny_families(monkeypatch: pytest.MonkeyPatch) -> None:
    know_tiny_families(monkeypatch)


def test_a_model_is_converted_and_accounted_for(
    fromnoise: FromNoise, checkpoint: Path, tmp_path: Path
) -> None:
    done = fromnoise("convert", checkpoint, "sd1.ckpt", "--verify", "--report", "report.json")
    assert (done.code, done.paths) == (0, [Path("sd1.ckpt")])
    assert "986 tensors unchanged, bit for bit" in done.err
    assert "read again: every tensor is as it was written" in done.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"] == {"same": 986, "reshaped": 0, "rearranged": 0, "retyped": 0}
    assert all(line["before"] == [line["after"]] for line in report["tensors"])
    again = fromnoise("convert", "sd1.ckpt", "again.safetensors", "--quiet")
    assert (again.code, again.err) == (0, "")
    assert same(load_file(tmp_path / "again.safetensors"), load_file(checkpoint))


def test_what_nobody_says_is_a_warning_that_quiet_does_not_hide(fromnoise: FromNoise, tmp_path: Path) -> None:
    state = as_checkpoint(tiny_parts(SPECS["sd2"]), "sd2")
    write_checkpoint(state, tmp_path / "a.safetensors")
    done = fromnoise("convert", "a.safetensors", "b.safetensors", "--quiet")
    assert done.code == 0
    assert done.err.startswith("warning: nothing in a.safetensors says what its U-Net predicts")
    assert (
        fromnoise("convert", "a.safetensors", "b.safetensors", "-q", "--force", "--prediction", "v").err == ""
    )


def test_what_stands_there_is_replaced_only_by_force(
    fromnoise: FromNoise, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.ckpt").write_bytes(b"old")
    done = fromnoise("convert", checkpoint, "out.ckpt")
    assert done.code == 5
    assert done.err.splitlines() == [
        "error: out.ckpt is there already",
        "  hint: --force replaces it",
    ]
    assert fromnoise("convert", checkpoint, "out.ckpt", "--force", "--dtype", "bf16").code == 0
    assert (tmp_path / "out.ckpt").read_bytes()[:2] == b"PK"


def test_the_report_replaces_nothing(fromnoise: FromNoise, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    for report, said in (
        (checkpoint, "cannot be the report"),
        ("out.ckpt", "cannot be the report"),
        ("notes.txt", "notes.txt is there already"),
    ):
        done = fromnoise("convert", checkpoint, "out.ckpt", "--report", report)
        assert done.code == 5
        assert said in done.err.splitlines()[0]
    assert (tmp_path / "notes.txt").read_text() == "precious"
    assert not (tmp_path / "out.ckpt").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing.ckpt", "b.ckpt"], 5, "nothing.ckpt"),
        (["lora.safetensors", "b.ckpt"], 3, "LoRA"),
        (["lora.safetensors", "b.onnx"], 2, "b.onnx does not say what it is to be"),
        (["lora.safetensors", "nowhere/b.ckpt"], 5, "there is no folder"),
        (["lora.safetensors", "b", "--report", "nowhere/r.json"], 5, "there is no folder"),
        (["lora.safetensors", "b", "--dtype", "int4"], 2, "'int4' is not one of"),
        (["lora.safetensors", "b", "--variant", "fp16"], 2, "variant: lora.safetensors is one file"),
        (["lora.safetensors"], 2, "DST is missing"),
    ],
)
def test_errors_take_one_line(
    words: list[str], code: int, said: str, fromnoise: FromNoise, checkpoint: Path, tmp_path: Path
) -> None:
    some = next(iter(load_file(checkpoint).values()))
    names = [f"lora_unet_mid_block.{part}.weight" for part in ("lora_up", "lora_down")]
    save_file({name: some.clone() for name in names}, tmp_path / "lora.safetensors")
    done = fromnoise("convert", *words)
    assert done.code == code
    assert done.out == ""
    first, *rest = done.err.splitlines()
    assert first.startswith("error: ")
    assert said in first
    assert all(line.startswith("  hint: ") for line in rest)
    assert [path.name for path in tmp_path.iterdir()] == ["lora.safetensors"]


def test_the_help_offers_every_format(fromnoise: FromNoise) -> None:
    from typing import get_args

    from fromnoise.weights.conversion import Form

    done = fromnoise("convert", "--help")
    assert f"[{'|'.join(get_args(Form))}]" in done.out
    assert "convert" in fromnoise("--help").out
