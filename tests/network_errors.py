"""The same questions to a network of ours and to the same one of diffusers or transformers: the error."""

from typing import Any

import torch
import torch.nn.functional as F
from parity import noise, relative_error
from peers import NUMBER_WIDTH
from torch import Tensor

from fromnoise.nets.blocks import time_features
from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.encoder import Encoder
from fromnoise.specs import ClipSpec, VaeSpec

# What SDXL is told about the picture: sizes and crop; its refiner is told five numbers, the last a mark.
NUMBERS = torch.tensor([[512, 768, 0, 4, 512, 768], [64, 64, 8, 0, 128, 96]])


@torch.inference_mode()
def unet_error(
    ours: UNet, theirs: Any, size: tuple[int, int], *, numbers: int = 6, features: int = NUMBER_WIDTH
) -> float:
    """Two pictures at two times; `numbers` are told beside the text, each as so many `features`."""
    spec = ours.spec
    latents, context = noise(2, spec.in_channels, *size), noise(2, 7, spec.context_width)
    times = torch.tensor([0.5, 981.0])
    told = NUMBERS[:, :numbers]
    text = noise(2, spec.pooled_width - numbers * features) if spec.pooled_width else None
    said = time_features(told.flatten(), features).reshape(2, -1)
    pooled = None if text is None else torch.cat([text, said], dim=1)
    guidance = noise(2, spec.guidance_width) if spec.guidance_width else None
    wanted = theirs(
        latents,
        times,
        encoder_hidden_states=context,
        timestep_cond=guidance,
        added_cond_kwargs={"text_embeds": text, "time_ids": told},
    ).sample
    return relative_error(ours(latents, times, context, pooled, guidance), wanted)


@torch.inference_mode()
def vae_error(encoder: Encoder, decoder: Decoder, theirs: Any, spec: VaeSpec, size: tuple[int, int]) -> float:
    """There and back: the larger error of mean, log-variance and pixels.  Units: size in pixels"""
    pixels = noise(1, 3, *size)
    found = encoder(pixels)
    wanted = theirs.encode(F.pixel_unshuffle(pixels, spec.patch)).latent_dist
    latents = noise(*found.mean.shape)
    painted = F.pixel_shuffle(theirs.decode(latents).sample, spec.patch)
    assert painted.shape == pixels.shape
    return max(
        relative_error(found.mean, wanted.mean),
        relative_error(found.log_variance, wanted.logvar),
        relative_error(decoder(latents), painted),
    )


@torch.inference_mode()
def text_error(ours: TextTransformer, theirs: Any) -> float:
    """Of the state that the U-Net reads, and of the pooled vector where theirs has one too.

    Theirs may lack the layers behind that state, as diffusers keeps SD 2.x.
    """
    spec = ours.spec
    tokens = texts(spec)
    found, wanted = ours(tokens), theirs(tokens, output_hidden_states=True)
    layers, read_after = theirs.config.num_hidden_layers, spec.layers + 1 + spec.hidden
    if spec.final_norm and layers == read_after:
        state = wanted.last_hidden_state
    else:
        state = wanted.hidden_states[read_after]
        state = theirs.text_model.final_layer_norm(state) if spec.final_norm else state
    errors = [relative_error(found.context, state)]
    if layers == spec.layers:
        pooled = wanted.text_embeds if spec.projection else wanted.pooler_output
        errors.append(relative_error(found.pooled, pooled))
    return max(errors)


def texts(spec: ClipSpec) -> Tensor:
    """A short and a full text, ended and padded as a tokenizer does it."""
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, spec.vocab - 2, (2, spec.context), generator=generator)
    tokens[0, 9:] = spec.pad
    tokens[0, 9] = tokens[1, -1] = spec.end
    return tokens
