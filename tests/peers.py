"""The networks of our specs, as diffusers' and transformers' own classes."""

from typing import Any

import torch

from fromnoise.specs import ClipSpec, UNetSpec, VaeSpec

NUMBER_WIDTH = 256  # features of each number that SDXL is told about the picture


def unet(spec: UNetSpec, features: int = NUMBER_WIDTH) -> Any:
    """On the meta device, as the others that are large."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=64,  # their inpainting asks for it
            in_channels=spec.in_channels,
            out_channels=spec.out_channels,
            block_out_channels=tuple(spec.widths),
            layers_per_block=len(spec.down[0]),
            down_block_types=tuple("CrossAttnDownBlock2D" if any(d) else "DownBlock2D" for d in spec.down),
            mid_block_type="UNetMidBlock2DCrossAttn" if spec.mid else None,
            up_block_types=tuple("CrossAttnUpBlock2D" if any(d) else "UpBlock2D" for d in spec.up),
            transformer_layers_per_block=tuple(max(d) or spec.mid for d in spec.down),  # last: middle
            attention_head_dim=tuple(map(spec.heads_for, spec.widths)),  # their name for the number of heads
            cross_attention_dim=spec.context_width,
            use_linear_projection=spec.linear_projection,
            norm_num_groups=spec.groups,
            time_cond_proj_dim=spec.guidance_width,
            addition_embed_type="text_time" if spec.pooled_width else None,
            addition_time_embed_dim=features,
            projection_class_embeddings_input_dim=spec.pooled_width,
        )


def vae(spec: VaeSpec) -> Any:
    from diffusers import AutoencoderKL

    channels, levels = 3 * spec.patch**2, len(spec.multipliers)
    with torch.device("meta"):
        return AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            latent_channels=spec.latent_channels,
            block_out_channels=tuple(spec.widths),
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=spec.blocks,
            norm_num_groups=spec.groups,
            scaling_factor=spec.latent_scale,
            mid_block_add_attention=spec.mid_attention,
            force_upcast=False,
        )


def text_encoder(spec: ClipSpec) -> Any:
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=spec.vocab,
        max_position_embeddings=spec.context,
        hidden_size=spec.width,
        intermediate_size=4 * spec.width,
        num_attention_heads=spec.heads,
        num_hidden_layers=spec.layers,
        hidden_act=spec.activation,
        projection_dim=spec.projection or spec.width,
        bos_token_id=spec.end - 1,
        eos_token_id=spec.end,
        pad_token_id=spec.pad,
    )
    projects = spec.projection is not None
    with torch.device("meta"):
        made = (transformers.CLIPTextModelWithProjection if projects else transformers.CLIPTextModel)(config)
    for module in made.modules():
        if hasattr(module, "position_ids"):  # a buffer that no file of weights fills
            module.position_ids = torch.arange(spec.context)[None]
    return made
