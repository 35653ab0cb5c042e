"""What others call our tensors: tables for checkpoints (LDM, OpenCLIP) and for diffusers folders.

Ours are named as in `Parts.state()`: "texts.0.…", "unet.…", "encoder.…", "decoder.…". Where several of their
names stand for one of ours, all are read and the first is written.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

from fromnoise.specs import Depths, VaeSpec
from fromnoise.weights.model_converter import (
    PARAMETERS,
    Op,
    Rule,
    keep,
    linear,
    pointwise,
    stacked,
    thirds,
    transposed,
)

Names = Mapping[str, str]  # theirs -> ours
CONV: Final[Names] = {"conv": "conv"}  # all there is in an Upsample or a Downsample

LDM_UNET, LDM_VAE = "model.diffusion_model", "first_stage_model"
DIFFUSERS_UNET, DIFFUSERS_VAE = "unet", "vae"
UNET, ENCODER, DECODER = "unet", "encoder", "decoder"


# --- the U-Net ---

TRANSFORMER: Final[Names] = {
    "norm": "norm",
    "proj_in": "enter",
    "transformer_blocks.{k}.norm1": "blocks.{k}.norm1",
    "transformer_blocks.{k}.attn1.to_q": "blocks.{k}.self_attention.to_q",
    "transformer_blocks.{k}.attn1.to_k": "blocks.{k}.self_attention.to_k",
    "transformer_blocks.{k}.attn1.to_v": "blocks.{k}.self_attention.to_v",
    "transformer_blocks.{k}.attn1.to_out.0": "blocks.{k}.self_attention.to_out",
    "transformer_blocks.{k}.norm2": "blocks.{k}.norm2",
    "transformer_blocks.{k}.attn2.to_q": "blocks.{k}.cross_attention.to_q",
    "transformer_blocks.{k}.attn2.to_k": "blocks.{k}.cross_attention.to_k",
    "transformer_blocks.{k}.attn2.to_v": "blocks.{k}.cross_attention.to_v",
    "transformer_blocks.{k}.attn2.to_out.0": "blocks.{k}.cross_attention.to_out",
    "transformer_blocks.{k}.norm3": "blocks.{k}.norm3",
    "transformer_blocks.{k}.ff.net.0.proj": "blocks.{k}.feed_forward.gate",
    "transformer_blocks.{k}.ff.net.2": "blocks.{k}.feed_forward.out",
    "proj_out": "leave",
}
LDM_RESNET: Final[Names] = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "skip",
}
LDM_UNET_ENDS: Final[Names] = {
    "time_embed.0": "time.0",
    "time_embed.2": "time.2",
    "time_embed.cond_proj": "guidance",
    "time_embedding.cond_proj": "guidance",
    "label_emb.0.0": "pooled.0",
    "label_emb.0.2": "pooled.2",
    "input_blocks.0.0": "down.0.0",
    "out.0": "norm",
    "out.2": "leave",
}
DIFFUSERS_RESNET: Final[Names] = {
    "norm1": "norm1",
    "conv1": "conv1",
    "time_emb_proj": "time",
    "norm2": "norm2",
    "conv2": "conv2",
    "conv_shortcut": "skip",
}
DIFFUSERS_UNET_ENDS: Final[Names] = {
    "time_embedding.linear_1": "time.0",
    "time_embedding.linear_2": "time.2",
    "time_embedding.cond_proj": "guidance",
    "add_embedding.linear_1": "pooled.0",
    "add_embedding.linear_2": "pooled.2",
    "class_embedding.linear_1": "pooled.0",  # SD 2.1 unCLIP
    "class_embedding.linear_2": "pooled.2",
    "conv_in": "down.0.0",
    "conv_norm_out": "norm",
    "conv_out": "leave",
}


def ldm_unet(there: str = LDM_UNET, here: str = UNET) -> Iterator[Rule]:
    """The U-Net of a checkpoint: stages as ours, so one table fits every family."""
    yield from _layers(there, here, LDM_UNET_ENDS)
    for theirs, ours, resample in (
        ("input_blocks.{i}.{j}", "down.{i}.{j}", "op"),
        ("middle_block.{j}", "mid.{j}", None),
        ("output_blocks.{i}.{j}", "up.{i}.{j}", "conv"),
    ):
        names = {**LDM_RESNET, **TRANSFORMER, **({resample: "conv"} if resample else {})}
        yield from _layers(_join(there, theirs), _join(here, ours), names)


def diffusers_unet(down: Depths, up: Depths, there: str = DIFFUSERS_UNET, here: str = UNET) -> Iterator[Rule]:
    """The U-Net of a diffusers folder, grouped by level; `down` and `up` are those of its UNetSpec."""
    yield from _layers(there, here, DIFFUSERS_UNET_ENDS)
    for theirs, ours, names in _diffusers_places(down, up):
        yield from _layers(_join(there, theirs), _join(here, ours), names)


def _diffusers_places(down: Depths, up: Depths) -> Iterator[tuple[str, str, Names]]:
    stage = 1  # stage 0 is the convolution at the entrance
    for level, depths in enumerate(down):
        for block, _ in enumerate(depths):
            yield f"down_blocks.{level}.resnets.{block}", f"down.{stage}.0", DIFFUSERS_RESNET
            yield f"down_blocks.{level}.attentions.{block}", f"down.{stage}.1", TRANSFORMER
            stage += 1
        yield f"down_blocks.{level}.downsamplers.0", f"down.{stage}.0", CONV
        stage += 1
    yield "mid_block.resnets.0", "mid.0", DIFFUSERS_RESNET
    yield "mid_block.attentions.0", "mid.1", TRANSFORMER
    yield "mid_block.resnets.1", "mid.2", DIFFUSERS_RESNET
    stage = 0
    for level, depths in enumerate(up):
        for block, depth in enumerate(depths):
            yield f"up_blocks.{level}.resnets.{block}", f"up.{stage}.0", DIFFUSERS_RESNET
            yield f"up_blocks.{level}.attentions.{block}", f"up.{stage}.1", TRANSFORMER
            if block + 1 == len(depths):  # after the attention, if there is one
                yield f"up_blocks.{level}.upsamplers.0", f"up.{stage}.{2 if depth else 1}", CONV
            stage += 1


# --- the autoencoder ---


@dataclass(frozen=True, slots=True)
class VaeNames:
    """How a format names an autoencoder. {level} 0 is the finest; {run} 0 runs first; {block} of a level."""

    down: str
    shrink: str
    up: str
    grow: str
    middle: tuple[str, str, str]  # ResnetBlock, attention, ResnetBlock
    attention: tuple[tuple[str, str, str, str, str], ...]  # norm, q, k, v, out; the first spelling is written
    skip: str
    norm: str
    save: Op  # of the attention's layers; both kinds are read


LDM_VAE_NAMES: Final = VaeNames(
    down="encoder.down.{level}.block.{block}",
    shrink="encoder.down.{level}.downsample",
    up="decoder.up.{level}.block.{block}",
    grow="decoder.up.{level}.upsample",
    middle=("mid.block_1", "mid.attn_1", "mid.block_2"),
    attention=(("norm", "q", "k", "v", "proj_out"),),
    skip="nin_shortcut",
    norm="norm_out",
    save=pointwise,
)
DIFFUSERS_VAE_NAMES: Final = VaeNames(
    down="encoder.down_blocks.{level}.resnets.{block}",
    shrink="encoder.down_blocks.{level}.downsamplers.0",
    up="decoder.up_blocks.{run}.resnets.{block}",
    grow="decoder.up_blocks.{run}.upsamplers.0",
    middle=("mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"),
    attention=(
        ("group_norm", "to_q", "to_k", "to_v", "to_out.0"),
        ("group_norm", "query", "key", "value", "proj_attn"),
    ),
    skip="conv_shortcut",
    norm="conv_norm_out",
    save=keep,
)


def ldm_vae(spec: VaeSpec, there: str = LDM_VAE) -> Iterator[Rule]:
    """The autoencoder of a checkpoint."""
    return _vae(spec, LDM_VAE_NAMES, there)


def diffusers_vae(spec: VaeSpec, there: str = DIFFUSERS_VAE) -> Iterator[Rule]:
    """The autoencoder of a diffusers folder."""
    return _vae(spec, DIFFUSERS_VAE_NAMES, there)


def _vae(spec: VaeSpec, names: VaeNames, there: str) -> Iterator[Rule]:
    gaussian = {"quant_conv": f"{ENCODER}.to_gaussian", "post_quant_conv": f"{DECODER}.from_latent"}
    yield from _layers(there, "", gaussian)
    resnet = {**{name: name for name in ("norm1", "conv1", "norm2", "conv2")}, names.skip: "skip"}
    first, attention, last = names.middle
    for room in (ENCODER, DECODER):
        theirs = _join(there, room)
        yield from _layers(theirs, room, {"conv_in": "enter", names.norm: "norm", "conv_out": "leave"})
        yield from _layers(f"{theirs}.{first}", f"{room}.mid.block1", resnet)
        yield from _layers(f"{theirs}.{last}", f"{room}.mid.block2", resnet)
        for norm, *linears in names.attention:
            yield Rule(f"{theirs}.{attention}.{norm}", f"{room}.mid.attention.norm")
            for name, ours in zip(linears, ("to_q", "to_k", "to_v", "to_out"), strict=True):
                ours = f"{room}.mid.attention.attention.{ours}"
                yield Rule(f"{theirs}.{attention}.{name}", ours, linear, names.save)
    for theirs, ours, is_block in _vae_places(spec, names):
        yield from _layers(_join(there, theirs), ours, resnet if is_block else CONV)


def _vae_places(spec: VaeSpec, names: VaeNames) -> Iterator[tuple[str, str, bool]]:
    """Theirs are grouped by level; ours stand in one row, in the order they run."""
    levels = range(len(spec.multipliers))
    place = count()
    for level in levels:
        for block in range(spec.blocks):
            yield names.down.format(level=level, block=block), f"{ENCODER}.down.{next(place)}", True
        yield names.shrink.format(level=level), f"{ENCODER}.down.{next(place)}", False
    place = count()
    for run, level in enumerate(reversed(levels)):
        for block in range(spec.blocks + 1):
            yield names.up.format(run=run, level=level, block=block), f"{DECODER}.up.{next(place)}", True
        yield names.grow.format(run=run, level=level), f"{DECODER}.up.{next(place)}", False


# --- text encoders ---

HF_LAYER: Final[Names] = {
    "layer_norm1": "norm1",
    "self_attn.q_proj": "attention.to_q",
    "self_attn.k_proj": "attention.to_k",
    "self_attn.v_proj": "attention.to_v",
    "self_attn.out_proj": "attention.to_out",
    "layer_norm2": "norm2",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
}
HF_TEXT: Final[Names] = {
    "embeddings.token_embedding": "tokens",
    "embeddings.position_embedding": "positions",
    **{f"encoder.layers.{{i}}.{theirs}": f"layers.{{i}}.{ours}" for theirs, ours in HF_LAYER.items()},
    "final_layer_norm": "norm",
}
OPENCLIP_LAYER: Final[Names] = {
    "ln_1": "norm1",
    "attn.out_proj": "attention.to_out",
    "ln_2": "norm2",
    "mlp.c_fc": "fc1",
    "mlp.c_proj": "fc2",
}
OPENCLIP_TEXT: Final[Names] = {
    "token_embedding": "tokens",
    "positional_embedding": "positions.weight",
    **{
        f"transformer.resblocks.{{i}}.{theirs}": f"layers.{{i}}.{ours}"
        for theirs, ours in OPENCLIP_LAYER.items()
    },
    "ln_final": "norm",
}


def hf_text(there: str, here: str) -> Iterator[Rule]:
    """A text encoder in Hugging Face's names; old files, and new versions, leave "text_model." out."""
    yield from _layers(_join(there, "text_model"), here, HF_TEXT)
    yield from _layers(there, here, HF_TEXT)
    yield Rule(_join(there, "text_projection"), _join(here, "project"))


def openclip_text(there: str, here: str) -> Iterator[Rule]:
    """A text encoder in OpenCLIP's names: queries, keys and values in one matrix, a bare projection."""
    yield from _layers(there, here, OPENCLIP_TEXT)
    attention = _join(there, "transformer.resblocks.{i}.attn"), _join(here, "layers.{i}.attention")
    for parameter in PARAMETERS:
        apart = tuple(f"{attention[1]}.{name}.{parameter}" for name in ("to_q", "to_k", "to_v"))
        yield Rule(f"{attention[0]}.in_proj_{parameter}", apart, thirds, stacked)
    projection = _join(there, "text_projection"), _join(here, "project.weight")
    yield Rule(*projection, transposed, transposed)
    yield Rule(f"{projection[0]}.weight", projection[1])  # already that of a linear layer
    yield Rule(f"{projection[0]}.weight.weight", projection[1])  # Playground v2


# --- names ---


def _layers(there: str, here: str, names: Names) -> Iterator[Rule]:
    for theirs, ours in names.items():
        yield Rule(_join(there, theirs), _join(here, ours))


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
