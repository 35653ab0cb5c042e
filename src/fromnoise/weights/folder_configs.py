"""What the JSON files of a diffusers folder say of a model, so that diffusers builds the same one.

Not every model can be said: what its configurations have no words for is refused here, by name.
Source: the `config.json` of the published models; the classes in diffusers and transformers that read them
"""

from collections.abc import Mapping
from typing import Any, Final

from fromnoise.errors import WeightsError
from fromnoise.specs import ClipSpec, ModelSpec, UNetSpec, VaeSpec
from fromnoise.weights.families import EDIT, INPAINT
from fromnoise.weights.schedule_configs import scheduler_config

Config = dict[str, Any]

LIBRARY_VERSION: Final = "0.35.0"  # of diffusers, whose words these are
SINGLE_FILE: Final = "convert to a single .safetensors file instead"
CLIP_EPS: Final = 1e-5  # torch's default for LayerNorm
CLIP_WIDENING: Final = 4  # of its feed-forward layers
SIZES: Final = {"sdxl": 6, "refiner": 5}  # numbers about size and crop that enter the U-Net beside the text


# --- networks ---


def unet_config(spec: UNetSpec, texts: tuple[ClipSpec, ...], family: str, sample_size: int) -> Config:
    """`unet/config.json`.  Units: sample_size in latents  Raises: WeightsError if it cannot be said"""
    down, up = [_layers(d) for d in spec.down], [_layers(d) for d in spec.up]
    if spec.mid and not any(spec.down[-1]):
        down[-1] = spec.mid  # nothing else is built from it
    if spec.mid and down[-1] != spec.mid:
        problem = f"a middle of {spec.mid} transformer layers below a level of {down[-1]}"
        raise _unsayable(problem)
    blocks = [len(depths) for depths in spec.down]
    heads = [spec.heads or width // (spec.head_width or width) for width in spec.widths]
    return {
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": LIBRARY_VERSION,
        "act_fn": "silu",
        "attention_head_dim": _alike(heads),  # in spite of its name the number of heads
        "block_out_channels": spec.widths,
        "center_input_sample": False,
        "cross_attention_dim": spec.context_width,
        "down_block_types": ["CrossAttnDownBlock2D" if any(d) else "DownBlock2D" for d in spec.down],
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": spec.in_channels,
        "layers_per_block": _alike(blocks),
        "mid_block_type": _middle(spec.mid),
        "norm_eps": 1e-5,
        "norm_num_groups": spec.groups,
        "out_channels": spec.out_channels,
        "sample_size": sample_size,
        "time_cond_proj_dim": spec.guidance_width,
        "transformer_layers_per_block": _alike(down),
        "reverse_transformer_layers_per_block": _reverse(spec, down, up),
        "up_block_types": ["CrossAttnUpBlock2D" if any(d) else "UpBlock2D" for d in spec.up],
        "use_linear_projection": spec.linear_projection,
        **_pooled(spec, texts, family),
    }


def _layers(depths: tuple[int, ...]) -> int | list[int]:
    """One number for a level if it is the same for all its blocks; a level without attention counts as 1."""
    if any(depths) and not all(depths):
        raise _unsayable("a level of which some blocks have attention and some have none")
    return _alike(list(depths)) or 1


def _alike(values: list[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else values


def _middle(mid: int | None) -> str | None:
    if mid is None:
        return None
    return "UNetMidBlock2DCrossAttn" if mid else "UNetMidBlock2D"


def _reverse(spec: UNetSpec, down: list[int | list[int]], up: list[int | list[int]]) -> list[Any] | None:
    """The layers on the way up, where they are not those on the way down turned round."""
    mirrored = all(
        not any(depths) or (isinstance(down_level, int) and level == down_level)
        for depths, level, down_level in zip(spec.up, up, reversed(down), strict=True)
    )
    return None if mirrored and all(isinstance(level, int) for level in down) else up


def _pooled(spec: UNetSpec, texts: tuple[ClipSpec, ...], family: str) -> Config:
    if spec.pooled_width is None:
        return {}
    text = texts[-1].projection if texts else None
    rest, count = spec.pooled_width - (text or 0), SIZES.get(family, 0)
    if not (text and count and rest > 0 and rest % count == 0):
        raise _unsayable(f"a vector of {spec.pooled_width} numbers beside the text")
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": rest // count,
        "projection_class_embeddings_input_dim": spec.pooled_width,
    }


def vae_config(spec: VaeSpec, family: str, sample_size: int) -> Config:
    """`vae/config.json`.  Units: sample_size in pixels  Raises: WeightsError if it cannot be said"""
    if spec.patch != 1:
        raise _unsayable(f"an autoencoder that reads squares of {spec.patch} pixels")
    levels = len(spec.multipliers)
    measured = {"latents_mean": list(spec.latent_mean), "latents_std": list(spec.latent_std)}
    return {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": LIBRARY_VERSION,
        "act_fn": "silu",
        "block_out_channels": spec.widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "force_upcast": family in SIZES,  # SDXL's overflows in float16
        "in_channels": 3,
        "latent_channels": spec.latent_channels,
        "layers_per_block": spec.blocks,
        "mid_block_add_attention": spec.mid_attention,
        "norm_num_groups": spec.groups,
        "out_channels": 3,
        "sample_size": sample_size,
        "scaling_factor": spec.latent_scale,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        **(measured if spec.latent_mean and spec.latent_std else {}),
    }


def text_config(spec: ClipSpec) -> Config:
    """`text_encoder/config.json`."""
    return {
        "architectures": [text_class(spec)],
        "attention_dropout": 0.0,
        "bos_token_id": spec.end - 1,
        "eos_token_id": spec.end,
        "hidden_act": spec.activation,
        "hidden_size": spec.width,
        "intermediate_size": CLIP_WIDENING * spec.width,
        "layer_norm_eps": CLIP_EPS,
        "max_position_embeddings": spec.context,
        "model_type": "clip_text_model",
        "num_attention_heads": spec.heads,
        "num_hidden_layers": spec.layers,
        "pad_token_id": spec.pad,
        "projection_dim": spec.projection or spec.width,
        "vocab_size": spec.vocab,
    }


def text_class(spec: ClipSpec) -> str:
    """What transformers calls it."""
    return "CLIPTextModelWithProjection" if spec.projection else "CLIPTextModel"


# --- the pipeline ---


def model_index(spec: ModelSpec, family: str, texts: Mapping[str, ClipSpec]) -> Config:
    """`model_index.json`; `texts`: the text encoders by the names of their folders.  Raises: WeightsError"""
    places = ("text_encoder", "text_encoder_2") if family in SIZES else ("text_encoder",)
    index: Config = {
        "_class_name": _pipeline(spec, family),
        "_diffusers_version": LIBRARY_VERSION,
        "scheduler": ["diffusers", scheduler_config(spec, euler=family in SIZES)["_class_name"]],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    for place in places:
        found = texts.get(place)
        index[place] = ["transformers", text_class(found)] if found else [None, None]
        index[place.replace("text_encoder", "tokenizer")] = (
            ["transformers", "CLIPTokenizer"] if found else [None, None]
        )
    if family == "refiner":
        index["requires_aesthetics_score"] = True
    if family in SIZES:
        return index | {"force_zeros_for_empty_prompt": family == "sdxl"}
    nobody = {"safety_checker": [None, None], "feature_extractor": [None, None]}
    return index | nobody | {"requires_safety_checker": False}


def _pipeline(spec: ModelSpec, family: str) -> str:
    """The class that draws with it."""
    start = "StableDiffusionXL" if family in SIZES else "StableDiffusion"
    channels = spec.unet.in_channels
    if family == "refiner":
        return "StableDiffusionXLImg2ImgPipeline"
    if channels == INPAINT:
        return f"{start}InpaintPipeline"
    if channels == EDIT:
        return f"{start}InstructPix2PixPipeline"
    if channels != spec.vae.latent_channels:
        raise _unsayable(f"a U-Net that is shown {channels} channels")
    if spec.unet.guidance_width and family not in SIZES:
        return "LatentConsistencyModelPipeline"
    return f"{start}Pipeline"


def _unsayable(what: str) -> WeightsError:
    return WeightsError(f"diffusers has no words for {what}", hint=SINGLE_FILE)
