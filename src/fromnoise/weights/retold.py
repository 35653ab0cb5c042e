"""What will be read from a draft about noise and latents: what it has no words for is refused, not bent."""

import json
from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.specs import ModelSpec, ScheduleKind
from fromnoise.weights.drafts import Draft, Origin
from fromnoise.weights.families import usual, variant_of
from fromnoise.weights.folder_facts import declared_family
from fromnoise.weights.folder_texts import SCHEDULER_FILE
from fromnoise.weights.folders import CONFIG, MODEL_INDEX, SCHEDULER
from fromnoise.weights.modelspec import EDM_HIGH, EDM_LOW, EDM_MEAN, EDM_STD, V_PRED, ZTSNR
from fromnoise.weights.native import HEADER
from fromnoise.weights.prediction import levels, settle
from fromnoise.weights.stored import Stored
from fromnoise.weights.witnesses import ALPHAS

MARKS: Final = (EDM_MEAN, EDM_STD, EDM_LOW, EDM_HIGH, V_PRED, ZTSNR, ALPHAS)
CONFIGS: Final = {SCHEDULER: SCHEDULER_FILE, "vae": f"vae/{CONFIG}", "model_index": MODEL_INDEX}
NUMBERS: Final[dict[ScheduleKind, tuple[str, ...]]] = {  # that a schedule of this kind is made from
    "scaled_linear": ("steps", "beta_start", "beta_end"),
    "linear": ("steps", "beta_start", "beta_end"),
    "cosine": ("steps",),
    "flow": ("steps", "shift"),
    "edm": ("sigma_min", "sigma_max", "sigma_data"),
}
CLOSE: Final = 1e-6  # the marks of a single file are float32


def check_told(origin: Origin, draft: Draft, target: str) -> None:
    """Refuse a draft that will be understood otherwise than its source was.

    Raises: WeightsError; `target` says in its message what is to be written
    """
    if "schedule" in origin.identity.undecided and not origin.odd_table and not draft.texts:
        problem = "its scheduler has betas of its own, which only a diffusers folder can say"
        raise WeightsError(f"{origin.stored.name} cannot be converted: {problem}", hint="convert to a folder")
    if HEADER in draft.metadata:  # ours holds the very spec
        return
    configs = {name: json.loads(draft.texts[path]) for name, path in CONFIGS.items() if path in draft.texts}
    marks = {name: _mark(origin, draft, name) for name in MARKS if name in draft.files.get("", {})}
    if lost := unsaid(origin.spec, origin.family, draft.metadata, marks, configs):
        problem = f"{origin.stored.name} cannot be converted: {target} has no words for {lost}"
        raise WeightsError(problem, hint="convert to our format: --to ours")


def unsaid(
    spec: ModelSpec,
    family: str,
    metadata: Mapping[str, str],
    marks: Mapping[str, Tensor],
    configs: Mapping[str, Mapping[str, Any]],
) -> str:
    """What of a model a reader of all this will understand otherwise; "" if nothing."""
    told = Stored(
        spec.name,
        Path(),
        "folder",  # whatever it is to be: what lies beside the source will not lie beside it
        {name: tuple(mark.shape) for name, mark in marks.items()},
        {name: mark.dtype for name, mark in marks.items()},
        {} if configs else metadata,  # diffusers reads a folder's JSON alone
        configs,
        fetch=marks.__getitem__,
    )
    family = family or declared_family(configs)
    base = usual(family, variant_of(spec.unet, family).name)
    return _lost(spec, settle(told, base, family)[0])


def _mark(origin: Origin, draft: Draft, name: str) -> Tensor:
    return draft.added[name] if name in draft.added else origin.stored.read(name)


def _lost(wanted: ModelSpec, found: ModelSpec) -> str:
    """What of the first is not so in the second; "" if nothing is."""
    ours, theirs = wanted.schedule, found.schedule
    zero = ", zero terminal SNR" if ours.zero_terminal else ""
    if (ours.kind, ours.zero_terminal) != (theirs.kind, theirs.zero_terminal) or not _close(
        [getattr(ours, name) for name in NUMBERS[ours.kind]],
        [getattr(theirs, name) for name in NUMBERS[ours.kind]],
    ):
        return f"the noise schedule {levels(ours)}{zero} of a U-Net that predicts {wanted.prediction!r}"
    if wanted.prediction != found.prediction:
        return f"a U-Net that predicts {wanted.prediction!r} on the noise schedule {levels(ours)}{zero}"
    if not _close(_latents(wanted), _latents(found)):
        return f"the scale of its latents, {wanted.vae.latent_scale:g}"
    return ""


def _latents(spec: ModelSpec) -> list[float]:
    return [spec.vae.latent_scale, *spec.vae.latent_mean, *spec.vae.latent_std]


def _close(some: list[float], others: list[float]) -> bool:
    pairs = zip(some, others, strict=False)
    return len(some) == len(others) and all(isclose(a, b, rel_tol=CLOSE) for a, b in pairs)
