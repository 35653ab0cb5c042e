"""What the tests of training share: one core, and a whole rehearsal done once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from fromnoise.train import stages
from fromnoise.train.presets import TINY_RUN, Preset
from fromnoise.train.recipe import Progress


@dataclass(frozen=True)
class Rehearsal:
    """A finished run of TINY_RUN: its folder, what each stage told, the model file and its card."""

    folder: Path
    model: Path
    card: dict[str, Any]
    told: dict[str, list[Progress]]
    preset: Preset = TINY_RUN


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rehearse(folder: Path, preset: Preset) -> Rehearsal:
    """Every stage, one after the other."""
    assert list(stages.make_pool(folder, preset)) == [32, 64]
    stages.train_tokenizer(folder, preset)
    told = {"oracle": list(stages.train_oracle(folder, preset))}
    told["vae"] = list(stages.train_vae(folder, preset))
    told["decoder"] = list(stages.train_decoder(folder, preset))
    told["clip"] = list(stages.train_clip(folder, preset))
    assert list(stages.cache_latents(folder, preset)) == [32, 64]
    stages.measure_latents(folder, preset)
    told["unet"] = list(stages.train_unet(folder, preset))
    told["turbo"] = list(stages.train_turbo(folder, preset))
    card = stages.assemble(folder, folder / "model.safetensors", preset)
    return Rehearsal(folder, folder / "model.safetensors", card, told, preset)


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    done = rehearse(tmp_path_factory.mktemp("rehearsal"), TINY_RUN)
    torch.set_num_threads(before)
    return done
