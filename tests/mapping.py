"""Names of transformers and diffusers in our words: one way only, as much as the parity tests need."""

import re
from collections.abc import Mapping
from itertools import count
from typing import TypeVar

from fromnoise.specs import UNetSpec, VaeSpec

T = TypeVar("T")
Names = dict[str, str]  # theirs -> ours: whole words between dots, replaced one after another


def renamed(named: Mapping[str, T], names: Names) -> dict[str, T]:
    return {_rename(key, names): value for key, value in named.items()}


def _rename(key: str, names: Names) -> str:
    for theirs, ours in names.items():
        key = re.sub(rf"(?<![^.]){re.escape(theirs)}(?![^.])", ours, key)
    return key.lstrip(".")


LAYER = {
    "encoder.layers": "layers",
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.q_proj": "attention.to_q",
    "self_attn.k_proj": "attention.to_k",
    "self_attn.v_proj": "attention.to_v",
    "self_attn.out_proj": "attention.to_out",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
}
TEXT = {
    "text_model": "",
    "embeddings.token_embedding": "tokens",
    "embeddings.position_embedding": "positions",
    "final_layer_norm": "norm",
    "text_projection": "project",
    **LAYER,
}
IMAGE = {
    "vision_model": "",
    "embeddings.class_embedding": "whole",
    "embeddings.patch_embedding": "patches",
    "embeddings.position_embedding": "positions",
    "pre_layrnorm": "norm_in",
    "post_layernorm": "norm_out",
    "visual_projection": "project",
    **LAYER,
}
VAE = {
    "quant_conv": "encoder.to_gaussian",
    "post_quant_conv": "decoder.from_latent",
    "mid_block.resnets.0": "mid.block1",
    "mid_block.resnets.1": "mid.block2",
    "mid_block.attentions.0.group_norm": "mid.attention.norm",
    "mid_block.attentions.0": "mid.attention.attention",
    "to_out.0": "to_out",
    "conv_shortcut": "skip",
    "conv_in": "enter",
    "conv_norm_out": "norm",
    "conv_out": "leave",
}
UNET = {
    "time_embedding.linear_1": "time.0",
    "time_embedding.linear_2": "time.2",
    "time_embedding.cond_proj": "guidance",
    "add_embedding.linear_1": "pooled.0",
    "add_embedding.linear_2": "pooled.2",
    "mid_block.resnets.0": "mid.0",
    "mid_block.attentions.0": "mid.1",
    "mid_block.resnets.1": "mid.2",
    "time_emb_proj": "time",
    "conv_shortcut": "skip",
    "proj_in": "enter",
    "proj_out": "leave",
    "transformer_blocks": "blocks",
    "attn1": "self_attention",
    "attn2": "cross_attention",
    "to_out.0": "to_out",
    "ff.net.0.proj": "feed_forward.gate",
    "ff.net.2": "feed_forward.out",
    "conv_in": "down.0.0",
    "conv_norm_out": "norm",
    "conv_out": "leave",
}


def vae_names(spec: VaeSpec) -> Names:
    """Theirs are grouped by level; ours stand in one row, in the order they run."""
    places: Names = {}
    for room, way, blocks in (("encoder", "down", spec.blocks), ("decoder", "up", spec.blocks + 1)):
        place = count()
        for level in range(len(spec.multipliers)):
            theirs = f"{room}.{way}_blocks.{level}"
            for block in range(blocks):
                places[f"{theirs}.resnets.{block}"] = f"{room}.{way}.{next(place)}"
            places[f"{theirs}.{way}samplers.0"] = f"{room}.{way}.{next(place)}"
    return places | VAE


def unet_names(spec: UNetSpec) -> Names:
    """Theirs are grouped by level and kind; ours stand in stages, one for each skip connection."""
    places: Names = {}
    stage = count(1)  # stage 0 is the convolution at the entrance
    for level, depths in enumerate(spec.down):
        theirs = f"down_blocks.{level}"
        for block, _ in enumerate(depths):
            here = next(stage)
            places[f"{theirs}.resnets.{block}"] = f"down.{here}.0"
            places[f"{theirs}.attentions.{block}"] = f"down.{here}.1"
        places[f"{theirs}.downsamplers.0"] = f"down.{next(stage)}.0"
    stage = count()
    for level, depths in enumerate(spec.up):
        theirs = f"up_blocks.{level}"
        for block, depth in enumerate(depths):
            here = next(stage)
            places[f"{theirs}.resnets.{block}"] = f"up.{here}.0"
            places[f"{theirs}.attentions.{block}"] = f"up.{here}.1"
            places[f"{theirs}.upsamplers.0"] = (
                f"up.{here}.{2 if depth else 1}"  # after the level's last block
            )
    return places | UNET
