"""A model of ours and the same one in diffusers: equal random weights, brought over by our own tables."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from parity import random_weights
from peers import text_encoder, unet, vae
from torch import Tensor

from fromnoise.events import Denoised
from fromnoise.pipeline import Pipeline
from fromnoise.request import GenerateRequest
from fromnoise.specs import ModelSpec
from fromnoise.text import Tokenizer
from fromnoise.weights.layouts import DIFFUSERS_TEXTS, folder_rules, folder_spec
from fromnoise.weights.model_converter import flipped, translate
from fromnoise.weights.native import Parts, Uninitialised

State = dict[str, Tensor]
THEIR_WORDS = {"eps": "epsilon", "v": "v_prediction", "edm": "epsilon"}


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
        network.load_state_dict(random_weights(network, generator), assign=True)
        network.eval().requires_grad_(False)
    return parts


class Twin:
    """The parts of a model of ours, as diffusers' and transformers' own classes."""

    def __init__(self, parts: Parts, texts: tuple[str, ...] = DIFFUSERS_TEXTS, net: Any = None) -> None:
        """`texts`: the folders of its text encoders; `net`: an empty U-Net of theirs, if not `peers.unet`."""
        spec = folder_spec(parts.spec)
        with torch.device("meta"), Uninitialised():
            read = Parts.blank(spec).state().keys()  # without what diffusers does not keep
        state = {name: tensor for name, tensor in parts.state().items() if name in read}
        state = translate(state, flipped(folder_rules(spec, texts)), source="ours")
        self.parts = parts
        self.unet = filled(net or unet(parts.spec.unet), state, "unet.")
        self.vae = filled(vae(spec.vae), state, "vae.")
        self.encoders = {
            name: filled(text_encoder(text), state, f"{name}.")
            for name, text in zip(texts, spec.texts, strict=False)
        }
        self.tokenizers = {
            name.replace("text_encoder", "tokenizer"): tokenizer(text.pad)
            for name, text in zip(self.encoders, spec.texts, strict=True)
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


@cache
def tokenizer(pad: int) -> Any:
    """transformers' tokenizer with our vocabulary; "!" is the symbol of id 0, with which OpenCLIP pads."""
    import transformers

    mine = Tokenizer.from_json(clip_vocabulary(pad))
    marks = {"<|startoftext|>": mine.start, "<|endoftext|>": mine.end}
    vocabulary = {symbol: number for number, symbol in enumerate(mine._symbols)}
    lines = ["#version: 0.2", *(" ".join(pair) for pair in mine.merges)]
    with TemporaryDirectory() as folder:
        Path(folder, "vocab.json").write_text(json.dumps(vocabulary | marks), encoding="utf-8")
        Path(folder, "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        words = "!" if pad == 0 else "<|endoftext|>"
        theirs = transformers.CLIPTokenizerFast.from_pretrained(folder, pad_token=words, model_max_length=77)
    assert theirs.pad_token_id == pad
    return theirs


def ddim(spec: ModelSpec, spacing: str) -> Any:
    """Their DDIM on our path: Stable Diffusion's offset of one, and the last step ends without noise.

    EDM has none; its Euler takes the same steps.
    """
    from diffusers import DDIMScheduler, EDMEulerScheduler

    schedule, prediction = spec.schedule, THEIR_WORDS[spec.prediction]
    if schedule.kind == "edm":
        levels = {name: getattr(schedule, name) for name in ("sigma_min", "sigma_max", "sigma_data")}
        return EDMEulerScheduler(**levels, prediction_type=prediction)
    return DDIMScheduler(
        beta_schedule=schedule.kind,
        beta_start=schedule.beta_start,
        beta_end=schedule.beta_end,
        num_train_timesteps=schedule.steps,
        prediction_type=prediction,
        timestep_spacing=spacing,
        steps_offset=int(spacing == "leading"),
        set_alpha_to_one=True,
        clip_sample=False,
        rescale_betas_zero_snr=schedule.zero_terminal,
    )


def noise(seed: int, width: int, height: int) -> Tensor:
    """What our pipelines begin with."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 4, height // 8, width // 8, generator=generator)


def latents(pipe: Pipeline, request: GenerateRequest, **given: Any) -> Tensor:
    """What our pipeline is about to decode."""
    steps = [event for event in pipe.stream(request, **given) if isinstance(event, Denoised)]
    return steps[-1].previews.args[0]  # type: ignore[attr-defined]  # a partial
