"""What is counted from the specs is what torch counts in the networks."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fromnoise.engine.merging import merging
from fromnoise.engine.reuse import Reusing
from fromnoise.engine.work import Ask, decoder_work, encoder_work, text_work, unet_work
from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.encoder import Encoder
from fromnoise.specs import REFINER, SD15, SDXL, TINY, UNetSpec

ASKS = [Ask(16, 16), Ask(16, 24, pictures=3, texts=2, tokens=9), Ask(13, 18, texts=3)]
POOLED = replace(TINY.unet, pooled_width=24, linear_projection=True, heads=None, head_width=8)
SHALLOW_TEXT = replace(TINY.unet, multipliers=(1, 2), down=((0,), (2,)), mid=None, up=((1, 2), (0, 0)))


def counted(network: Any, *inputs: Any) -> float:
    counter: Any = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network(*inputs)
    return counter.get_total_flops()


def flops(work: Any) -> float:
    return sum(each.flops for each in work if each.kind != "norm")


def inputs(spec: UNetSpec, ask: Ask, device: str = "meta") -> list[Any]:
    rows = ask.pictures * ask.texts
    latents = torch.zeros(ask.pictures, spec.in_channels, ask.height, ask.width, device=device)
    context = torch.zeros(rows, ask.tokens, spec.context_width, device=device)
    pooled = torch.zeros(rows, spec.pooled_width, device=device) if spec.pooled_width else None
    times = torch.zeros(rows if spec.pooled_width else ask.pictures, device=device)
    return [latents, times[: ask.pictures], context, pooled]


@pytest.mark.parametrize("spec", [TINY.unet, POOLED, SHALLOW_TEXT, SDXL.unet, REFINER.unet, SD15.unet])
@pytest.mark.parametrize("ask", ASKS)
def test_a_unet(spec: UNetSpec, ask: Ask) -> None:
    with torch.device("meta"):
        unet = UNet(spec)
    wanted = counted(unet, *inputs(spec, ask))
    assert flops(unet_work(spec, ask)) == pytest.approx(wanted, rel=2e-3)


@pytest.mark.parametrize("ask", [Ask(16, 16, texts=2, merge=0.5), Ask(16, 24, merge=0.75)])
def test_merged_tokens(ask: Ask) -> None:
    torch.manual_seed(0)
    unet = UNet(TINY.unet)
    wanted = counted(merging(unet, ask.merge, ask.height, ask.width), *inputs(TINY.unet, ask, "cpu"))
    assert flops(unet_work(TINY.unet, ask)) == pytest.approx(wanted, rel=2e-3)
    assert wanted < counted(unet, *inputs(TINY.unet, ask, "cpu"))


@pytest.mark.parametrize("spec", [TINY.unet, POOLED, SHALLOW_TEXT])
def test_reused_parts(spec: UNetSpec) -> None:
    with torch.device("meta"):
        unet = UNet(spec)
    ask = Ask(16, 16, texts=2)
    reusing = Reusing(unet, 2)
    every = [counted(reusing, *inputs(spec, ask)) for _ in range(3)]
    deep, shallow = (flops(unet_work(spec, replace(ask, deep=deep))) for deep in (True, False))
    assert every == pytest.approx([deep, shallow, deep], rel=2e-3)


@pytest.mark.parametrize("spec", [TINY.vae, SD15.vae, replace(TINY.vae, patch=2, mid_attention=False)])
def test_the_autoencoder(spec: Any) -> None:
    with torch.device("meta"):
        decoder, encoder = Decoder(spec), Encoder(spec)
        latents = torch.zeros(2, spec.latent_channels, 8, 12)
        pixels = torch.zeros(1, 3, 8 * spec.factor, 12 * spec.factor)
    assert flops(decoder_work(spec, 8, 12, rows=2)) == pytest.approx(counted(decoder, latents), rel=2e-3)
    assert flops(encoder_work(spec, 8, 12)) == pytest.approx(counted(encoder, pixels), rel=2e-3)


@pytest.mark.parametrize("spec", [TINY.texts[0], SD15.texts[0], *SDXL.texts])
def test_text(spec: Any) -> None:
    with torch.device("meta"):
        encoder, tokens = TextTransformer(spec), torch.zeros(2, spec.context, dtype=torch.long)
    assert flops(text_work(spec)) == pytest.approx(counted(encoder, tokens), rel=2e-3)
