"""What a file says of itself in words: the metadata and the marker tensors that other programs look for.

Source: Stability AI's ModelSpec 1.0.0; marker tensors as ComfyUI writes and reads them
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from fromnoise.specs import ModelSpec, Prediction
from fromnoise.weights.native import HEADER
from fromnoise.weights.stored import VARIANT

PREFIX: Final = "modelspec."
PREDICTION, ARCHITECTURE = f"{PREFIX}prediction_type", f"{PREFIX}architecture"
VERSION: Final = "1.0.0"
SAID: Final[Mapping[Prediction, str]] = {"eps": "epsilon", "v": "v"}

STABILITY: Final = "https://github.com/Stability-AI/generative-models"
IMPLEMENTATIONS: Final[Mapping[str, str]] = {
    "sd1": "https://github.com/CompVis/stable-diffusion",
    "sd2": "https://github.com/Stability-AI/stablediffusion",
    "sdxl": STABILITY,
    "refiner": STABILITY,
}
ARCHITECTURES: Final[Mapping[str, str]] = {
    "sd1": "stable-diffusion-v1",
    "sd2": "stable-diffusion-v2-512",
    "sdxl": "stable-diffusion-xl-v1-base",
    "refiner": "stable-diffusion-xl-v1-refiner",
}
SD2_V: Final = "stable-diffusion-v2-768-v"

# true of the old file only: its hash; what the containers say of themselves; how our format is told apart
SPEC: Final = "fromnoise.spec"  # of the model that a folder was made from
STALE: Final = ("format", f"{PREFIX}hash_sha256", VARIANT, HEADER, SPEC)

V_PRED, ZTSNR = "v_pred", "ztsnr"
EDM_MEAN, EDM_STD = "edm_mean", "edm_std"  # Playground 2.5
EDM_LOW, EDM_HIGH = "edm_vpred.sigma_min", "edm_vpred.sigma_max"  # CosXL


def described(spec: ModelSpec, family: str, title: str, found: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a converted file: what the source says, and what it leaves unsaid.

    Of the prediction type only the spec is believed, for the user's word is in it.
    """
    kept = {name: text for name, text in found.items() if name not in (*STALE, PREDICTION)}
    if family == "sd2":  # its name says the prediction type
        kept.pop(ARCHITECTURE, None)
    said: dict[str, str] = {
        f"{PREFIX}sai_model_spec": VERSION,
        f"{PREFIX}title": title,
        f"{PREFIX}resolution": f"{spec.defaults.width}x{spec.defaults.height}",
    }
    if family in ARCHITECTURES:
        is_v = family == "sd2" and spec.prediction == "v"
        said[ARCHITECTURE] = SD2_V if is_v else ARCHITECTURES[family]
        said[f"{PREFIX}implementation"] = IMPLEMENTATIONS[family]
    if spec.prediction in SAID:
        said[PREDICTION] = SAID[spec.prediction]
    return said | kept


def markers(spec: ModelSpec, family: str) -> dict[str, Tensor]:
    """The tensors whose presence says how a single file was trained; SD 2.x says it otherwise."""
    schedule, vae = spec.schedule, spec.vae
    if schedule.kind == "edm" and spec.prediction == "v":
        return {EDM_LOW: torch.tensor(schedule.sigma_min), EDM_HIGH: torch.tensor(schedule.sigma_max)}
    if schedule.kind == "edm":
        one_a_channel = (1, -1, 1, 1)
        return {
            EDM_MEAN: torch.tensor(vae.latent_mean).view(one_a_channel),
            EDM_STD: torch.tensor(vae.latent_std).view(one_a_channel),
        }
    said = {V_PRED: spec.prediction == "v" and family != "sd2", ZTSNR: schedule.zero_terminal}
    return {name: torch.zeros(0) for name, is_so in said.items() if is_so}
