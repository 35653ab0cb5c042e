"""The stages of a model, in order: each reads what the ones before it left in the run's folder.

pool/ -> tokenizer.json -> oracle/ -> vae/ -> clip/ -> latents/ -> unet/ -> turbo/ -> the model's file
decoder/ may follow vae/ at any time: it changes no latent; turbo/ may be left out
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.encoder import Encoder
from fromnoise.nets.oracle import Oracle
from fromnoise.text import Tokenizer
from fromnoise.train.clip import ClipTask
from fromnoise.train.decoder import DecoderTask
from fromnoise.train.handover import (
    CLIP,
    DECODER,
    ORACLE,
    POOL,
    TURBO,
    UNET,
    VAE,
    WEIGHTS,
    export,
    load_decoder,
    load_part,
    load_text,
    load_tokenizer,
    marks,
    save_tokenizer,
    tokenizer_mark,
    tokens_of,
)
from fromnoise.train.latents import (
    cache_latents,
    measure_latents,
    open_latents,
    read_vae_spec,
    trained_spec,
    unit_variance,
)
from fromnoise.train.loop import fit
from fromnoise.train.oracle import OracleTask
from fromnoise.train.pool import grow, open_pool
from fromnoise.train.presets import MITE_RUN, Preset
from fromnoise.train.recipe import Progress, Recipe, Task
from fromnoise.train.ship import assemble
from fromnoise.train.state import TOKENIZED
from fromnoise.train.turbo import TurboTask
from fromnoise.train.turbo_file import mark_teacher
from fromnoise.train.unet import UNetTask
from fromnoise.train.vae import VaeTask

__all__ = [
    "assemble",
    "cache_latents",
    "export",
    "load_part",
    "make_pool",
    "measure_latents",
    "open_latents",
    "read_vae_spec",
    "tokens_of",
    "train_clip",
    "train_decoder",
    "train_oracle",
    "train_tokenizer",
    "train_turbo",
    "train_unet",
    "train_vae",
    "turbo_task",
    "unet_task",
    "unit_variance",
]

REPORT_EVERY: Final = 20  # steps


def make_pool(folder: Path, preset: Preset = MITE_RUN) -> Iterator[int]:
    """Render the scenes, yielding how many there are."""
    yield from grow(
        folder / POOL, preset.scenes, size=preset.spec.defaults.width, mix=preset.mix, shard=preset.shard
    )


def train_tokenizer(folder: Path, preset: Preset = MITE_RUN) -> Tokenizer:
    """Learn the words of the pool's captions.

    Raises: RequestError if they are others than those that a stage has learned with
    """
    pool, text = open_pool(folder / POOL), preset.spec.texts[0]
    captions = (caption for captions in pool.captions for caption in captions)
    tokenizer = Tokenizer.train(captions, text.vocab, context=text.context)
    save_tokenizer(tokenizer, folder)
    return tokenizer


def train_oracle(folder: Path, preset: Preset = MITE_RUN) -> Iterator[Progress]:
    """Train the oracle on the pool."""
    task = OracleTask(preset.oracle_spec, open_pool(folder / POOL), preset.oracle)
    yield from fit_and_export(task, preset.oracle, folder / ORACLE)


def train_vae(folder: Path, preset: Preset = MITE_RUN) -> Iterator[Progress]:
    """Train the autoencoder; with the oracle's opinion if there is a finished oracle."""
    has_oracle = (folder / ORACLE / WEIGHTS).exists()
    oracle = load_part(Oracle(preset.oracle_spec), folder / ORACLE) if has_oracle else None
    task = VaeTask(preset.spec.vae, open_pool(folder / POOL), preset.vae, oracle=oracle)
    yield from fit_and_export(task, preset.vae, folder / VAE)


def train_decoder(folder: Path, preset: Preset = MITE_RUN) -> Iterator[Progress]:
    """Go on with the decoder alone, from where the autoencoder's training left it."""
    vae = preset.spec.vae
    has_oracle = (folder / ORACLE / WEIGHTS).exists()
    task = DecoderTask(
        vae,
        open_pool(folder / POOL),
        preset.decoder,
        encoder=load_part(Encoder(vae), folder / VAE, "encoder"),
        decoder=load_part(Decoder(vae), folder / VAE, "decoder"),
        oracle=load_part(Oracle(preset.oracle_spec), folder / ORACLE) if has_oracle else None,
    )
    yield from fit_and_export(task, preset.decoder, folder / DECODER)


def train_clip(folder: Path, preset: Preset = MITE_RUN) -> Iterator[Progress]:
    """Train the text tower against an image tower."""
    pool, tokenizer = open_pool(folder / POOL), load_tokenizer(folder, preset.spec)
    tokens = tokens_of(tokenizer, pool)
    facts = {TOKENIZED: tokenizer_mark(folder)}
    task = ClipTask(preset.spec.texts[0], preset.image_tower, pool, tokens, preset.clip, facts=facts)
    yield from fit_and_export(task, preset.clip, folder / CLIP)


def train_unet(folder: Path, preset: Preset = MITE_RUN) -> Iterator[Progress]:
    """Train the U-Net on the cached latents."""
    yield from fit_and_export(unet_task(folder, preset), preset.unet, folder / UNET)


def unet_task(folder: Path, preset: Preset = MITE_RUN) -> UNetTask:
    """The U-Net's task with everything it leans on, read from the run's folder."""
    spec = trained_spec(folder, preset)
    tokenizer = load_tokenizer(folder, spec)
    text = load_part(TextTransformer(spec.texts[0]), folder / CLIP, "text")
    decoder = load_decoder(folder, spec.vae)
    pool = open_latents(folder, tokenizer, spec)
    unit_variance(pool.latents)

    def encode(texts: Sequence[str]) -> Tensor:
        return torch.tensor(tokenizer(texts).ids)

    return UNetTask(spec, pool, text, decoder, encode, preset.prompts, preset.unet, facts=marks(folder))


def train_turbo(folder: Path, preset: Preset = MITE_RUN, *, newer_unet: bool = False) -> Iterator[Progress]:
    """Train the adapter that draws in few steps, unguided.

    Raises: WeightsError if the U-Net has changed, unless it is to go on with the newer one; RequestError if
            no steps are left for that
    """
    yield from fit_and_export(turbo_task(folder, preset, newer_unet=newer_unet), preset.turbo, folder / TURBO)


def turbo_task(folder: Path, preset: Preset = MITE_RUN, *, newer_unet: bool = False) -> TurboTask:
    """The turbo adapter's task with everything it leans on, read from the run's folder."""
    spec = trained_spec(folder, preset)
    tokenizer = load_tokenizer(folder, spec)
    unet = load_part(UNet(spec.unet), folder / UNET, "unet")
    mark_teacher(folder, unet, preset.turbo.steps if newer_unet else None)

    def encode(texts: Sequence[str]) -> Tensor:
        return torch.tensor(tokenizer(texts).ids)

    return TurboTask(
        spec,
        unet,
        load_text(folder, spec.texts[0]),
        load_decoder(folder, spec.vae),
        tokens_of(tokenizer, open_pool(folder / POOL)),
        encode,
        preset.prompts,
        preset.turbo,
    )


def fit_and_export(task: Task, recipe: Recipe, folder: Path) -> Iterator[Progress]:
    """Train, and when all steps are done, write down what the next stages use."""
    yield from fit(task, recipe, folder, report_every=REPORT_EVERY)
    export(task, recipe, folder)
