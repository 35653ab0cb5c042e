"""The first thing to look at when a training fails: can the U-Net learn eight latents by heart?"""

from pathlib import Path

import torch

from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.train.loop import Run
from fromnoise.train.pointing import Words
from fromnoise.train.presets import TINY_RUN
from fromnoise.train.unet import LatentPool, UNetRecipe, UNetTask

COUNT, STEPS = 8, 150
RECIPE = UNetRecipe(steps=STEPS, batch=16, lr=8e-3, warmup=10, held_out=COUNT, ema=0.10)
WORDLESS = Words(*torch.zeros(2, 1024, dtype=torch.uint8))  # the pictures have words, but nothing is named
IGNORANT = 1.6  # the least loss of who knows neither picture nor text: the mean of 1 / (t^2 + (1 - t)^2)


def eight() -> LatentPool:
    chance = torch.Generator().manual_seed(0)
    latents = torch.randn(COUNT, 4, 4, 4, generator=chance)
    tokens = torch.full((COUNT, 1, 8), 1023, dtype=torch.int16)
    tokens[:, 0, 0] = 1022
    tokens[:, 0, 1] = torch.arange(COUNT, dtype=torch.int16)  # each picture has a word of its own
    kinds = torch.randint(3, (COUNT, 4, 4), generator=chance, dtype=torch.uint8)
    silence = torch.tensor([1022, *[1023] * 7], dtype=torch.int16)
    twice = torch.cat([latents, latents])
    return LatentPool(
        twice, torch.cat([tokens, tokens]), kinds.repeat(2, 1, 1), kinds.repeat(2, 1, 1), silence, WORDLESS
    )


def test_eight_latents_are_learned_by_heart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec, pool = TINY_RUN.spec, eight()
    text, decoder = TextTransformer(spec.texts[0]), Decoder(spec.vae)
    torch.nn.init.normal_(text.tokens.weight)
    task = UNetTask(spec, pool, text, decoder, lambda texts: torch.zeros(len(texts), 8), (), RECIPE)
    run = Run(task, RECIPE, tmp_path)
    flows = [run.train_step()["flow"] for _ in range(STEPS)]
    assert 1.8 < flows[0] < 2.3, "an untrained U-Net says nothing: the velocity's own variance is 2"
    assert sum(flows[-30:]) / 30 < IGNORANT / 2

    with run.averaged():
        dreamt = task.dream(pool.tokens[:COUNT, 0], steps=8, guidance=1.0)
    apart = torch.cdist(dreamt.flatten(1), pool.latents[:COUNT].flatten(1))
    assert apart.argmin(dim=1).tolist() == list(range(COUNT))
