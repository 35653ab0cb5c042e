"""Networks and whole pipelines of full size with random weights, beside diffusers and transformers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mapping import TEXT, unet_names, vae_names
from network_errors import text_error, unet_error, vae_error
from parity import TOLERANCE, relative_error, share_weights
from peers import text_encoder, unet, vae
from side_by_side import STEPS_TOLERANCE, THEIRS, UNSAFE, request
from torch import nn
from twins import Twin, latents, model, noise

from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.encoder import Encoder
from fromnoise.pipeline import Pipeline
from fromnoise.specs import SD15, SD21, SDXL, ClipSpec, ModelSpec, UNetSpec, VaeSpec

SMALL = {"width": 64, "height": 64}  # pixels
FEW, SEED = 3, 7  # steps


def full_unet(spec: UNetSpec) -> float:
    with torch.device("meta"):
        theirs, ours = unet(spec), UNet(spec)
    share_weights(theirs, ours, unet_names(spec))
    return unet_error(ours, theirs, (32, 32))


def full_vae(spec: VaeSpec) -> float:
    theirs = vae(spec)
    with torch.device("meta"):
        ours = nn.ModuleDict({"encoder": Encoder(spec), "decoder": Decoder(spec)})
    share_weights(theirs, ours, vae_names(spec))
    return vae_error(ours["encoder"], ours["decoder"], theirs, spec, (96, 128))  # type: ignore[arg-type]


def full_text(spec: ClipSpec) -> float:
    with torch.device("meta"):
        ours = TextTransformer(spec)
    theirs = text_encoder(spec)
    share_weights(theirs, ours, TEXT)
    return text_error(ours, theirs)


def full_drawing(spec: ModelSpec, engine: str = "auto") -> float:
    """A small picture in a few steps of DDIM, from words to latents. Both hold the same tensors, once."""
    import diffusers

    parts = model(spec)
    twin = Twin(parts)
    is_xl = spec.unet.pooled_width is not None
    kind = diffusers.StableDiffusionXLPipeline if is_xl else diffusers.StableDiffusionPipeline
    others: dict[str, Any] = {"add_watermarker": False} if is_xl else UNSAFE
    told: dict[str, Any] = {"original_size": (300, 200), "crops_coords_top_left": (24, 8)} if is_xl else {}
    mine: dict[str, Any] = {"original_size": (200, 300), "crop": (8, 24)} if is_xl else {}
    theirs = twin.pipeline(kind, **others)
    wanted = theirs(
        **THEIRS | told | SMALL | {"num_inference_steps": FEW}, latents=noise(SEED, **SMALL)
    ).images
    return relative_error(latents(Pipeline.of(parts, engine), request(steps=FEW, **SMALL, **mine)), wanted)


# by what they are called in docs/weights.md: how far off they are, and how far they may be
NETWORKS: dict[str, Callable[[], float]] = {
    "U-Net of SD 1.5": partial(full_unet, SD15.unet),
    "U-Net of SD 2.1": partial(full_unet, SD21.unet),
    "U-Net of SDXL": partial(full_unet, SDXL.unet),
    "autoencoder": partial(full_vae, SD15.vae),
    "CLIP-L, text": partial(full_text, SD15.texts[0]),
    "OpenCLIP-H, text": partial(full_text, SD21.texts[0]),
    "OpenCLIP-bigG, text": partial(full_text, SDXL.texts[1]),
}
DRAWINGS: dict[str, Callable[[], float]] = {
    "SD 1.5, prompt to latents": partial(full_drawing, SD15),
    "SDXL, prompt to latents": partial(full_drawing, SDXL, "plain"),  # the quick engine holds a second copy
}
LIMITS = dict.fromkeys(NETWORKS, TOLERANCE) | dict.fromkeys(DRAWINGS, STEPS_TOLERANCE)
