"""The turbo adapter as a file beside its model: for that model alone, and with its own steps and guidance."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from fromnoise.errors import RequestError, WeightsError
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import ModelSpec
from fromnoise.train.handover import TURBO, UNET, handed_on, load_part
from fromnoise.train.state import digest, newest, read_checkpoint, write_checkpoint
from fromnoise.train.turbo import Corrections
from fromnoise.weights.adapter_terms import Terms
from fromnoise.weights.adapter_writer import save_adapter
from fromnoise.weights.adapters import Adapter
from fromnoise.weights.own_adapters import beside

TEACHER: Final = "teacher.safetensors"  # which U-Net a turbo training learns from


def mark_teacher(folder: Path, unet: UNet, steps: int | None = None) -> int:
    """Write down which U-Net is learned from, or see that it is still the same.

    Says how many steps an earlier one taught.

    `steps`: how many there are to be in all, if what an earlier U-Net taught may go on with this one
    Raises: WeightsError if it is another and may not; RequestError if no step is left to learn from it
    """
    path, mark, before = folder / TURBO / TEACHER, digest(unet.state_dict()), 0
    if path.exists():
        noted = read_checkpoint(path).facts
        if noted.get("unet") == mark:
            return noted.get("before", 0)
        if steps is None:
            hint = f"fromnoise train turbo {folder} --newer-unet --steps N goes on with that one"
            problem = f"{folder / TURBO} learned from another U-Net than the one in {UNET}/"
            raise WeightsError(problem, hint=hint)
        found = newest(folder / TURBO)
        before = found.checkpoint.facts["step"] if found else 0
        if before >= steps:
            problem = f"{before} are taken already, and none is left for the newer U-Net"
            raise RequestError({"steps": problem}, hint="say how many it is to have in all: --steps N")
    write_checkpoint(path, {}, {"unet": mark, "before": before})
    return before


def load_turbo(folder: Path, spec: ModelSpec, about: Mapping[str, str]) -> Adapter:
    """The adapter as it was learned, with its own steps and guidance.

    Raises: StorageError; WeightsError if it learned from another U-Net, and from this one not yet to the end
    """
    unet = load_part(UNet(spec.unet), folder / UNET, "unet")
    before, facts = mark_teacher(folder, unet), handed_on(folder / TURBO).facts
    if facts["step"] <= before > 0:
        hint = f"fromnoise train turbo {folder} --steps N, with N above {before}"
        raise WeightsError(f"{folder / TURBO} has not yet learned from the newer U-Net", hint=hint)
    recipe = facts["recipe"]
    load_part(Corrections(unet, recipe["rank"], recipe["seed"]), folder / TURBO)
    terms = Terms(steps=recipe["strides"], guidance=1.0)
    return Adapter.trained(TURBO, {"unet": unet}, {**about, **terms.metadata()})


def pack_turbo(turbo: Adapter, model: Path, spec: ModelSpec, made_for: str) -> Path:
    """Write the adapter beside the model, whose SHA-256 is `made_for`; say where.  Raises: StorageError"""
    terms = replace(Terms.of(turbo.metadata), made_for=made_for)
    path = beside(model, TURBO)
    bound = replace(turbo, metadata={**turbo.metadata, **terms.metadata()})
    save_adapter(bound, path, spec, dtype=torch.float16)
    return path
