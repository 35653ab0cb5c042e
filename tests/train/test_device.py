"""Training on other devices: where tensors go, and that on a CPU nothing is different."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fromnoise.errors import RequestError
from fromnoise.train import device as module
from fromnoise.train.device import autocast, device_of, onto
from fromnoise.train.presets import TINY_RUN
from fromnoise.train.state import read_checkpoint, write_checkpoint

RECIPE = TINY_RUN.vae


def test_a_recipe_names_its_device() -> None:
    assert device_of(RECIPE) == torch.device("cpu")
    with pytest.raises(RequestError, match=r"device: 'cude' cannot be used"):
        device_of(replace(RECIPE, device="cude"))
    assert list(replace(RECIPE, device="cuda").changes({"device": "cpu"})) == ["device cpu -> cuda"]
    assert list(RECIPE.changes({"steps": RECIPE.steps})) == []  # a checkpoint from before there was a choice


def test_on_a_cpu_a_batch_stays_the_very_tensors() -> None:
    batch = [torch.ones(2), torch.zeros(3, dtype=torch.int64)]
    assert all(ours is theirs for ours, theirs in zip(onto(torch.device("cpu"), *batch), batch, strict=True))


@pytest.mark.parametrize("native", [torch.bfloat16, torch.float32])
def test_on_a_cpu_products_are_in_what_it_calculates_in(monkeypatch, native: torch.dtype) -> None:
    monkeypatch.setattr(module, "native_dtype", lambda device: native)
    a = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    with autocast(torch.device("cpu")):
        found = a @ a
    with torch.autocast("cpu", torch.bfloat16, enabled=native is torch.bfloat16):
        wanted = a @ a
    assert found.dtype == native
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(("capability", "mixed"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_card_without_bfloat16_learns_in_float32(monkeypatch, capability, mixed: bool) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(module.torch, "autocast", lambda kind, dtype, enabled: asked.update(locals()))
    autocast(torch.device("cuda"))
    assert asked == {"kind": "cuda", "dtype": torch.bfloat16, "enabled": mixed, "asked": asked}


def test_a_checkpoint_holds_numbers_of_the_cpu_that_need_no_gradients(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3))
    write_checkpoint(tmp_path / "a", {"w": weight}, {})
    found = read_checkpoint(tmp_path / "a").tensors["w"]  # compares the digest
    assert torch.equal(found, weight)
    assert not found.requires_grad


@pytest.mark.slow
def test_every_stage_keeps_its_tensors_on_its_device(tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "absent_card.py"
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["drawing", "oracle", "vae", "decoder", "clip", "unet"]
