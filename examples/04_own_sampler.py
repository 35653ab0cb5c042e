"""A sampler of your own, and the model used by hand: no pipeline in between.

python examples/04_own_sampler.py [MODEL.safetensors]
"""

import sys
from itertools import pairwise
from math import sqrt

import torch

import fromnoise as fn
from fromnoise.images.pixels import to_image
from fromnoise.noise.guidance import guided
from fromnoise.noise.samplers import Step
from fromnoise.noise.seeds import PerImageNoise


def dpmpp_2s(denoise, x, sigmas, *, noise):
    """Ask again half-way down in log(sigma). Lu et al. 2022, alg. 1 (arXiv:2211.01095)."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = denoise(x, sigma)
        if sigma_next > 0:
            middle = sqrt(sigma * sigma_next)
            x0 = denoise(x0 + middle / sigma * (x - x0), middle)
        x = x0 + sigma_next / sigma * (x - x0)
        yield Step(i, sigma, sigma_next, x, x0)


pipe = fn.load(*sys.argv[1:2])
text = pipe.reader("a red lighthouse on an island at sunset", negative="")
denoise = guided(pipe.process.denoiser(pipe.unet, pipe.dtype), text.cond, text.uncond, scale=3.0)

noise, vae, size = PerImageNoise([1]), pipe.spec.vae, pipe.spec.defaults
eps = noise.draw(torch.empty(1, vae.latent_channels, size.height // vae.factor, size.width // vae.factor))
sigmas = pipe.schedule.sigmas(10, "uniform")
for step in dpmpp_2s(denoise, pipe.process.start(eps, sigmas[0]), sigmas, noise=noise):
    print(f"{step.sigma:12.4g} -> {step.sigma_next:.4g}")
to_image(pipe.decode(step.x, seeds=[1])[0]).save("own-sampler.png")
