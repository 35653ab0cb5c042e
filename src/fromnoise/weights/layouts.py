"""Which tables make a whole model, and what else is in its files."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import translate as as_regex
from functools import cache
from re import Pattern
from re import compile as compile_regex
from typing import Final

from fromnoise.specs import ClipSpec, ModelSpec, VaeSpec
from fromnoise.weights.key_rules import (
    diffusers_unet,
    diffusers_vae,
    hf_text,
    ldm_unet,
    ldm_vae,
    openclip_text,
)
from fromnoise.weights.model_converter import Plan, Rule

TextRules = Callable[[str, str], Iterator[Rule]]
Layout = Mapping[str, TextRules]  # where the text encoders of a checkpoint are, in the U-Net's order

DIFFUSERS_TEXTS: Final = ("text_encoder", "text_encoder_2")
LAYOUTS: Final[Mapping[str, Layout]] = {
    "sd1": {"cond_stage_model.transformer": hf_text},
    "sd2": {"cond_stage_model.model": openclip_text},
    "sdxl": {"conditioner.embedders.0.transformer": hf_text, "conditioner.embedders.1.model": openclip_text},
    "refiner": {"conditioner.embedders.0.model": openclip_text},  # and SD 2.x, written by SDXL's code
}


def checkpoint_rules(vae: VaeSpec, layout: str) -> tuple[Rule, ...]:
    """Everything in a single file of this layout."""
    rules = [*ldm_unet(), *ldm_vae(vae)]
    for place, (there, text_rules) in enumerate(LAYOUTS[layout].items()):
        rules += text_rules(there, f"texts.{place}")
    return tuple(rules)


def folder_rules(spec: ModelSpec, texts: Sequence[str] = DIFFUSERS_TEXTS) -> tuple[Rule, ...]:
    """Everything in a diffusers folder, its tensors named "unet.…", "vae.…", "text_encoder.…"."""
    rules = [*diffusers_unet(spec.unet.down, spec.unet.up), *diffusers_vae(spec.vae)]
    for place, (there, _) in enumerate(zip(texts, spec.texts, strict=False)):
        rules += hf_text(there, f"texts.{place}")
    return tuple(rules)


def folder_spec(spec: ModelSpec) -> ModelSpec:
    """The model as a diffusers folder holds it.

    Where the final norm is applied, diffusers reads the last state: SD 2.x loses the layers behind the state
    that its U-Net reads, and the projection that nothing reads.
    """
    return replace(spec, texts=tuple(map(_as_last, spec.texts)))


def _as_last(text: ClipSpec) -> ClipSpec:
    if not text.final_norm or text.hidden == -1:
        return text
    return replace(text, layers=text.layers + 1 + text.hidden, hidden=-1, projection=None)


# --- what is in files beside the networks ---

RECOMPUTED, TRAINING = "the schedule, computed from its definition", "only training needs it"
MARKER = "a marker: its presence says how the model was trained"
EMA: Final = "model_ema."  # before the names of running averages
JUNK: Final[Mapping[str, str]] = {  # pattern -> why it is left out
    "*.position_ids": "counts 0, 1, 2, …",
    "*.attn_mask": "the causal mask, computed",
    "*logit_scale": TRAINING,
    "*.visual.*": "CLIP's image tower",
    "*.vision_model.*": "CLIP's image tower",
    "visual.*": "CLIP's image tower",
    "vision_model.*": "CLIP's image tower",
    "embedder.*": "unCLIP's image encoder",
    "noise_augmentor.*": "unCLIP's statistics of images",
    "*.visual_projection.weight": "CLIP's image tower",
    "betas": RECOMPUTED,
    "alphas_cumprod*": RECOMPUTED,
    "sqrt_*": RECOMPUTED,
    "log_one_minus_*": RECOMPUTED,
    "posterior_*": RECOMPUTED,
    "denoiser.*": RECOMPUTED,
    "lvlb_weights": TRAINING,
    "logvar": TRAINING,
    "scale_factor": "the latents' scale, known from the family",
    "loss.*": TRAINING,
    "*.loss.*": TRAINING,
    "embedding_manager*": "left over from textual inversion",
    f"{EMA}*": "the running average of the U-Net's weights: a second copy",
    "control_model.*": "a ControlNet",
    "depth_model.*": "the network that estimates depth",
    "v_pred": MARKER,
    "ztsnr": MARKER,
    "edm_*": MARKER,
}


def sift(names: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """The names of the networks' tensors, and of the others: why each is left out."""
    pattern, reasons = _junk_pattern(), list(JUNK.values())
    dropped = {
        name: reasons[match.lastindex - 1]
        for name in names
        if (match := pattern.match(name)) and match.lastindex
    }
    return [name for name in names if name not in dropped], dropped


@cache
def _junk_pattern() -> Pattern[str]:
    return compile_regex("|".join(f"({as_regex(pattern)})" for pattern in JUNK))


def ema_name(name: str) -> str:
    """Under which name a checkpoint keeps the running average of this tensor of the U-Net."""
    return EMA + name.removeprefix("model.").replace(".", "")


def averaged(recipes: Plan, names: Collection[str]) -> Plan:
    """The same plan, reading the running average of every tensor that has one."""

    def source(name: str) -> str:
        return ema if (ema := ema_name(name)) in names else name

    return {
        target: replace(recipe, sources=tuple(map(source, recipe.sources)))
        for target, recipe in recipes.items()
    }
