"""The turbo adapter as a file beside its model: for that model alone, and with its own steps and guidance."""

from collections.abc import Mapping
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
NEWER: Final = "--newer-unet"


def mark_teacher(folder: Path, unet: UNet) -> None:
    """Write down which U-Net is learned from, or see that it is still the same.  Raises: WeightsError"""
    path, mark = folder / TURBO / TEACHER, digest(unet.state_dict())
    if not path.exists():
        write_checkpoint(path, {}, {"unet": mark})
    elif read_checkpoint(path).facts.get("unet") != mark:
        hint = f"fromnoise train turbo {folder} {NEWER} --steps N goes on with that one"
        raise WeightsError(f"{folder / TURBO} learned from another U-Net than the one in {UNET}/", hint=hint)


def mark_newer_teacher(folder: Path, unet: UNet, steps: int) -> None:
    """Let what was learned from an earlier U-Net go on with this one.

    `steps`: how many there are to be in all
    Raises: RequestError if none of them is left to learn from this one
    """
    found = newest(folder / TURBO)
    if found and found.checkpoint.facts["step"] >= steps:
        problem = f"all {steps} are taken, and none is left for the newer U-Net"
        raise RequestError({"steps": problem}, hint="say how many it is to have in all: --steps N")
    write_checkpoint(folder / TURBO / TEACHER, {}, {"unet": digest(unet.state_dict())})


def pack_turbo(folder: Path, model: Path, spec: ModelSpec, made_for: str, about: Mapping[str, str]) -> Path:
    """Write the adapter beside the model, whose SHA-256 is `made_for`, and say where.

    Raises: StorageError; WeightsError if it learned from another U-Net
    """
    unet = load_part(UNet(spec.unet), folder / UNET, "unet")
    mark_teacher(folder, unet)
    recipe = handed_on(folder / TURBO).facts["recipe"]
    load_part(Corrections(unet, recipe["rank"], recipe["seed"]), folder / TURBO)
    terms = Terms(made_for=made_for, steps=recipe["strides"], guidance=1.0)
    adapter = Adapter.trained(TURBO, {"unet": unet}, {**about, **terms.metadata()})
    path = beside(model, TURBO)
    save_adapter(adapter, path, spec, dtype=torch.float16)
    return path
