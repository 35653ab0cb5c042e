import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import marathon
import pytest
import torch
from conftest import Rehearsal

from fromnoise.nets.decoder import Decoder
from fromnoise.nets.encoder import Encoder
from fromnoise.nets.oracle import Oracle
from fromnoise.text import Tokenizer
from fromnoise.train import stages
from fromnoise.train.clip import ClipTask
from fromnoise.train.decoder import DecoderTask
from fromnoise.train.loop import fit
from fromnoise.train.oracle import OracleTask
from fromnoise.train.pool import open_pool
from fromnoise.train.presets import Preset
from fromnoise.train.recipe import Recipe, Task
from fromnoise.train.state import LATEST, Checkpoint, read_checkpoint
from fromnoise.train.vae import VaeTask

STEPS, STOP = 6, 3


def same(a: Checkpoint, b: Checkpoint) -> bool:
    """Whether weights, moments, averages and facts are equal to the last bit."""
    equal = all(torch.equal(tensor, b.tensors[name]) for name, tensor in a.tensors.items())
    return equal and a.tensors.keys() == b.tensors.keys() and a.facts == b.facts


def oracle_task(folder: Path, preset: Preset, recipe: Recipe) -> Task:
    return OracleTask(preset.oracle_spec, open_pool(folder / "pool"), recipe)


def vae_task(folder: Path, preset: Preset, recipe: Recipe) -> Task:
    oracle = stages.load_part(Oracle(preset.oracle_spec), folder / "oracle")
    return VaeTask(preset.spec.vae, open_pool(folder / "pool"), recipe, oracle=oracle)


def decoder_task(folder: Path, preset: Preset, recipe: Recipe) -> Task:
    encoder = stages.load_part(Encoder(preset.spec.vae), folder / "vae", "encoder")
    decoder = stages.load_part(Decoder(preset.spec.vae), folder / "vae", "decoder")
    return DecoderTask(preset.spec.vae, open_pool(folder / "pool"), recipe, encoder, decoder)


def clip_task(folder: Path, preset: Preset, recipe: Recipe) -> Task:
    pool, tokenizer = open_pool(folder / "pool"), Tokenizer.load(folder / "tokenizer.json")
    tokens = stages.tokens_of(tokenizer, pool)
    return ClipTask(preset.spec.texts[0], preset.image_tower, pool, tokens, recipe)


def unet_task(folder: Path, preset: Preset, recipe: Recipe) -> Task:
    return stages.unet_task(folder, preset)


@pytest.mark.parametrize("make", [oracle_task, vae_task, decoder_task, clip_task, unet_task])
def test_stopping_and_going_on_is_the_same_as_not_stopping(
    rehearsal: Rehearsal, tmp_path: Path, make: Callable[[Path, Preset, Recipe], Task]
) -> None:
    stage = make.__name__.removesuffix("_task")
    preset = rehearsal.preset.told(stage, steps=STEPS)
    recipe: Recipe = getattr(preset, stage)

    for _ in fit(make(rehearsal.folder, preset, recipe), recipe, tmp_path / "whole"):
        pass
    first = fit(make(rehearsal.folder, preset, recipe), recipe, tmp_path / "halves")
    while next(first).step < STOP:
        pass
    first.close()
    stopped = read_checkpoint(tmp_path / "halves" / LATEST)
    second = list(fit(make(rehearsal.folder, preset, recipe), recipe, tmp_path / "halves"))

    whole = read_checkpoint(tmp_path / "whole" / LATEST)
    assert stopped.facts["step"] == STOP
    assert [p.step for p in second] == list(range(STOP, STEPS + 1))
    assert second[0].notes == (f"going on from step {STOP}",)
    assert {name.split(".")[0] for name in whole.tensors} == {"model", "optimiser", "ema"}
    assert same(read_checkpoint(tmp_path / "halves" / LATEST), whole)
    assert not same(stopped, whole)


def killed_at_random(folder: Path, seed: int) -> int:
    command = [sys.executable, marathon.__file__, str(folder), str(seed)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 12))])
def test_killed_again_and_again_a_training_reaches_the_same_weights(tmp_path: Path, seed: int) -> None:
    kills = killed_at_random(tmp_path / "killed", seed)
    assert kills >= 3
    marathon.train(tmp_path / "whole")
    assert same(read_checkpoint(tmp_path / "killed" / LATEST), read_checkpoint(tmp_path / "whole" / LATEST))
