"""Every U-Net and model that files are known to hold, at full size, and the same shapes at a tiny one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromnoise.nets.diffusion import UNet
from fromnoise.specs import REFINER, SD15, SD21, SDXL, ClipSpec, ModelSpec, UNetSpec
from fromnoise.weights.native import Parts, Uninitialised
from fromnoise.weights.stored import Stored

SD1, SD2, XL = SD15.unet, SD21.unet, SDXL.unet
PAIRS = ((1, 1),) * 3
UNETS: dict[str, UNetSpec] = {
    "sd1": SD1,
    "sd1 inpaint": replace(SD1, in_channels=9),
    "instruct-pix2pix": replace(SD1, in_channels=8),
    "sd1 squeezed": replace(SD1, linear_projection=True),  # by a converter that knew only the later families
    "lcm": replace(SD1, guidance_width=256),
    "sd2": SD2,
    "sd2 inpaint": replace(SD2, in_channels=9),
    "sd2 depth": replace(SD2, in_channels=5),
    "sd2 unclip": replace(SD2, pooled_width=2048),
    "sdxl": XL,
    "sdxl inpaint": replace(XL, in_channels=9),
    "sdxl edit": replace(XL, in_channels=8),
    "sdxl lcm": replace(XL, guidance_width=256),
    "refiner": REFINER.unet,
    # half of the layers taken out: Kim et al. 2023 (arXiv:2305.15798)
    "bk-sdm base": replace(SD1, down=((1,), (1,), (1,), (0,)), up=((0, 0), *PAIRS)),
    "bk-sdm small": replace(SD1, down=((1,), (1,), (1,), (0,)), mid=None, up=((0, 0), *PAIRS)),
    "bk-sdm tiny": replace(SD1, multipliers=(1, 2, 4), down=((1,),) * 3, mid=None, up=PAIRS),
    "sdxs": replace(
        SD2, multipliers=(1, 2, 4), down=((0,), (1,), (1,)), mid=None, up=((1, 1), (1, 1), (0, 0))
    ),
    # Gupta et al. 2024 (arXiv:2401.02677)
    "ssd-1b": replace(XL, down=((0, 0), (2, 2), (4, 4)), mid=0, up=((4, 4, 10), (2, 1, 1), (0, 0, 0))),
    "vega": replace(XL, down=((0, 0), (1, 1), (2, 2)), mid=0, up=((2, 2, 2), (1, 1, 1), (0, 0, 0))),
    # Lee et al. 2023 (arXiv:2312.04005)
    "koala 700m": replace(XL, down=((0,), (2,), (5,)), mid=None, up=((5, 5), (2, 2), (0, 0))),
    "koala 1b": replace(XL, down=((0,), (2,), (6,)), mid=6, up=((6, 6), (2, 2), (0, 0))),
}


def tiny(spec: UNetSpec) -> UNetSpec:
    """The same stages, narrow."""
    return replace(
        spec,
        base_width=8,
        groups=4,
        heads=2 if spec.heads else None,
        head_width=4 if spec.head_width else None,
        context_width=12,
        pooled_width=spec.pooled_width and 10,
        guidance_width=spec.guidance_width and 6,
    )


def tiny_text(spec: ClipSpec) -> ClipSpec:
    small = replace(spec, vocab=40, context=7, width=12, heads=2, layers=3, end=39, pad=0)
    return replace(small, projection=spec.projection and 10)


def tiny_model(spec: ModelSpec) -> ModelSpec:
    return replace(
        spec,
        texts=tuple(map(tiny_text, spec.texts)),
        vae=replace(spec.vae, base_width=4, groups=2),
        unet=tiny(spec.unet),
    )


MODELS = {"sd1": SD15, "sd2": SD21, "sdxl": SDXL, "refiner": REFINER}  # by the layout of their checkpoints
FOLDERS = {"refiner": ("text_encoder_2",)}  # where it is not the usual row

DOWN, CROSS_DOWN, UP, CROSS_UP = "DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"
# `unet/config.json` of the published models, as far as it differs from diffusers' defaults.
CONFIGS: dict[str, dict[str, Any]] = {
    "sd1": {"cross_attention_dim": 768},
    "sd2": {
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": (DOWN, CROSS_DOWN, CROSS_DOWN),
        "up_block_types": (CROSS_UP, CROSS_UP, UP),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    "refiner": {
        "block_out_channels": (384, 768, 1536, 1536),
        "down_block_types": (DOWN, CROSS_DOWN, CROSS_DOWN, DOWN),
        "up_block_types": (UP, CROSS_UP, CROSS_UP, UP),
        "transformer_layers_per_block": 4,
        "attention_head_dim": (6, 12, 24, 24),
        "cross_attention_dim": 1280,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2560,
    },
}
CONFIGS |= {
    "lcm": {**CONFIGS["sd1"], "time_cond_proj_dim": 256},
    "sd1 inpaint": {**CONFIGS["sd1"], "in_channels": 9},
    "instruct-pix2pix": {**CONFIGS["sd1"], "in_channels": 8},
    "sd2 inpaint": {**CONFIGS["sd2"], "in_channels": 9},
    "sd2 depth": {**CONFIGS["sd2"], "in_channels": 5},
    "sdxl inpaint": {**CONFIGS["sdxl"], "in_channels": 9},
    "sdxl edit": {**CONFIGS["sdxl"], "in_channels": 8},
    "sdxl lcm": {**CONFIGS["sdxl"], "time_cond_proj_dim": 256},
    "bk-sdm base": {**CONFIGS["sd1"], "layers_per_block": 1},
    "bk-sdm small": {**CONFIGS["sd1"], "layers_per_block": 1, "mid_block_type": None},
    "bk-sdm tiny": {
        **CONFIGS["sd1"],
        "block_out_channels": (320, 640, 1280),
        "down_block_types": (CROSS_DOWN,) * 3,
        "up_block_types": (CROSS_UP,) * 3,
        "layers_per_block": 1,
        "mid_block_type": None,
    },
    "sdxs": {
        **CONFIGS["sd2"],
        "block_out_channels": (320, 640, 1280),
        "down_block_types": (DOWN, CROSS_DOWN, CROSS_DOWN),
        "up_block_types": (CROSS_UP, CROSS_UP, UP),
        "attention_head_dim": (5, 10, 20),
        "layers_per_block": 1,
        "mid_block_type": None,
    },
    "ssd-1b": {
        **CONFIGS["sdxl"],
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": (1, (2, 2), (4, 4)),
        "reverse_transformer_layers_per_block": ((4, 4, 10), (2, 1, 1), 1),
    },
    "vega": {
        **CONFIGS["sdxl"],
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": (1, (1, 1), (2, 2)),
        "reverse_transformer_layers_per_block": ((2, 2, 2), (1, 1, 1), 1),
    },
    "koala 700m": {
        **CONFIGS["sdxl"],
        "layers_per_block": 1,
        "mid_block_type": None,
        "transformer_layers_per_block": (1, 2, 5),
    },
    "koala 1b": {
        **CONFIGS["sdxl"],
        "layers_per_block": 1,
        "transformer_layers_per_block": (1, 2, 6),
    },
}


def tiny_config(name: str) -> dict[str, Any]:
    """The published configuration of a U-Net, as narrow as `tiny` makes ours."""
    return {**config_like(name, tiny(UNETS[name])), "addition_time_embed_dim": 1}


def config_like(name: str, spec: UNetSpec) -> dict[str, Any]:
    """The published configuration of a U-Net, in the widths of this one."""
    return {
        **CONFIGS[name],
        "block_out_channels": tuple(spec.widths),
        "norm_num_groups": spec.groups,
        "attention_head_dim": tuple(map(spec.heads_for, spec.widths)),
        "cross_attention_dim": spec.context_width,
        "time_cond_proj_dim": spec.guidance_width,
        "projection_class_embeddings_input_dim": spec.pooled_width,
    }


def meta_state(spec: UNetSpec) -> dict[str, Any]:
    """Names and shapes of our U-Net, without memory."""
    with torch.device("meta"), Uninitialised():
        return {f"unet.{name}": tensor for name, tensor in UNet(spec).state_dict().items()}


def meta_parts(spec: ModelSpec) -> dict[str, Tensor]:
    """Names and shapes of our whole model, without memory."""
    with torch.device("meta"), Uninitialised():
        return Parts.blank(spec).state()


def stored_of(
    tensors: Mapping[str, Tensor | tuple[int, ...]],
    *,
    metadata: Mapping[str, str] | None = None,
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    path: Path = Path("model.safetensors"),
) -> Stored:
    """As if a file held these; a shape stands for a tensor without numbers, which may not be read."""
    state = {n: torch.empty(t, device="meta") if isinstance(t, tuple) else t for n, t in tensors.items()}

    def read(name: str) -> Tensor:
        assert state[name].device.type != "meta", f"{name} was read"
        return state[name]

    return Stored(
        path.name,
        path,
        "folder" if configs else "safetensors",
        {name: tuple(tensor.shape) for name, tensor in state.items()},
        {name: tensor.dtype for name, tensor in state.items()},
        metadata or {},
        configs or {},
        fetch=read,
    )
