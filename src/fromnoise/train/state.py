"""The durable state of a training run: written atomically, read back exactly."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from fromnoise.durable import make_folder, replacing
from fromnoise.errors import WeightsError
from fromnoise.train.tensorfile import open_tensors, write_tensors

LATEST, PREVIOUS, DAMAGED = "latest.safetensors", "previous.safetensors", "damaged.safetensors"
FACTS, DIGEST = "facts", "sha256"  # in a file's header
ENCODER, TOKENIZED = "encoder", "tokenizer"  # in facts: the digests of what a stage learned with


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and the small facts (step, recipe, …) that belong to them."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """The newest good checkpoint of a folder, and what was wrong with a newer one."""

    checkpoint: Checkpoint
    path: Path
    damage: str = ""


def write_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], *, keep_as: Path | None = None
) -> None:
    """Replace `path` so that a kill or a power cut leaves either the old file or the new one.

    Raises: StorageError if the disk is full or the folder cannot be written
    """
    header = {FACTS: json.dumps(facts), DIGEST: digest(tensors)}
    make_folder(path.parent)
    with replacing(path, keep_as) as part:
        write_tensors(part, tensors, header)


def read_checkpoint(path: Path, *, facts_only: bool = False) -> Checkpoint:
    """`facts_only`: without the tensors, whose damage is not noticed then.

    Raises: WeightsError if the file is damaged or is no checkpoint
    """
    with open_tensors(path) as file:
        header = file.metadata() or {}
        tensors = {} if facts_only else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        facts = cast(dict[str, Any], json.loads(header[FACTS]))
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path} is no checkpoint: its header does not say of what") from error
    if not facts_only and header.get(DIGEST, found := digest(tensors)) != found:
        raise WeightsError(f"{path} is damaged: its tensors are not those that were written")
    return Checkpoint(tensors, facts)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and numbers."""
    total = sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        numbers: Any = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        total.update(numbers)
    return total.hexdigest()


def check_learned_with(stage: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse a stage that learned with another encoder or tokenizer, where it says.  Raises: WeightsError"""
    for part in (ENCODER, TOKENIZED):
        if part in theirs and part in ours and theirs[part] != ours[part]:
            raise WeightsError(
                f"{stage} learned with another {part} than the one in {stage.parent}",
                hint=f"delete {stage}, then fromnoise train {stage.name} {stage.parent}",
            )


def keep(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write the newest checkpoint; the one before it stays as the previous one."""
    write_checkpoint(folder / LATEST, tensors, facts, keep_as=folder / PREVIOUS)


def newest(folder: Path, *, facts_only: bool = False) -> Found | None:
    """The newest readable checkpoint, or None if there is none at all; `facts_only` as `read_checkpoint`.

    Raises: WeightsError if there are checkpoints but none can be read: a run never starts afresh silently
    """
    damage: list[str] = []
    for path in (folder / LATEST, folder / PREVIOUS):
        if path.exists():
            try:
                return Found(read_checkpoint(path, facts_only=facts_only), path, "; ".join(damage))
            except WeightsError as error:
                damage.append(error.message)
    if damage:
        raise WeightsError(
            f"no checkpoint in {folder} can be read: {'; '.join(damage)}",
            hint="restore a copy, or delete the folder to start afresh",
        )
    return None


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names under a prefix, the way several state dicts share one file."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `prefixed`."""
    start = prefix + "."
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def generator(*key: int) -> torch.Generator:
    """A CPU generator that its key alone (seed, step, …) determines, so that a resume repeats it exactly."""
    mixed = 0x9E3779B97F4A7C15
    for part in key:  # Source: the splitmix64 finaliser, Steele et al. 2014
        mixed = (mixed ^ (part & (2**64 - 1))) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        mixed ^= mixed >> 31
    return torch.Generator().manual_seed(mixed % 2**63)
