"""A narrow model of every kind, in every container that there are files in, and the same one in diffusers.

The folders are written by diffusers itself, the single files with the names that it reads.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from families import FOLDERS, MODELS, config_like
from kinds import CONTAINERS, KINDS, Kind
from on_disk import as_checkpoint
from safetensors.torch import save_file
from side_by_side import UNSAFE
from torch import Tensor
from twins import Twin, model

from fromnoise.specs import ModelSpec
from fromnoise.weights import families, structure
from fromnoise.weights.layouts import DIFFUSERS_TEXTS
from fromnoise.weights.modelspec import markers

State = dict[str, Tensor]
SHARD = "40KB"
TEXT_SHARD = "4MB"  # the vocabulary is one tensor


@contextmanager
def narrow_families() -> Iterator[None]:
    """While it lasts, the families are these, so that their files are recognised."""
    bases = {family: Kind(family, family, "").narrow for family in MODELS}
    with pytest.MonkeyPatch.context() as patch:
        for family, spec in bases.items():
            patch.setitem(families.BASES, family, spec)
        patch.setattr(structure, "SD15", bases["sd1"])
        patch.setattr(structure, "SD21", bases["sd2"])
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@dataclass
class Specimen:
    """A narrow model of one kind with random weights; what is asked for is made when it is."""

    name: str
    home: Path

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    @cached_property
    def spec(self) -> ModelSpec:
        return self.kind.narrow

    @cached_property
    def twin(self) -> Twin:
        with torch.device("meta"):
            config = config_like(self.kind.unet, self.spec.unet)
            net = diffusers.UNet2DConditionModel(sample_size=64, **config)
        made = Twin(model(self.spec), self.texts, net)
        vae = self.spec.vae
        if vae.latent_mean:
            made.vae.register_to_config(latents_mean=vae.latent_mean, latents_std=vae.latent_std)
        return made

    @property
    def texts(self) -> tuple[str, ...]:
        return FOLDERS.get(self.kind.family, DIFFUSERS_TEXTS)[: len(self.spec.texts)]

    @cached_property
    def pipeline(self) -> Any:
        """diffusers' own, with the same weights."""
        others: dict[str, Any] = {"add_watermarker": False} if "XL" in self.kind.pipeline else dict(UNSAFE)
        if self.kind.family == "refiner":
            others |= {"text_encoder": None, "tokenizer": None, "requires_aesthetics_score": True}
        if self.kind.variant == "depth":
            others = {"depth_estimator": None, "feature_extractor": None}
        if self.kind.unet == "sdxl edit":
            others["is_cosxl_edit"] = True
        spacing = "trailing" if self.spec.schedule.zero_terminal else "leading"
        return self.twin.pipeline(self.pipeline_class, spacing=spacing, **others)

    @property
    def pipeline_class(self) -> Any:
        return getattr(diffusers, self.kind.pipeline)

    # --- its files ---

    @cached_property
    def state(self) -> State:
        """The tensors of a single file, markers included."""
        state = as_checkpoint(self.twin.parts, self.kind.family, torch.float32)
        return state | markers(self.spec, self.kind.family)

    def file(self, container: str) -> Path:
        """The model in this container, written when first asked for."""
        path = self.home / CONTAINERS[container][0]
        if not path.exists():
            WRITERS[container](self, path)
        return path

    def read_by_diffusers(self, path: Path) -> Any:
        """A pipeline from the file or the folder alone, with the configuration of this model."""
        quiet: Mapping[str, Any] = {"local_files_only": True, **self.twin.tokenizers}
        if path.is_dir():
            return self.pipeline_class.from_pretrained(path, **quiet)
        return self.pipeline_class.from_single_file(str(path), config=str(self.file("folder")), **quiet)


# --- containers ---


def write_safetensors(specimen: Specimen, path: Path) -> None:
    save_file(specimen.state, path)


def write_pickle(specimen: Specimen, path: Path, *, is_zip: bool) -> None:
    torch.save({"state_dict": specimen.state}, path, _use_new_zipfile_serialization=is_zip)


def write_folder(specimen: Specimen, path: Path, **how: Any) -> None:
    specimen.pipeline.save_pretrained(path, **how)


def write_bin(specimen: Specimen, path: Path) -> None:
    """transformers no longer writes its own, so these are as its older versions wrote them."""
    write_folder(specimen, path, safe_serialization=False)
    for name, encoder in specimen.twin.encoders.items():
        for file in (path / name).glob("*.safetensors"):
            file.unlink()
        torch.save(encoder.state_dict(), path / name / "pytorch_model.bin")


def write_shards(specimen: Specimen, path: Path) -> None:
    write_folder(specimen, path, max_shard_size=SHARD)
    for name, encoder in specimen.twin.encoders.items():
        for file in (path / name).glob("*.safetensors*"):
            file.unlink()
        encoder.save_pretrained(path / name, max_shard_size=TEXT_SHARD)


WRITERS: dict[str, Callable[[Specimen, Path], object]] = {
    ".safetensors": write_safetensors,
    ".ckpt": partial(write_pickle, is_zip=True),
    ".ckpt, PyTorch < 1.6": partial(write_pickle, is_zip=False),
    "folder": write_folder,
    "folder, .bin": write_bin,
    "folder, shards": write_shards,
}
