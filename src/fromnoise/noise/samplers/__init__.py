"""Samplers: how to walk from noise to a clean latent. Pure arithmetic; no file here imports torch.

All of them work on x = x0 + sigma * eps. To add one: write the generator, add it to `SAMPLERS`, and its
name to `fromnoise.names`.
"""

from collections.abc import Mapping

from fromnoise.noise.samplers.ddim import ddim
from fromnoise.noise.samplers.ddpm import ddpm
from fromnoise.noise.samplers.dpmpp import dpmpp_2m
from fromnoise.noise.samplers.euler import euler, euler_a
from fromnoise.noise.samplers.heun import heun
from fromnoise.noise.samplers.lcm import lcm
from fromnoise.noise.samplers.step import Denoise, Latent, Noise, Sampler, Step

SAMPLERS: Mapping[str, Sampler] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "euler": euler,
    "euler_a": euler_a,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "lcm": lcm,
}

__all__ = [
    "SAMPLERS",
    "Denoise",
    "Latent",
    "Noise",
    "Sampler",
    "Step",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "euler",
    "euler_a",
    "heun",
    "lcm",
]
