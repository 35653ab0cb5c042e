"""The pool as the U-Net sees it: every picture encoded once, shifted and scaled to unit variance."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from fromnoise.errors import StorageError, WeightsError
from fromnoise.nets.encoder import Encoder, LatentGaussian
from fromnoise.nets.latents import scale_latents
from fromnoise.specs import ModelSpec, VaeSpec
from fromnoise.text import Tokenizer
from fromnoise.train.device import autocast, device_of, onto
from fromnoise.train.handover import LATENTS, POOL, VAE, load_part, tokens_of
from fromnoise.train.pointing import Words
from fromnoise.train.pool import open_pool, shard_path, shards_in
from fromnoise.train.presets import MITE_RUN, Preset
from fromnoise.train.state import Checkpoint, digest, read_checkpoint, write_checkpoint
from fromnoise.train.unet import LatentPool

LATENT_SPEC: Final = "spec.safetensors"
LATENT_STATISTICS: Final = 10_000  # pictures
MEAN_WITHIN, STD_WITHIN = 0.05, 0.02  # of 0 and 1: what the noise schedule assumes


@torch.inference_mode()
def cache_latents(folder: Path, preset: Preset = MITE_RUN, batch: int = 50) -> Iterator[int]:
    """Encode the whole pool once, shard by shard, yielding how many pictures are done.

    Raises: WeightsError if some latents are there already, but were made by another encoder
    """
    encoder = load_part(Encoder(preset.spec.vae), folder / VAE, "encoder")
    mark, device = digest(encoder.state_dict()), device_of(preset.vae)
    encoder.to(device)
    pool = open_pool(folder / POOL)
    for number, (pixels, done) in enumerate(zip(pool.pixels, accumulate(map(len, pool.pixels)), strict=True)):
        path = shard_path(folder / LATENTS, number)
        if path.exists():
            check_encoder(path, read_checkpoint(path), mark)
        else:
            parts: list[Tensor] = []
            for at in range(0, len(pixels), batch):
                with autocast(device):
                    latent: LatentGaussian = encoder(
                        *onto(device, pixels[at : at + batch].float() / 127.5 - 1)
                    )
                parts.append(latent.mean.float().cpu())
            write_checkpoint(path, {"mean": torch.cat(parts).half()}, {"encoder": mark})
        yield done


def check_encoder(path: Path, made: Checkpoint, mark: str) -> None:
    """Refuse latents of another encoder than the run's.  Raises: WeightsError"""
    if made.facts.get("encoder", mark) != mark:
        raise WeightsError(
            f"{path} was made by another encoder than the one in {VAE}/",
            hint=f"delete {path.parent}, then fromnoise train latents {path.parent.parent}",
        )


def measure_latents(folder: Path, preset: Preset = MITE_RUN) -> VaeSpec:
    """The autoencoder's spec with the mean and spread of its latents, channel by channel.

    Once measured they stay, also when the pool grows: a U-Net that learns in some units goes on in them.
    """
    if (folder / LATENTS / LATENT_SPEC).exists():
        return trained_spec(folder, preset).vae
    shards: list[Tensor] = []
    mark: dict[str, str] = {}
    for path in shards_in(folder / LATENTS):
        if sum(map(len, shards)) < LATENT_STATISTICS:
            made = read_checkpoint(path)
            shards.append(made.tensors["mean"].float())
            mark = made.facts
    if not shards:
        raise no_latents(folder)
    means = torch.cat(shards)
    spec = replace(
        preset.spec.vae,
        latent_mean=tuple(round(channel.mean().item(), 5) for channel in means.unbind(1)),
        latent_std=tuple(round(channel.std().item(), 5) for channel in means.unbind(1)),
    )
    write_checkpoint(folder / LATENTS / LATENT_SPEC, {}, {"vae": spec.to_json(), **mark})
    return spec


def read_vae_spec(folder: Path) -> VaeSpec:
    """What `measure_latents` found.  Raises: StorageError if it did not run yet, WeightsError"""
    path = folder / LATENTS / LATENT_SPEC
    if not path.exists():
        raise no_latents(folder)
    return VaeSpec.from_json(read_checkpoint(path).facts["vae"])


def no_latents(folder: Path) -> StorageError:
    """What to say where they are needed."""
    return StorageError(f"{folder} holds no latents", hint=f"make them: fromnoise train latents {folder}")


def trained_spec(folder: Path, preset: Preset = MITE_RUN) -> ModelSpec:
    """The preset's spec with the run's latent statistics.

    Raises: WeightsError if the latents were not made by the run's own encoder
    """
    vae = read_vae_spec(folder)
    encoder = load_part(Encoder(vae), folder / VAE, "encoder")
    path = folder / LATENTS / LATENT_SPEC
    check_encoder(path, read_checkpoint(path), digest(encoder.state_dict()))
    return replace(preset.spec, vae=vae)


def open_latents(folder: Path, tokenizer: Tokenizer, spec: ModelSpec) -> LatentPool:
    """The cached latents in the U-Net's units, with their captions and labels."""
    pool = open_pool(folder / POOL)
    shards = (read_checkpoint(path).tensors["mean"] for path in shards_in(folder / LATENTS))
    latents = torch.cat([scale_latents(spec.vae, shard.float()).half() for shard in shards])
    stride = pool.kinds.shape[-1] // latents.shape[-1]
    middle = slice(stride // 2, None, stride)
    n = len(latents)
    return LatentPool(
        latents=latents,
        tokens=tokens_of(tokenizer, pool)[:n],
        kinds=pool.kinds[:n, middle, middle],
        colours=pool.colours[:n, middle, middle],
        silence=torch.tensor(tokenizer("").ids[0], dtype=torch.int16),
        words=Words.of(tokenizer),
    )


def unit_variance(latents: Tensor) -> None:
    """Refuse latents without the mean and spread that the noise schedule assumes.  Raises: WeightsError"""
    sample = latents[:LATENT_STATISTICS].float()
    mean, std = sample.mean().item(), sample.std().item()
    if not (abs(mean) < MEAN_WITHIN and abs(std - 1) < STD_WITHIN):
        raise WeightsError(
            f"the scaled latents have mean {mean:.3f} and spread {std:.3f}, not 0 ± {MEAN_WITHIN}"
            f" and 1 ± {STD_WITHIN}",
            hint="delete the run's latents/ and make them again: fromnoise train latents",
        )
