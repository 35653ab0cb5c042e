"""What a run is for: one model file, and a card that says how it came to be."""

import json
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

import torch

from fromnoise.durable import replacing
from fromnoise.images.sketch import Sketch
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.encoder import Encoder
from fromnoise.specs import ModelSpec
from fromnoise.text import Tokenizer
from fromnoise.train.handover import (
    CLIP,
    DECODER,
    ORACLE,
    POOL,
    TURBO,
    UNET,
    VAE,
    card_before,
    handed_on,
    has_weights,
    load_decoder,
    load_part,
    load_text,
    load_tokenizer,
)
from fromnoise.train.latents import open_latents, trained_spec, unit_variance
from fromnoise.train.log import Log
from fromnoise.train.pool import Pool, open_pool
from fromnoise.train.presets import MITE_RUN, Preset
from fromnoise.train.turbo_file import load_turbo, pack_turbo
from fromnoise.weights.adapters import Adapter
from fromnoise.weights.native import Parts, save_native

SKETCHED: Final = 500  # pictures that the quick preview is fitted to


def assemble(folder: Path, out: Path, preset: Preset = MITE_RUN, *, small: bool = False) -> dict[str, Any]:
    """Put a run's averaged weights into one model file, its checksum beside it (.sha256); return its card.

    `small`: most weights as bytes (weights/native.py)
    A turbo adapter that was trained goes beside it: model.turbo.safetensors.
    Raises: StorageError if a stage was not trained or `out` not written; WeightsError if parts do not fit
    """
    spec = trained_spec(folder, preset)
    tokenizer, pool = load_tokenizer(folder, spec), open_pool(folder / POOL)
    made = card(folder, spec)
    parts = Parts(
        spec,
        texts=(load_text(folder, spec.texts[0]),),
        unet=load_part(UNet(spec.unet), folder / UNET, "unet"),
        encoder=load_part(Encoder(spec.vae), folder / VAE, "encoder"),
        decoder=load_decoder(folder, spec.vae),
        tokenizers=(tokenizer.to_json(),),
        about={
            "card": made,
            "words": words(tokenizer, pool),
            "sketch": sketch(folder, tokenizer, spec, pool),
        },
    )
    turbo = turbo_of(folder, spec)  # before anything is written: it may be refused
    save_native(parts, out, small=small)
    checksum = write_checksum(out)
    if turbo:
        write_checksum(pack_turbo(turbo, out, spec, checksum))
    return made


def turbo_of(folder: Path, spec: ModelSpec) -> Adapter | None:
    """The run's turbo adapter with its card, if one was trained.  Raises: StorageError, WeightsError"""
    if not has_weights(folder / TURBO):
        return None
    return load_turbo(folder, spec, {"card": json.dumps(told(folder / TURBO))})


def write_checksum(path: Path) -> str:
    """Leave a file's SHA-256 beside it (.sha256), as sha256sum has it; return it."""
    with path.open("rb") as file:
        checksum = file_digest(file, "sha256").hexdigest()
    with replacing(path.with_suffix(".sha256")) as part:
        part.write_text(f"{checksum}  {path.name}\n", encoding="ascii")
    return checksum


def card(folder: Path, spec: ModelSpec) -> dict[str, Any]:
    """How a run's model came to be: for each stage its recipe, steps, time and last validation."""
    before = card_before(folder)
    stages: dict[str, Any] = before.get("stages", {})
    stages |= {stage: told(folder / stage) for stage in (VAE, CLIP, UNET)}
    stages |= {stage: told(folder / stage) for stage in (DECODER, ORACLE) if has_weights(folder / stage)}
    return {
        "model": spec.name,
        "date": max(stage["until"] for stage in stages.values()),
        "scenes": before.get("scenes", 0) + len(open_pool(folder / POOL)),
        "seconds": sum(stage["seconds"] for stage in stages.values()),
        "stages": stages,
    }


def told(folder: Path) -> dict[str, Any]:
    """What a stage's weights and log say of its training."""
    facts, log = handed_on(folder).facts, Log(folder)
    lines = list(log.lines(facts["step"]))  # it may have been trained further since
    figured = [line for line in lines if line["figures"]]
    ended = [datetime.fromtimestamp(line["time"], UTC).date().isoformat() for line in figured or lines]
    figures: dict[str, float] = figured[-1]["figures"] if figured else {}
    return {
        "steps": facts["step"],
        "recipe": facts["recipe"],
        "seconds": round(log.seconds(facts["step"])),
        "until": ended[-1] if ended else "",
        "figures": {name: round(value, 4) for name, value in figures.items()},
    }


def words(tokenizer: Tokenizer, pool: Pool) -> list[str]:
    """Every word that the model was told in training."""
    captions = (caption for captions in pool.captions for caption in captions)
    return sorted({word for caption in captions for word in tokenizer.words(caption) if word.isalpha()})


def sketch(folder: Path, tokenizer: Tokenizer, spec: ModelSpec, pool: Pool) -> dict[str, Any]:
    """The line from latents to colours that previews use."""
    latents = open_latents(folder, tokenizer, spec).latents
    unit_variance(latents)
    some = min(SKETCHED, len(latents))
    return Sketch.fit(latents[:some].float(), pool.pictures(torch.arange(some))).to_json()
