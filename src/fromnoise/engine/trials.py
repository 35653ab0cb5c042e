"""Small networks are timed as a whole: their seconds lie between the products, which is hard to count."""

import torch

from fromnoise.engine.rates import BETWEEN, Rates
from fromnoise.engine.work import Ask
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import UNetSpec, VaeSpec


@torch.inference_mode()
def unet_trial(rates: Rates, spec: UNetSpec, ask: Ask) -> float:
    """Seconds that a U-Net takes for one question, shortcuts left aside."""
    network, texts = rates.network(lambda: UNet(spec)), ask.pictures * ask.texts
    latents = rates.numbers(ask.pictures, spec.in_channels, ask.height, ask.width)
    times = rates.numbers(ask.pictures).float()
    context = rates.numbers(texts, ask.tokens, spec.context_width)
    pooled = rates.numbers(texts, spec.pooled_width) if spec.pooled_width else None
    guidance = rates.numbers(ask.pictures, spec.guidance_width) if spec.guidance_width else None
    return BETWEEN * rates.usual(lambda: network(latents, times, context, pooled, guidance))


@torch.inference_mode()
def decoder_trial(rates: Rates, spec: VaeSpec, height: int, width: int, pictures: int) -> float:
    """Seconds that a decoder takes."""
    network = rates.network(lambda: Decoder(spec))
    latents = rates.numbers(pictures, spec.latent_channels, height, width)
    return BETWEEN * rates.usual(lambda: network(latents))
