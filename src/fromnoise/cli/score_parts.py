"""What `fromnoise score` gives to the score: a model that draws, its training scenes, its CLIP."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.errors import RequestError, WeightsError
from fromnoise.images.pixels import to_pixels
from fromnoise.nets.clip import ImageTower, TextTransformer
from fromnoise.pipeline import Pipeline
from fromnoise.request import GenerateRequest
from fromnoise.score import (
    SEED,
    Audit,
    Beside,
    ClassicalReader,
    Clip,
    Likeness,
    Memory,
    OracleReader,
    Stamp,
    Tier,
    Variety,
    Witness,
    kept,
    make_tiers,
    plans_digest,
)
from fromnoise.score.plans import PAPER
from fromnoise.score.retrieval import captioned, looked_up
from fromnoise.train.handover import CLIP, load_part, load_tokenizer
from fromnoise.train.presets import Preset, run_for
from fromnoise.world import Mix, Prompt, Scene, World, sample_scene, scene_seed, world_of

TRAINED_FROM: Final = 0  # the seed of a training pool's scenes
RENDERED: Final = 5  # one in so many training scenes is drawn again, to compare pictures with


def beside(
    pipe: Pipeline,
    request: GenerateRequest,
    reader: OracleReader,
    tiers: Sequence[Tier],
    options: Mapping[str, Any],
) -> Beside:
    """Everything that is measured beside the model's pictures."""
    world = world_of(next(iter(tiers[0].prompts.values()))[0].scene.world)
    trained, size = training_scenes(world, options["pool"]), pipe.spec.defaults.width
    captions = captioned(trained)
    others = make_tiers([tier.name for tier in tiers], options["prompts"], 0, SEED + 1, world)
    scenes = [prompt.scene for tier in others for prompts in tier.prompts.values() for prompt in prompts]
    witnesses: list[Witness] = [Likeness(reader.features, scenes, size), Variety()]
    witnesses.append(Memory(trained, max(2, len(trained) // RENDERED), size))
    if any(tier.name == PAPER for tier in tiers):
        witnesses.append(Audit(ClassicalReader.of(world, size)))
    if options["clip"]:
        witnesses.append(Clip(liking(options["clip"], run_for(world))))

    def recall(prompts: Sequence[Prompt]) -> list[Scene]:
        return looked_up([prompt.text for prompt in prompts], trained, captions)

    stamp = Stamp(
        checker=reader.digest,
        plans=plans_digest(tiers),
        world=world.name,
        seeds=options["seeds"],
        model=pipe.spec.name,
        model_hash=pipe.model_hash,
        drawn=settled(pipe, request),
    )
    return Beside(
        rebuild=rebuilding(pipe),
        recall=recall,
        features=reader.features,
        witnesses=tuple(witnesses),
        stamp=stamp,
    )


def settled(pipe: Pipeline, request: GenerateRequest) -> dict[str, Any]:
    """All of a request but its prompt and its seeds, with nothing left open."""
    full = asdict(pipe.settled(request))
    return {name: value for name, value in full.items() if name not in ("prompt", "seeds")}


def how_drawn(pipe: Pipeline, request: GenerateRequest) -> dict[str, Any]:
    """All that a picture depends on beside its prompt and its seed.

    Raises: RequestError where the model has no checksum, so that kept pictures could be another model's
    """
    if not pipe.model_hash:
        problem = "this model has no checksum, so that its pictures cannot be told from another's"
        raise RequestError({"keep": problem}, hint="score a model of one file, or leave out --keep")
    return {"model": pipe.model_hash, **settled(pipe, request)}


def training_scenes(world: World, count: int) -> list[Scene]:
    """The first scenes of the training pool, as the preset has them."""
    mix = run_for(world).mix or Mix(world=world)
    return [sample_scene(scene_seed(TRAINED_FROM, index), mix) for index in range(count)]


def drawing(
    pipe: Pipeline, request: GenerateRequest, keep: Path | None = None
) -> Callable[[list[str], list[int]], Tensor]:
    """What the score asks to draw: prompts and seeds to pixels; only what the folder `keep` lacks.

    Raises: as `how_drawn` and `kept`
    """

    def draw(prompts: list[str], seeds: list[int]) -> Tensor:
        jobs = [replace(request, prompt=p, seeds=(seed,)) for p, seed in zip(prompts, seeds, strict=True)]
        return torch.cat([to_pixels(pipe(job).pictures[0]) for job in jobs])

    return kept(draw, keep, how_drawn(pipe, request)) if keep else draw


def rebuilding(pipe: Pipeline) -> Callable[[Tensor], Tensor]:
    """Pixels through the autoencoder and back: what is lost before any network draws."""

    @torch.inference_mode()
    def rebuild(pixels: Tensor) -> Tensor:
        number = next(pipe.encoder.parameters()).dtype  # beside a U-Net in float16 it may be another
        latents = pipe.encoder(pixels.to(pipe.device, number)).mean
        return pipe.decoder(latents).float().clamp(-1, 1).cpu()

    return rebuild


def liking(run: Path, preset: Preset) -> Callable[[Sequence[str], Tensor], Tensor]:
    """How well the CLIP of a training run likes pictures with texts.  Raises: StorageError, WeightsError"""
    text = load_part(TextTransformer(preset.spec.texts[0]), run / CLIP, "text")
    image = load_part(ImageTower(preset.image_tower), run / CLIP, "image")
    tokenizer = load_tokenizer(run, preset.spec)
    side = preset.image_tower.size

    @torch.inference_mode()
    def like(texts: Sequence[str], pixels: Tensor) -> Tensor:
        small = F.interpolate(pixels.float(), size=(side, side), mode="area")
        read = text(torch.tensor(tokenizer(list(texts)).ids)).pooled
        cosines = F.cosine_similarity(read, image(small))
        if not bool(cosines.isfinite().all()):
            raise WeightsError(f"the CLIP of {run} answers with numbers that are not finite")
        return cosines

    return like
