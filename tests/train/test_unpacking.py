"""A model taken apart goes on learning where its file left it, and put together again is the same."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from conftest import Rehearsal

from fromnoise.errors import RequestError, WeightsError
from fromnoise.train import stages
from fromnoise.train.handover import marks
from fromnoise.train.loop import Run
from fromnoise.train.presets import TINY_RUN
from fromnoise.train.recipe import Recipe
from fromnoise.train.state import read_checkpoint
from fromnoise.train.unpacking import unpack
from fromnoise.weights.native import Parts, load_native

LONGER = TINY_RUN.told("unet", steps=10, warmup=4)


def unpacked(rehearsal: Rehearsal, folder: Path) -> Path:
    """The rehearsal's model, taken apart beside the pool that it learned from."""
    unpack(load_native(rehearsal.model), folder, TINY_RUN.spec)
    copytree(rehearsal.folder / "pool", folder / "pool")
    list(stages.cache_latents(folder, TINY_RUN))
    return folder


def test_put_together_again_it_is_the_same_model(rehearsal: Rehearsal, tmp_path: Path) -> None:
    folder = unpacked(rehearsal, tmp_path / "run")
    card = stages.assemble(folder, tmp_path / "again.safetensors", TINY_RUN)
    before, after = load_native(rehearsal.model), load_native(tmp_path / "again.safetensors")
    assert after.spec == before.spec
    assert after.tokenizers == before.tokenizers
    assert all(torch.equal(tensor, after.state()[name]) for name, tensor in before.state().items())
    assert card["stages"] == rehearsal.card["stages"]
    assert card["seconds"] == rehearsal.card["seconds"]
    assert card["scenes"] == 2 * rehearsal.card["scenes"], "those of both trainings"


def test_training_goes_on_and_the_card_counts_both_trainings(rehearsal: Rehearsal, tmp_path: Path) -> None:
    folder = unpacked(rehearsal, tmp_path / "run")
    task = stages.unet_task(folder, LONGER)
    run = Run(task, LONGER.unet, folder / "unet")
    assert run.step == TINY_RUN.unet.steps
    first = load_native(rehearsal.model).unet.state_dict()
    assert all(torch.equal(p, first[name]) for name, p in task.modules.unet.state_dict().items())
    assert run.ema is not None
    assert all(torch.equal(run.ema.averages[f"unet.{name}"], p) for name, p in first.items())
    told = list(stages.train_unet(folder, LONGER))
    assert [progress.step for progress in told] == [4, 5, 6, 7, 8, 9, 10]
    card = stages.assemble(folder, tmp_path / "longer.safetensors", LONGER)["stages"]["unet"]
    assert card["steps"] == 10
    assert card["seconds"] >= rehearsal.card["stages"]["unet"]["seconds"]


def test_without_moments_the_rate_warms_up_again_also_after_a_stop(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    folder = unpacked(rehearsal, tmp_path / "run")
    recipe = replace(LONGER.unet, fall=0.1)
    run = Run(stages.unet_task(folder, LONGER), recipe, folder / "unet")
    run.train_step()
    run.save()
    again = Run(stages.unet_task(folder, LONGER), recipe, folder / "unet")
    shares = [again.rate(step) / recipe.lr for step in range(4, 9)]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_it_notes_which_encoder_and_tokenizer_its_parts_learned_with(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    folder = unpacked(rehearsal, tmp_path / "run")
    unet, clip = (newest_facts(folder / name) for name in ("unet/latest", "clip/weights"))
    ours = marks(folder)
    assert ours["tokenizer"] == marks(rehearsal.folder)["tokenizer"]
    assert {part: unet[part] for part in ours} == ours
    assert clip["tokenizer"] == ours["tokenizer"]


def newest_facts(name: Path) -> dict[str, Any]:
    return read_checkpoint(name.with_suffix(".safetensors")).facts


def test_units_stay_when_the_pool_grows(rehearsal: Rehearsal, tmp_path: Path) -> None:
    folder = unpacked(rehearsal, tmp_path / "run")
    before = stages.read_vae_spec(folder)
    (folder / "latents" / "shard-00001.safetensors").unlink()
    assert stages.measure_latents(folder, TINY_RUN) == before == load_native(rehearsal.model).spec.vae


def test_a_run_is_never_overwritten(rehearsal: Rehearsal) -> None:
    with pytest.raises(RequestError, match="holds a run already"):
        unpack(load_native(rehearsal.model), rehearsal.folder, TINY_RUN.spec)


def test_a_model_of_another_shape_is_refused(rehearsal: Rehearsal, tmp_path: Path) -> None:
    parts = load_native(rehearsal.model)
    for part, other in (
        ("text encoder", replace(TINY_RUN.spec, texts=(replace(TINY_RUN.spec.texts[0], layers=3),))),
        ("autoencoder", replace(TINY_RUN.spec, vae=replace(TINY_RUN.spec.vae, blocks=2))),
        ("U-Net", replace(TINY_RUN.spec, unet=replace(TINY_RUN.spec.unet, mid=0))),
    ):
        with pytest.raises(WeightsError, match=f"the {part} of tiny-mite has another shape"):
            unpack(parts, tmp_path / "run", other)
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_card_can_be_taken_apart(rehearsal: Rehearsal, tmp_path: Path) -> None:
    told = load_native(rehearsal.model)
    parts = Parts(told.spec, told.texts, told.unet, told.encoder, told.decoder, told.tokenizers)
    unpack(parts, tmp_path / "run", TINY_RUN.spec)
    assert not (tmp_path / "run" / "unet" / "log.jsonl").exists()
    assert json.loads((tmp_path / "run" / "tokenizer.json").read_text("utf-8")) == told.tokenizers[0]


def test_other_parts_of_a_checkpoint_may_not_lack(rehearsal: Rehearsal, tmp_path: Path) -> None:
    folder = unpacked(rehearsal, tmp_path / "run")
    task = stages.unet_task(folder, LONGER)
    task.anew = ()
    with pytest.raises(WeightsError, match="holds another unet: meaning"):
        Run(task, Recipe(steps=10, batch=2, lr=1e-3), folder / "unet")
