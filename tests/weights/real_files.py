"""A file that somebody has: which row of docs/weights.md it belongs to, and what is found out about it."""

from pathlib import Path

import diffusers
import torch
from figures import BEYOND_DIFFUSERS, EQUAL, UNEQUAL, figure, network_error
from kinds import KINDS
from torch import Tensor

from fromnoise.cli.convert import spell
from fromnoise.weights.conversion import Wishes, convert
from fromnoise.weights.detect import detect
from fromnoise.weights.digests import SHORT, digest_of
from fromnoise.weights.model_converter import Plan
from fromnoise.weights.model_loader import load_model
from fromnoise.weights.native import Parts
from fromnoise.weights.planning import plan_for
from fromnoise.weights.stored import Stored, open_weights


def tried(path: Path, home: Path) -> tuple[str, str]:
    """The row of a file or folder, and the cell for it; its copies are made in `home`.

    Raises: LookupError if it is of a kind that has no row; whatever loading and converting raise
    """
    parts = load_model(path)
    name = row_of(parts)
    folder, file = home / "folder", home / "file.safetensors"
    there, back = (file, folder) if path.is_dir() else (folder, file)
    for source, target in ((path, there), (there, back)):
        convert(source, target, Wishes(), spell, lambda done, note: None)
    with open_weights(path) as before, open_weights(back) as after:
        digest = digest_of(before.files)()[:SHORT]
        is_equal = EQUAL if is_copy(after, before) else UNEQUAL
    kind = getattr(diffusers, KINDS[name].pipeline)
    pipes = [kind.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32)]
    if KINDS[name].unet not in BEYOND_DIFFUSERS:
        single = file if path.is_dir() else path
        pipes.append(kind.from_single_file(str(single), config=str(folder), local_files_only=True))
    error = max(network_error(parts, pipe.to(torch.float32)) for pipe in pipes)
    return name, f"{digest}: {figure(error)}, {is_equal}"


def row_of(parts: Parts) -> str:
    """The kind of model that this is.  Raises: LookupError"""
    spec = parts.spec
    noise = spec.prediction, spec.schedule.kind, spec.schedule.zero_terminal
    found = parts.about.get("family"), parts.about.get("variant"), *noise
    for name, kind in KINDS.items():
        schedule = kind.full.schedule
        if found == (kind.family, kind.variant, kind.full.prediction, schedule.kind, schedule.zero_terminal):
            return name
    raise LookupError(f"there is no row for {found}: send the output of `fromnoise inspect`")


def is_copy(copy: Stored, original: Stored) -> bool:
    """Do the networks have the same numbers, bit by bit, whatever they are called in either?"""
    plans = [(stored, plan_for(stored, detect(stored))) for stored in (copy, original)]
    names = {frozenset(recipes) for _, recipes in plans}
    return len(names) == 1 and all(same(*(made(*each, name) for each in plans)) for name in names.pop())


def made(stored: Stored, recipes: Plan, name: str) -> Tensor:
    return recipes[name]({source: stored.read(source) for source in recipes[name].sources})


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)
