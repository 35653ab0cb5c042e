"""The names of samplers, spacings and worlds, and what others call them. No torch: doors check early."""

from collections.abc import Mapping

from fromnoise.errors import RequestError, did_you_mean

SAMPLER_NAMES = ("ddpm", "ddim", "euler", "euler_a", "heun", "dpmpp_2m", "lcm")
SPACING_NAMES = ("karras", "exponential", "leading", "linspace", "trailing", "uniform")
WORLD_NAMES = ("small", "full", "letters")
PRESET_NAMES = ("brisk", "quick", "hasty")

UNSTEADY: Mapping[str, str] = {  # samplers that cannot reuse what the step before calculated, and why
    "heun": "heun asks twice a step, and its second answer would repeat the first one's",
    "lcm": "lcm begins anew at every step, so nothing of the step before fits",
}

# what users type (in lower case) -> our sampler, and the spacing where the name implies one
SAMPLER_ALIASES: Mapping[str, tuple[str, str | None]] = {
    # labels of AUTOMATIC1111 and Forge
    "euler a": ("euler_a", None),
    "euler karras": ("euler", "karras"),
    "euler a karras": ("euler_a", "karras"),
    "heun karras": ("heun", "karras"),
    "dpm++ 2m": ("dpmpp_2m", None),
    "dpm++ 2m karras": ("dpmpp_2m", "karras"),
    "dpm++ 2m exponential": ("dpmpp_2m", "exponential"),
    "lcm karras": ("lcm", "karras"),
    # ids of k-diffusion and ComfyUI
    "euler_ancestral": ("euler_a", None),
    "k_euler": ("euler", None),
    "k_euler_a": ("euler_a", None),
    "k_euler_ancestral": ("euler_a", None),
    "k_heun": ("heun", None),
    "k_dpmpp_2m": ("dpmpp_2m", None),
    "k_dpmpp_2m_ka": ("dpmpp_2m", "karras"),
    "k_lcm": ("lcm", None),
    "sample_euler": ("euler", None),
    "sample_euler_ancestral": ("euler_a", None),
    "sample_heun": ("heun", None),
    "sample_dpmpp_2m": ("dpmpp_2m", None),
    "sample_lcm": ("lcm", None),
    "ddim_trailing": ("ddim", "trailing"),
    "dpmpp2m": ("dpmpp_2m", None),
    "dpm++2m": ("dpmpp_2m", None),
    # ids of InvokeAI: the ending _k means Karras
    "euler_k": ("euler", "karras"),
    "heun_k": ("heun", "karras"),
    "dpmpp_2m_k": ("dpmpp_2m", "karras"),
    # classes of diffusers
    "ddpmscheduler": ("ddpm", None),
    "ddimscheduler": ("ddim", None),
    "eulerdiscretescheduler": ("euler", None),
    "eulerancestraldiscretescheduler": ("euler_a", None),
    "heundiscretescheduler": ("heun", None),
    "dpmsolvermultistepscheduler": ("dpmpp_2m", None),
    "lcmscheduler": ("lcm", "trailing"),
    "flowmatcheulerdiscretescheduler": ("euler", "uniform"),
}

SPACING_ALIASES: Mapping[str, str] = {
    "normal": "linspace",
    "discrete": "linspace",
    "simple": "trailing",
    "sgm_uniform": "uniform",
    "ddim_uniform": "leading",
}


def find_sampler(name: str) -> tuple[str, str | None]:
    """Our sampler for any name in use, and the spacing that it implies, if any.  Raises: RequestError"""
    key = name.strip().lower()
    if key in SAMPLER_NAMES:
        return key, None
    if key in SAMPLER_ALIASES:
        return SAMPLER_ALIASES[key]
    raise RequestError({"sampler": f"{name!r} is unknown; {did_you_mean(key, SAMPLER_NAMES)}"})


def find_spacing(name: str) -> str:
    """Our spacing for any name in use.  Raises: RequestError"""
    key = name.strip().lower()
    spacing = SPACING_ALIASES.get(key, key)
    if spacing not in SPACING_NAMES:
        raise RequestError({"spacing": f"{name!r} is unknown; {did_you_mean(key, SPACING_NAMES)}"})
    return spacing
