"""The figures of docs/weights.md: every kind of model through every container, beside diffusers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from families import meta_parts, stored_of
from kinds import CONTAINERS, KINDS, WRITTEN, Kind
from network_errors import text_error, unet_error, vae_error
from safetensors.torch import load_file
from specimens import Specimen, narrow_families
from ten_steps import drawing_error
from tiny_files import same

from fromnoise.cli.convert import spell
from fromnoise.errors import WeightsError
from fromnoise.specs import ModelSpec
from fromnoise.weights.conversion import Wishes, convert
from fromnoise.weights.detect import detect
from fromnoise.weights.layouts import checkpoint_rules, folder_spec
from fromnoise.weights.model_converter import flipped, translate
from fromnoise.weights.model_loader import load_model
from fromnoise.weights.native import Parts
from fromnoise.weights.planning import plan_for
from fromnoise.weights.stored import open_weights

EQUAL, UNEQUAL, REFUSED = "bit-equal", "NOT bit-equal", "refused"
GIVEN = "*"  # behind a figure: diffusers cannot read this file, so its networks were given the tensors
BEYOND_DIFFUSERS = ("lcm", "sdxl lcm")  # `from_single_file` leaves out how the U-Net is told the guidance
ANSWER_SIZE, PIXELS = (16, 16), (32, 32)  # coarse levels are more than one latent wide


@dataclass(frozen=True)
class Row:
    """What is found out about one kind; cells by container."""

    tensors: int  # in a single file of full size
    loaded: Mapping[str, str]
    written: Mapping[str, str]
    drawn: str


def measured(name: str, home: Path) -> Row:
    """Everything about one kind; its files are made in the folder."""
    tensors = count_tensors(KINDS[name])
    with narrow_families():
        specimen = Specimen(name, home)
        loaded = {container: loaded_from(specimen, container) for container in CONTAINERS}
        written = {container: written_as(specimen, container) for container in WRITTEN}
        can_draw = not loaded["folder"].startswith(REFUSED)
        drawn = figure(drawing(specimen)) if can_draw else "–"
    return Row(tensors, loaded, written, drawn)


def figure(error: float) -> str:
    return f"{error:.1e}"


def refused(error: WeightsError) -> str:
    reason = error.message.rpartition("cannot draw: ")[2]
    return f"{REFUSED}: {reason.partition(', and ')[0]}"


# --- names and shapes of full size ---


def count_tensors(kind: Kind) -> int:
    """How many tensors a file of full size has, all of which are recognised, and have their counterparts."""
    full, narrow = names_of(kind.full, kind.family), names_of(kind.narrow, kind.family)
    assert full.keys() == narrow.keys()
    stored = stored_of(full)
    found = detect(stored)
    assert (found.kind, found.family, found.variant) == ("model", kind.family, kind.variant)
    assert found.spec
    assert (found.spec.unet, found.spec.texts) == (kind.full.unet, kind.full.texts)
    assert plan_for(stored, found).keys() == meta_parts(kind.full).keys()
    return len(full)


def names_of(spec: ModelSpec, family: str) -> dict[str, torch.Tensor]:
    """Names and shapes of a single file, without memory."""
    return translate(meta_parts(spec), flipped(checkpoint_rules(spec.vae, family)), source="ours")


# --- from a file ---


def loaded_from(specimen: Specimen, container: str) -> str:
    """The largest error of any network that we load from this container."""
    path = specimen.file(container)
    with open_weights(path) as stored:
        assert stored.container == CONTAINERS[container][1]
    try:
        parts = load_model(path)
    except WeightsError as error:
        return refused(error)
    assert parts.about["variant"] == specimen.kind.variant
    assert parts.spec.unet == specimen.spec.unet
    check_numbers(parts, specimen)
    if path.is_dir():  # diffusers has written it
        return figure(network_error(parts, specimen.pipeline))
    return compared(parts, specimen, path)


def compared(parts: Parts, specimen: Specimen, path: Path) -> str:
    """Beside diffusers, which reads the same file if it can."""
    if path.is_file() and specimen.kind.unet in BEYOND_DIFFUSERS:
        return figure(network_error(parts, specimen.pipeline)) + GIVEN
    return figure(network_error(parts, specimen.read_by_diffusers(path)))


def check_numbers(parts: Parts, specimen: Specimen) -> None:
    """What is loaded is, bit by bit, what was written."""
    wanted, found = specimen.twin.parts.state(), parts.state()
    assert found.keys() in (wanted.keys(), meta_parts(folder_spec(specimen.spec)).keys())
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())


def network_error(parts: Parts, pipe: Any) -> float:
    """The largest of any network."""
    numbers = 5 if len(parts.spec.texts) == 1 else 6
    encoders = [pipe.text_encoder, getattr(pipe, "text_encoder_2", None)]
    errors = [
        unet_error(parts.unet, pipe.unet, ANSWER_SIZE, numbers=numbers),
        vae_error(parts.encoder, parts.decoder, pipe.vae, parts.spec.vae, PIXELS),
        *map(text_error, parts.texts, filter(None, encoders)),
    ]
    return max(errors)


def drawing(specimen: Specimen) -> float:
    """The error after ten steps of a whole pipeline, loaded from the folder that diffusers has written."""
    return drawing_error(load_model(specimen.file("folder")), specimen.pipeline)


# --- to a file ---


def written_as(specimen: Specimen, container: str) -> str:
    """The error of what diffusers reads from our file, and whether the way back gives the same bits."""
    source = specimen.file(".ckpt" if container == ".safetensors" else ".safetensors")
    target = specimen.home / "written" / CONTAINERS[container][0]
    target.parent.mkdir(exist_ok=True)
    back = specimen.home / "written" / f"back from {target.name}.safetensors"
    try:
        asked = Wishes(prediction=specimen.spec.prediction)  # random weights do not tell
        convert(source, target, asked, spell, lambda done, note: None)
        convert(target, back, Wishes(), spell, lambda done, note: None)
    except WeightsError as error:
        return refused(error)
    is_equal = EQUAL if same(load_file(back), specimen.state) else UNEQUAL
    try:
        parts = load_model(source)
    except WeightsError:
        return is_equal
    return f"{compared(parts, specimen, target)}, {is_equal}"
