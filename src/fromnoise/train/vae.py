"""Stage: the autoencoder between pixels and latents.

Source: Rombach et al. 2022, sec. 3.1 (arXiv:2112.10752); Kouzelis et al. 2025 (arXiv:2502.09509) for `turn`
"""

from math import log10
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.nets.decoder import Decoder
from fromnoise.nets.encoder import Encoder, LatentGaussian
from fromnoise.nets.oracle import Oracle
from fromnoise.specs import VaeSpec
from fromnoise.train.device import autocast, device_of, onto
from fromnoise.train.pool import Pool, batch_at, divided
from fromnoise.train.recipe import Recipe
from fromnoise.train.sheet import save_sheet
from fromnoise.train.state import generator

CROP = 64
FULL_FRAME_EVERY = 8  # steps: what crops never show, such as the frame's own edges
TURNED_SHARE = 0.25  # of the steps train on turned or shrunken latents
KL_WEIGHT = 3e-5  # per latent number
EDGE_WEIGHT, SQUARE_WEIGHT, LOOK_WEIGHT = 0.5, 2.0, 0.1


class Autoencoder(nn.Module):
    """The two networks that are trained together."""

    def __init__(self, spec: VaeSpec) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(spec), Decoder(spec)


class VaeTask:
    """Rebuild crops of the pool's pictures; with an oracle, so that it sees the same in both."""

    name = "vae"

    def __init__(self, spec: VaeSpec, pool: Pool, recipe: Recipe, *, oracle: Oracle | None = None) -> None:
        torch.manual_seed(recipe.seed)
        self.spec, self.pool, self.batch, self.seed = spec, pool, recipe.batch, recipe.seed
        self.device = device_of(recipe)
        self.modules = Autoencoder(spec).to(self.device)
        self.oracle = oracle.to(self.device).eval().requires_grad_(False) if oracle else None
        self.trained_on, self.held_out = divided(len(pool), recipe.held_out)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Distances between a picture and its rebuilt self, and from the latents to a standard normal."""
        chance = generator(self.seed, 3, step)
        (pixels,) = onto(
            self.device, crops_at(step, self.pool, self.trained_on, self.batch, self.seed, chance)
        )
        with autocast(self.device):
            latent: LatentGaussian = self.modules.encoder(pixels)
            z = latent.sample(*onto(self.device, torch.randn(latent.mean.shape, generator=chance)))
            if torch.rand((), generator=chance) < TURNED_SHARE:
                z, pixels = turn(z, pixels, self.spec.factor, chance)
            rebuilt: Tensor = self.modules.decoder(z)
            seen = unlike(self.oracle, rebuilt, pixels)
        mean, log_variance = latent.mean.float(), latent.log_variance.float()
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        losses = {**apart(rebuilt.float(), pixels), "kl": KL_WEIGHT * kl, "look": LOOK_WEIGHT * seen}
        return torch.stack(list(losses.values())).sum(), {k: v.item() for k, v in losses.items()}

    def look(self, folder: Path, step: int) -> dict[str, float]:
        """Peak signal-to-noise ratio on whole held-out pictures, and the latents' spread; leaves a sheet."""
        (pixels,) = onto(self.device, self.pool.pictures(self.held_out))
        return look_at(self.modules.encoder, self.modules.decoder, pixels, folder, step)


def crops_at(
    step: int, pool: Pool, trained_on: int, batch: int, seed: int, chance: torch.Generator
) -> Tensor:
    """The pixels of a step: crops of a batch's pictures, or now and then fewer whole ones."""
    full = step % FULL_FRAME_EVERY == 0
    index = batch_at(step, max(1, batch // 4) if full else batch, trained_on, seed)
    return pool.pictures(index) if full else crop(pool.pictures(index), CROP, chance)


def apart(rebuilt: Tensor, pixels: Tensor) -> dict[str, Tensor]:
    """How far rebuilt pictures are from the true ones, weighted, pixel by pixel and edge by edge."""
    return {
        "absolute": (rebuilt - pixels).abs().mean(),
        "square": SQUARE_WEIGHT * F.mse_loss(rebuilt, pixels),
        "edges": EDGE_WEIGHT * edges_apart(rebuilt, pixels),
    }


def unlike(oracle: Oracle | None, rebuilt: Tensor, pixels: Tensor) -> Tensor:
    """How differently the oracle sees two batches of pictures; 0 where there is no oracle.

    Source: Zhang et al. 2018, sec. 3 (arXiv:1801.03924), with our own network for theirs
    """
    if oracle is None:
        return pixels.new_zeros(())
    differences = [
        (F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)).square().sum(1).mean()
        for a, b in zip(oracle.features(rebuilt), oracle.features(pixels), strict=True)
    ]
    return torch.stack(differences).mean()


def look_at(encoder: Encoder, decoder: Decoder, pixels: Tensor, folder: Path, step: int) -> dict[str, float]:
    """Figures of how well pictures survive the round trip; leaves them beside their rebuilt selves."""
    latent: LatentGaussian = encoder(pixels)
    rebuilt: Tensor = decoder(latent.mean).clamp(-1, 1)
    pairs = torch.stack([pixels[:16], rebuilt[:16]], dim=1).flatten(0, 1)
    save_sheet(pairs, folder / f"sheet-{step:06d}.png", columns=8)
    return {"psnr": psnr(rebuilt, pixels), "latent_std": latent.mean.std().item()}


def psnr(a: Tensor, b: Tensor) -> float:
    """Mean peak signal-to-noise ratio of pictures in [-1, 1], in dB."""
    errors = (a - b).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)
    return sum(10 * log10(4 / e) for e in cast(list[float], errors.tolist())) / len(errors)


def edges_apart(a: Tensor, b: Tensor, scales: int = 3) -> Tensor:
    """Mean absolute difference of the horizontal and vertical slopes, at several scales."""
    total = a.new_zeros(())
    for _ in range(scales):
        d = a - b
        total = total + d.diff(dim=-1).abs().mean() + d.diff(dim=-2).abs().mean()
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return total / scales


def crop(pixels: Tensor, side: int, chance: torch.Generator) -> Tensor:
    """A square of each picture, somewhere else in each; small pictures stay whole."""
    side = min(side, pixels.shape[-1])
    room = pixels.shape[-1] - side + 1
    places = cast(list[list[int]], torch.randint(room, (len(pixels), 2), generator=chance).tolist())
    return torch.stack([p[:, y : y + side, x : x + side] for p, (y, x) in zip(pixels, places, strict=True)])


def turn(z: Tensor, pixels: Tensor, factor: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror, rotate or shrink latents and pixels alike, so that latents learn to be like small pictures."""
    kind = int(torch.randint(4, (), generator=chance))
    if kind == 0:
        return z.flip(-1), pixels.flip(-1)
    if kind == 1:
        return z.rot90(1, (2, 3)), pixels.rot90(1, (2, 3))
    latent_side = z.shape[-1] // 2 if kind == 2 else z.shape[-1] * 3 // 4
    small = F.interpolate(z, size=(latent_side, latent_side), mode="bilinear", antialias=True)
    side = latent_side * factor
    return small, F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
