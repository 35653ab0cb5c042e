"""A model of ours and the same one in diffusers: equal random weights, brought over by our own tables."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fromnoise.events import Denoised
from fromnoise.pipeline import Pipeline
from fromnoise.request import GenerateRequest
from fromnoise.specs import ClipSpec, ModelSpec, UNetSpec, VaeSpec
from fromnoise.text import Tokenizer
from fromnoise.weights.layouts import DIFFUSERS_TEXTS, folder_rules, folder_spec
from fromnoise.weights.model_converter import flipped, translate
from fromnoise.weights.native import Parts, Uninitialised

State = dict[str, Tensor]
NUMBER_WIDTH = 256  # features of each number that SDXL is told about the picture
THEIR_WORDS = {"eps": "epsilon", "v": "v_prediction"}


@cache
def clip_vocabulary(pad: int) -> Mapping[str, Any]:
    return Tokenizer.clip(pad=pad).to_json()


def model(spec: ModelSpec, seed: int = 0) -> Parts:
    """Random weights, large enough that every tensor matters, scaled so that numbers do not explode."""
    tokenizers = tuple(clip_vocabulary(text.pad) for text in spec.texts)
    with torch.device("meta"), Uninitialised():
        parts = Parts.blank(spec, tokenizers=tokenizers)
    generator = torch.Generator().manual_seed(seed)
    for _, network in parts.modules():
        norms = {
            name for name, part in network.named_modules() if isinstance(part, nn.GroupNorm | nn.LayerNorm)
        }
        state: State = {}
        for key, like in network.state_dict().items():
            weight = torch.empty(like.shape).normal_(generator=generator)
            if key.removesuffix(".weight") in norms:
                state[key] = weight.mul_(0.1).add_(1)
            else:
                state[key] = weight.mul_(like[0].numel() ** -0.5 if like.ndim > 1 else 0.1)
        network.load_state_dict(state, assign=True)
        network.eval().requires_grad_(False)
    return parts


class Twin:
    """The parts of a model of ours, as diffusers' and transformers' own classes."""

    def __init__(self, parts: Parts, folder: Path, texts: tuple[str, ...] = DIFFUSERS_TEXTS) -> None:
        spec = folder_spec(parts.spec)
        with torch.device("meta"), Uninitialised():
            read = Parts.blank(spec).state().keys()  # without what diffusers does not keep
        state = {name: tensor for name, tensor in parts.state().items() if name in read}
        state = translate(state, flipped(folder_rules(spec, texts)), source="ours")
        self.unet = filled(unet(parts.spec), state, "unet.")
        self.vae = filled(vae(spec.vae), state, "vae.")
        self.encoders = {
            name: filled(text_encoder(text), state, f"{name}.")
            for name, text in zip(texts, spec.texts, strict=False)
        }
        self.tokenizers = {
            name.replace("text_encoder", "tokenizer"): tokenizer(parts.tokenizers[place], folder / name)
            for place, name in enumerate(self.encoders)
        }
        self.spec = spec

    def pipeline(self, kind: Any, *, spacing: str = "leading", **others: Any) -> Any:
        """A diffusers pipeline of this class; no progress bars."""
        made = kind(
            **{"vae": self.vae, "unet": self.unet, "scheduler": ddim(self.spec, spacing)},
            **self.encoders,
            **self.tokenizers,
            **others,
        )
        made.set_progress_bar_config(disable=True)
        return made


def filled(network: Any, state: Mapping[str, Tensor], prefix: str) -> Any:
    """Give a network its tensors; newer versions of transformers have a text model's without prefix."""
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    names = network.state_dict().keys()
    own = {n if n in names else n.removeprefix("text_model."): tensor for n, tensor in own.items()}
    own |= {n: t for n, t in network.state_dict().items() if n.endswith("position_ids")}
    network.load_state_dict(own, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def unet(spec: ModelSpec) -> Any:
    from diffusers import UNet2DConditionModel

    s: UNetSpec = spec.unet
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=64,  # their inpainting asks for it
            in_channels=s.in_channels,
            out_channels=s.out_channels,
            block_out_channels=tuple(s.widths),
            layers_per_block=len(s.down[0]),
            down_block_types=tuple("CrossAttnDownBlock2D" if any(d) else "DownBlock2D" for d in s.down),
            up_block_types=tuple("CrossAttnUpBlock2D" if any(d) else "UpBlock2D" for d in s.up),
            transformer_layers_per_block=tuple(max(d) or s.mid for d in s.down),
            attention_head_dim=tuple(map(s.heads_for, s.widths)),  # their name for the number of heads
            cross_attention_dim=s.context_width,
            use_linear_projection=s.linear_projection,
            norm_num_groups=s.groups,
            time_cond_proj_dim=s.guidance_width,
            addition_embed_type="text_time" if s.pooled_width else None,
            addition_time_embed_dim=NUMBER_WIDTH,
            projection_class_embeddings_input_dim=s.pooled_width,
        )


def vae(spec: VaeSpec) -> Any:
    from diffusers import AutoencoderKL

    levels = len(spec.multipliers)
    with torch.device("meta"):
        return AutoencoderKL(
            latent_channels=spec.latent_channels,
            block_out_channels=tuple(spec.widths),
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=spec.blocks,
            norm_num_groups=spec.groups,
            scaling_factor=spec.latent_scale,
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
    return (transformers.CLIPTextModelWithProjection if projects else transformers.CLIPTextModel)(config)


def tokenizer(ours: Mapping[str, Any], folder: Path) -> Any:
    """transformers' tokenizer with our vocabulary; "!" is the symbol of id 0, with which OpenCLIP pads."""
    import transformers

    mine = Tokenizer.from_json(ours)
    folder.mkdir()
    marks = {"<|startoftext|>": mine.start, "<|endoftext|>": mine.end}
    vocabulary = {symbol: number for number, symbol in enumerate(mine._symbols)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary | marks), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in mine.merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pad = "!" if mine.pad == 0 else "<|endoftext|>"
    theirs = transformers.CLIPTokenizerFast.from_pretrained(folder, pad_token=pad, model_max_length=77)
    assert theirs.pad_token_id == mine.pad
    return theirs


def ddim(spec: ModelSpec, spacing: str) -> Any:
    """Their DDIM on our path: Stable Diffusion's offset of one, and the last step ends without noise."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule=spec.schedule.kind,
        beta_start=spec.schedule.beta_start,
        beta_end=spec.schedule.beta_end,
        num_train_timesteps=spec.schedule.steps,
        prediction_type=THEIR_WORDS[spec.prediction],
        timestep_spacing=spacing,
        steps_offset=int(spacing == "leading"),
        set_alpha_to_one=True,
        clip_sample=False,
    )


def noise(seed: int, width: int, height: int) -> Tensor:
    """What our pipelines begin with."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 4, height // 8, width // 8, generator=generator)


def latents(pipe: Pipeline, request: GenerateRequest, **given: Any) -> Tensor:
    """What our pipeline is about to decode."""
    steps = [event for event in pipe.stream(request, **given) if isinstance(event, Denoised)]
    return steps[-1].previews.args[0]  # type: ignore[attr-defined]  # a partial


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, in units of the typical value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.square().mean().sqrt())
