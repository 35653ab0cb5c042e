"""Many small pictures at once, while a network is trained: for sheets, and for the prior."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fromnoise.nets.latents import unscale_latents
from fromnoise.noise.guidance import guided
from fromnoise.noise.samplers import SAMPLERS
from fromnoise.noise.seeds import PerImageNoise
from fromnoise.pipeline import Pipeline
from fromnoise.reading import Facts
from fromnoise.train.pictures.live_text import LiveText

STEPS = 20  # at most


@torch.no_grad()
def draw(pipe: Pipeline, prompts: Sequence[str], seeds: Sequence[int], size: tuple[int, int]) -> Tensor:
    """A picture for each prompt, in one batch: not to the bit what `Pipeline` draws, but as good.

    Shapes: (B, 3, height, width) in [-1, 1]
    Units:  size is (width, height) in pixels
    """
    spec, defaults = pipe.spec, pipe.spec.defaults
    read, facts = LiveText(pipe.reader), [Facts(size, size)] * len(prompts)
    cond, uncond = read(prompts, facts), read([""] * len(prompts), facts)
    width, height = (side // spec.vae.factor for side in size)
    noise = PerImageNoise(tuple(seeds))
    sigmas = pipe.schedule.sigmas(min(STEPS, defaults.steps), defaults.spacing)
    blank = torch.empty(len(prompts), spec.vae.latent_channels, height, width, device=pipe.device)
    x = pipe.process.start(noise.draw(blank), sigmas[0])
    denoise = guided(pipe.process.denoiser(pipe.unet, pipe.dtype), cond, uncond, defaults.guidance)
    for step in SAMPLERS[defaults.sampler](denoise, x, sigmas, noise=noise):
        x = step.x
    weight = next(pipe.decoder.parameters())
    latents = unscale_latents(spec.vae, x).to(weight.dtype)
    return torch.cat([pipe.decoder(row[None]).float().clamp(-1, 1) for row in latents])
