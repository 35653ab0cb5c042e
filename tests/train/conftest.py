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


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("rehearsal")
    assert list(stages.make_pool(folder, TINY_RUN)) == [32, 64]
    stages.train_tokenizer(folder, TINY_RUN)
    told = {"oracle": list(stages.train_oracle(folder, TINY_RUN))}
    told["vae"] = list(stages.train_vae(folder, TINY_RUN))
    told["decoder"] = list(stages.train_decoder(folder, TINY_RUN))
    told["clip"] = list(stages.train_clip(folder, TINY_RUN))
    assert list(stages.cache_latents(folder, TINY_RUN)) == [32, 64]
    stages.measure_latents(folder, TINY_RUN)
    told["unet"] = list(stages.train_unet(folder, TINY_RUN))
    card = stages.assemble(folder, folder / "model.safetensors", TINY_RUN)
    torch.set_num_threads(before)
    return Rehearsal(folder, folder / "model.safetensors", card, told)
