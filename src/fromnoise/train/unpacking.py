"""A model taken apart into the folder of a run, so that its training can go on: `assemble`, backwards.

What a file does not hold begins anew: the optimiser's moments, and the U-Net's head for meaning.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from torch import Tensor, nn

from fromnoise.durable import replacing
from fromnoise.errors import RequestError, WeightsError
from fromnoise.specs import ModelSpec
from fromnoise.text import Tokenizer
from fromnoise.train.handover import BEFORE, CLIP, LATENTS, TOKENIZER, UNET, VAE, WEIGHTS, marks
from fromnoise.train.latents import LATENT_SPEC
from fromnoise.train.log import Log
from fromnoise.train.state import ENCODER, LATEST, TOKENIZED, prefixed, write_checkpoint
from fromnoise.weights.native import Parts

CARD: Final = "card"


def unpack(parts: Parts, folder: Path, spec: ModelSpec) -> None:
    """Write what the stages of a run would have left, so that pool, latents and unet can follow.

    Raises: RequestError if the folder holds a run; WeightsError if the model is of another spec; StorageError
    """
    if folder.exists() and any((folder / name).exists() for name in (TOKENIZER, VAE, CLIP, LATENTS, UNET)):
        raise RequestError({"folder": f"{folder} holds a run already"}, hint="name an empty folder")
    vae = replace(spec.vae, latent_mean=parts.spec.vae.latent_mean, latent_std=parts.spec.vae.latent_std)
    for part, theirs, ours in (
        ("text encoder", parts.spec.texts, spec.texts),
        ("autoencoder", parts.spec.vae, vae),
        ("U-Net", parts.spec.unet, spec.unet),
    ):
        if theirs != ours:
            problem = f"the {part} of {parts.spec.name} has another shape than this run's"
            raise WeightsError(problem, hint="unpack a model that these stages made")
    card = cast(Mapping[str, Any], parts.about.get(CARD, {}))
    stages: Mapping[str, Any] = card.get("stages", {})
    unet, text = _numbers(parts.unet), _numbers(parts.texts[0])
    encoder, decoder = _numbers(parts.encoder), _numbers(parts.decoder)
    pair = prefixed("encoder", encoder) | prefixed("decoder", decoder)
    write_checkpoint(folder / VAE / WEIGHTS, pair, _facts(VAE, stages))
    Tokenizer.from_json(parts.tokenizers[0]).save(folder / TOKENIZER)
    ours = marks(folder)
    read = _facts(CLIP, stages) | {TOKENIZED: ours[TOKENIZED]}
    write_checkpoint(folder / CLIP / WEIGHTS, prefixed("text", text), read)
    units = {"vae": vae.to_json(), ENCODER: ours[ENCODER]}
    write_checkpoint(folder / LATENTS / LATENT_SPEC, {}, units)
    start = prefixed("model", prefixed("unet", unet) | prefixed("text", text))
    write_checkpoint(folder / UNET / LATEST, start, _facts(UNET, stages) | ours)
    for stage in (VAE, CLIP, UNET):
        if stage in stages:
            _remember(folder / stage, stages[stage])
    with replacing(folder / BEFORE) as part:
        part.write_text(json.dumps(card), encoding="utf-8")


def _numbers(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in module.state_dict().items()}


def _facts(stage: str, stages: Mapping[str, Any]) -> dict[str, Any]:
    told = stages.get(stage, {})
    return {"task": stage, "step": told.get("steps", 0), "recipe": told.get("recipe", {})}


def _remember(folder: Path, told: Mapping[str, Any]) -> None:
    """What the card tells of a stage, where `assemble` looks for it: how long it took, its last figures."""
    until = datetime.fromisoformat(told["until"]).replace(tzinfo=UTC).timestamp()
    Log(folder).recall(until - told["seconds"], {})
    Log(folder).recall(until, told["figures"], step=told["steps"])
