"""What the JSON files of a diffusers folder say: how its model was trained, and what shapes do not tell."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from fromnoise.errors import WeightsError
from fromnoise.specs import ClipSpec, Prediction, ScheduleKind, ScheduleSpec, UNetSpec, VaeSpec
from fromnoise.weights.folders import ALONE
from fromnoise.weights.testimony import PLAYGROUND_LEVELS, WORDS, Latents, Word
from fromnoise.weights.wording import shown

Config = Mapping[str, Any]
Configs = Mapping[str, Config]

KINDS: Final[Mapping[str, ScheduleKind]] = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
}
# What diffusers' classes take for what a configuration leaves out.
LEFT_OUT: Final = ScheduleSpec(kind="linear", beta_start=0.0001, beta_end=0.02)
LEFT_OUT_LCM: Final = ScheduleSpec()
LEFT_OUT_HEADS, LEFT_OUT_GROUPS = 8, 32
MOST_TIMES: Final = 100_000  # of training; a table of noise levels has a row for each


# --- how it was trained ---


def folder_words(configs: Configs) -> Iterator[Word]:
    """What its scheduler and its autoencoder say."""
    if scheduler := configs.get("scheduler"):
        yield _scheduler(scheduler)
    vae = configs.get("vae", {})
    if vae.get("scaling_factor") is not None:
        scale = _within(vae, "scaling_factor", 1.0, 1e-3, 1e3)
        mean, std = _numbers(vae.get("latents_mean")), _numbers(vae.get("latents_std"))
        measured = (mean, std) if mean and len(mean) == len(std) else ()
        yield Word("scaling_factor of vae/config.json", latents=Latents(scale, *measured))


def _scheduler(config: Config) -> Word:
    name = str(config.get("_class_name", ""))
    said = str(config.get("prediction_type", "epsilon"))
    evidence = f"scheduler_config.json: {shown(name)}, prediction_type {shown(said)!r}"
    if name.startswith("FlowMatch"):
        return Word(
            evidence, "flow", ScheduleSpec(kind="flow", shift=_within(config, "shift", 1.0, 1e-3, 1e3))
        )
    if name.startswith("EDM"):
        prediction: Prediction = "edm" if WORDS.get(said) == "eps" else "v"
        return Word(evidence, prediction, _levels(config))
    usual = LEFT_OUT_LCM if name == "LCMScheduler" else LEFT_OUT
    kind = KINDS.get(str(config.get("beta_schedule", usual.kind)))
    zero = config.get("rescale_betas_zero_snr")
    doubt = "" if kind and config.get("trained_betas") is None else "betas of its own"
    schedule = None if doubt else _betas(config, usual, kind or usual.kind)
    return Word(evidence, WORDS.get(said), schedule, zero if isinstance(zero, bool) else None, doubt=doubt)


def _levels(config: Config) -> ScheduleSpec:
    usual = PLAYGROUND_LEVELS
    return replace(
        usual,
        sigma_min=_within(config, "sigma_min", usual.sigma_min, 1e-6, 1.0),
        sigma_max=_within(config, "sigma_max", usual.sigma_max, 1.0, 1e6),
        sigma_data=_within(config, "sigma_data", usual.sigma_data, 1e-3, 1e3),
    )


def _betas(config: Config, usual: ScheduleSpec, kind: ScheduleKind) -> ScheduleSpec:
    return ScheduleSpec(
        kind=kind,
        steps=int(_within(config, "num_train_timesteps", usual.steps, 2, MOST_TIMES)),
        beta_start=_within(config, "beta_start", usual.beta_start, 0.0, 0.999),
        beta_end=_within(config, "beta_end", usual.beta_end, 1e-6, 0.999),
    )


# --- what shapes do not tell ---


def declared_family(configs: Configs) -> str:
    """The family whose way of reading texts the folder's pipeline has; "" if it does not say."""
    index = configs.get("model_index", {})
    name = str(index.get("_class_name", ""))
    if "StableDiffusionXL" in name:
        return "refiner" if index.get("requires_aesthetics_score") is True else "sdxl"
    if name.startswith(("StableDiffusion", "LatentConsistency")):
        return "sd2" if configs.get("text_encoder", {}).get("hidden_act") == "gelu" else "sd1"
    return ""


def unet_like(configs: Configs, like: UNetSpec | None) -> UNetSpec | None:
    """`like` with the heads and groups of the folder's U-Net."""
    config = configs.get("unet") or configs.get(ALONE, {})
    widths = _numbers(config.get("block_out_channels"))
    if not widths:
        return like
    # in spite of its name, attention_head_dim is the number of heads
    said = config.get("num_attention_heads") or config.get("attention_head_dim", LEFT_OUT_HEADS)
    heads = _numbers(said) or (_number({"": said}, "", LEFT_OUT_HEADS),) * len(widths)
    groups = int(_number(config, "norm_num_groups", LEFT_OUT_GROUPS))
    alike = len(set(heads)) == 1
    return UNetSpec(  # of one level without attention, which suits any heads
        base_width=groups,
        multipliers=(1,),
        down=((0,),),
        mid=None,
        up=((0, 0),),
        groups=groups,
        heads=int(heads[0]) if alike else None,
        head_width=None if alike else int(widths[0] // max(heads[0], 1)),
        context_width=like.context_width if like else UNetSpec.context_width,
    )


def vae_like(configs: Configs, like: VaeSpec) -> VaeSpec:
    """`like` with the groups of the folder's autoencoder."""
    config = configs.get("vae") or configs.get(ALONE, {})
    groups = int(_number(config, "norm_num_groups", like.groups))
    return replace(like, base_width=groups, groups=groups)  # a width that any number of groups divides


def text_like(config: Config, like: ClipSpec, width: int) -> ClipSpec:
    """`like` with what the folder says of a text encoder of another width than its family's.

    Its end is the last of its vocabulary, as CLIP's is: configurations name other ids. What is behind CLIP's
    own vocabulary are words that were added to it.
    """
    if width == like.width:
        return like
    vocab = int(_number(config, "vocab_size", like.vocab))
    pad = int(_number(config, "pad_token_id", like.pad))
    layers = int(_number(config, "num_hidden_layers", like.layers))
    end = min(vocab, like.vocab) - 1
    last = like.final_norm  # where the final norm is applied, a folder ends with the state that is read
    return replace(
        like,
        vocab=vocab,
        width=width,
        heads=int(_number(config, "num_attention_heads", like.heads)),
        layers=layers,
        activation="gelu" if config.get("hidden_act") == "gelu" else "quick_gelu",
        end=end,
        pad=end if like.pad == like.end else pad if pad < vocab else 0,
        hidden=-1 if last else like.hidden,
    )


def _number(config: Config, key: str, usual: float) -> float:
    value = config.get(key, usual)
    return float(value) if isinstance(value, float | int) and not isinstance(value, bool) else usual


def _within(config: Config, key: str, usual: float, low: float, high: float) -> float:
    """A number, which must be one that a schedule can have.  Raises: WeightsError"""
    value = usual if (said := config.get(key)) is None else said
    if not isinstance(value, float | int) or not low <= value <= high:
        problem = f"its configuration says {shown(key)} = {shown(str(value))}, outside {low:g} to {high:g}"
        raise WeightsError(problem, hint="download it again")
    return float(value)


def _numbers(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        return ()
    numbers = cast(list[Any], value)
    return tuple(map(float, numbers)) if all(isinstance(number, float | int) for number in numbers) else ()
