"""How a diffusers folder says in what steps a model was trained, and what its U-Net answers.

Source: the `scheduler_config.json` of the published models, and the classes in diffusers that read them
"""

from collections.abc import Mapping
from typing import Any, Final

from fromnoise.errors import WeightsError
from fromnoise.specs import ModelSpec, Prediction, ScheduleKind, ScheduleSpec

PREDICTIONS: Final[dict[Prediction, str]] = {  # ours -> theirs
    "eps": "epsilon",
    "v": "v_prediction",
    "x0": "sample",
    "edm": "epsilon",
}
BETAS: Final[Mapping[ScheduleKind, str]] = {
    "scaled_linear": "scaled_linear",
    "linear": "linear",
    "cosine": "squaredcos_cap_v2",
}


def scheduler_config(spec: ModelSpec, *, euler: bool) -> dict[str, Any]:
    """`scheduler/scheduler_config.json`; `euler`: with the sampler that SDXL is published with.

    Raises: WeightsError if it cannot be said
    """
    schedule = spec.schedule
    if spec.prediction not in PREDICTIONS or schedule.kind not in (*BETAS, "edm"):
        problem = f"diffusers draws with no such U-Net that predicts {spec.prediction!r}"
        problem += f" on a {schedule.kind!r} schedule"
        raise WeightsError(problem, hint="convert to our format: --to ours")
    said = {"prediction_type": PREDICTIONS[spec.prediction], "num_train_timesteps": schedule.steps}
    if schedule.kind == "edm":
        return _edm(schedule) | said
    return _discrete(spec, euler) | said


def _discrete(spec: ModelSpec, euler: bool) -> dict[str, Any]:
    schedule = spec.schedule
    said = {
        "beta_end": schedule.beta_end,
        "beta_schedule": BETAS[schedule.kind],
        "beta_start": schedule.beta_start,
        "rescale_betas_zero_snr": schedule.zero_terminal,
        "steps_offset": 1,
        # Source: Lin et al. 2023, sec. 3.3 (arXiv:2305.08891): the last step must be among those taken
        "timestep_spacing": "trailing" if schedule.zero_terminal else "leading",
    }
    if spec.unet.guidance_width:
        return {"_class_name": "LCMScheduler", **said, "clip_sample": False, "set_alpha_to_one": True}
    if euler:
        return {"_class_name": "EulerDiscreteScheduler", **said}
    return {"_class_name": "DDIMScheduler", **said, "clip_sample": False, "set_alpha_to_one": False}


def _edm(schedule: ScheduleSpec) -> dict[str, Any]:
    return {
        "_class_name": "EDMEulerScheduler",
        "sigma_data": schedule.sigma_data,
        "sigma_max": schedule.sigma_max,
        "sigma_min": schedule.sigma_min,
    }
