"""Stage: the decoder goes on alone. The encoder, and so every cached latent, stays as it is.

Source: as was done to Stable Diffusion's decoder after its release (the "ft-MSE" autoencoder)
"""

from pathlib import Path

import torch
from torch import Tensor

from fromnoise.nets.decoder import Decoder
from fromnoise.nets.encoder import Encoder, LatentGaussian
from fromnoise.nets.oracle import Oracle
from fromnoise.specs import VaeSpec
from fromnoise.train.device import autocast, device_of, onto
from fromnoise.train.pool import Pool, divided
from fromnoise.train.recipe import Recipe
from fromnoise.train.state import ENCODER, digest, generator
from fromnoise.train.vae import LOOK_WEIGHT, apart, crops_at, look_at, unlike

SQUARES = 5.0  # how much more squared errors count than in the autoencoder's own training
SHAKE = 0.03  # of the latents' spread: noise on them, for a U-Net's latents are never quite right


class DecoderTask:
    """Rebuild crops of the pool's pictures from the latents of a finished encoder."""

    name = "decoder"

    def __init__(
        self,
        spec: VaeSpec,
        pool: Pool,
        recipe: Recipe,
        encoder: Encoder,
        decoder: Decoder,
        *,
        oracle: Oracle | None = None,
    ) -> None:
        """`decoder` is trained in place, and begins as it is."""
        self.spec, self.pool, self.batch, self.seed = spec, pool, recipe.batch, recipe.seed
        self.facts = {ENCODER: digest(encoder.state_dict())}
        self.device = device_of(recipe)
        self.encoder = encoder.to(self.device).eval().requires_grad_(False)
        self.modules = decoder.to(self.device).train()
        self.oracle = oracle.to(self.device).eval().requires_grad_(False) if oracle else None
        self.trained_on, self.held_out = divided(len(pool), recipe.held_out)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Distances between a picture and its rebuilt self."""
        chance = generator(self.seed, 7, step)
        (pixels,) = onto(
            self.device, crops_at(step, self.pool, self.trained_on, self.batch, self.seed, chance)
        )
        with autocast(self.device):
            with torch.no_grad():
                latent: LatentGaussian = self.encoder(pixels)
            (noise,) = onto(self.device, torch.randn(latent.mean.shape, generator=chance))
            rebuilt: Tensor = self.modules(latent.mean + SHAKE * latent.mean.std() * noise)
            seen = unlike(self.oracle, rebuilt, pixels)
        losses = {**apart(rebuilt.float(), pixels), "look": LOOK_WEIGHT * seen}
        losses["square"] = SQUARES * losses["square"]
        return torch.stack(list(losses.values())).sum(), {k: v.item() for k, v in losses.items()}

    def look(self, folder: Path, step: int) -> dict[str, float]:
        """Peak signal-to-noise ratio on whole held-out pictures; leaves a sheet."""
        (pixels,) = onto(self.device, self.pool.pictures(self.held_out))
        return look_at(self.encoder, self.modules, pixels, folder, step)
