"""What was learned, in files that other programs read."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import torch

from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.specs import ModelSpec
from fromnoise.text import Tokenizer
from fromnoise.train.log import BOARD
from fromnoise.train.loop import TRUNK
from fromnoise.train.own.learners import Learner
from fromnoise.train.own.prior import PRIOR
from fromnoise.train.own.wishes import Wishes
from fromnoise.train.pictures import MOMENTS
from fromnoise.train.state import DAMAGED, LATEST, PREVIOUS
from fromnoise.weights.adapter_names import Layout
from fromnoise.weights.adapter_writer import save_adapter
from fromnoise.weights.adapters import WORDS, Adapter
from fromnoise.weights.conversion import TITLES, Form, check_target, convert, goal_of
from fromnoise.weights.conversion import Wishes as Conversion
from fromnoise.weights.drafts import marks_of
from fromnoise.weights.embeddings import Embedding, EmbeddingLayout, save_embedding
from fromnoise.weights.families import family_of
from fromnoise.weights.folder_configs import SIZES, Config, model_index, unet_config, vae_config
from fromnoise.weights.folders import SCHEDULER
from fromnoise.weights.layouts import LAYOUTS, folder_spec
from fromnoise.weights.modelspec import described
from fromnoise.weights.native import Parts, save_native
from fromnoise.weights.retold import unsaid
from fromnoise.weights.schedule_configs import scheduler_config

SUFFIX: Final = ".safetensors"
TAKEN: Final = (LATEST, PREVIOUS, DAMAGED, TRUNK, MOMENTS, PRIOR, BOARD)  # by the training itself
IMPOSSIBLE: Final = re.compile(r'[/\\:*?"<>|\x00-\x1f]+')  # in a file's name, on one system or another


def form_of(wishes: Wishes, spec: ModelSpec) -> Form:
    """What a whole model is written as.  Raises: RequestError if one like it cannot be"""
    if wishes.written_as == "auto":
        return "ours" if _obstacle("ldm", spec) else "ldm"
    form = cast(Form, wishes.written_as)
    if problem := _obstacle(form, spec):
        raise RequestError({"format": problem}, hint="--format ours")
    return form


def _obstacle(form: Form, spec: ModelSpec) -> str:
    """Why a model cannot be written so, as a conversion would find out; "" if it can."""
    if form == "ours":
        return ""
    family = family_of(spec.unet)
    if form == "ldm":
        if spec.vae.patch != 1 or len(spec.texts) != len(LAYOUTS.get(family, ())):
            return f"{spec.name} is of no family that other programs have single files of"
        lost = unsaid(spec, family, described(spec, family, spec.name, {}), marks_of(spec, family), {})
    else:
        try:
            lost = unsaid(spec, family, {}, {}, _configs(folder_spec(spec), family))
        except WeightsError as error:
            return error.message
    return lost and f"{TITLES[form]} has no words for {lost}"


def _configs(spec: ModelSpec, family: str) -> dict[str, Config]:
    """What a folder will say of a model.  Raises: WeightsError if it cannot be said"""
    return {
        "unet": unet_config(spec.unet, spec.texts, family, sample_size=1),
        "vae": vae_config(spec.vae, family, sample_size=1),
        "model_index": model_index(spec, family, {}),
        SCHEDULER: scheduler_config(spec, euler=family in SIZES),
    }


def check_target_of(wishes: Wishes, spec: ModelSpec, out: Path, name: str) -> None:
    """Refuse a whole model that could not be written in the end.  Raises: RequestError"""
    form = form_of(wishes, spec)
    target, between = _target(form, out, name), _between(out, name)
    _, box = goal_of(target, form)
    try:
        if target.exists():
            check_target(between, target, box, force=True)
    except StorageError as error:
        raise RequestError({"out": error.message}, hint="name another folder: -o FOLDER") from error


def write_result(
    learner: Learner, wishes: Wishes, out: Path, name: str, facts: Mapping[str, Any], words: Sequence[str]
) -> Path:
    """Write it into a folder, under a name; where it is now.  Raises: StorageError, WeightsError"""
    metadata = {"fromnoise_training": json.dumps(facts), WORDS: " ".join(words)}
    if wishes.kind == "lora":
        return _write_adapter(learner, wishes, _free(out / f"{name}{SUFFIX}"), metadata)
    if wishes.kind == "embedding":
        # only what must be: in prompts an embedding is called as its file
        word = IMPOSSIBLE.sub("-", wishes.word).strip("-.")
        path = _free(out / f"{word or name}{SUFFIX}")
        vectors = learner.pipe.reader.taught_words[wishes.word]
        layout = cast(EmbeddingLayout, wishes.written_as)
        save_embedding(Embedding(wishes.word, tuple(vectors), metadata), path, layout)
        return path
    return _write_model(learner, wishes, out, name, facts, words)


def _free(path: Path) -> Path:
    """A path where nothing of the training itself lies."""
    return path.with_stem(f"{path.stem}-own") if path.name.lower() in TAKEN else path


def _write_adapter(learner: Learner, wishes: Wishes, path: Path, metadata: Mapping[str, str]) -> Path:
    pipe = learner.pipe
    networks = {"unet": pipe.unet}
    if wishes.text:
        networks |= {f"texts.{place}": text for place, text in enumerate(pipe.text_encoders)}
    adapter = Adapter.trained(path.stem, networks, metadata)
    save_adapter(adapter, path, pipe.spec, cast(Layout, wishes.written_as), dtype=torch.float16)
    return path


def _write_model(
    learner: Learner, wishes: Wishes, out: Path, name: str, facts: Mapping[str, Any], words: Sequence[str]
) -> Path:
    pipe = learner.pipe
    form = form_of(wishes, pipe.spec)
    known = pipe.about.get("words", ())
    about = {**pipe.about, "training": dict(facts)} | ({"words": sorted({*known, *words})} if known else {})
    parts = Parts(
        pipe.spec,
        pipe.text_encoders,
        pipe.unet,
        pipe.encoder,
        pipe.decoder,
        tuple(tokenizer.to_json() for tokenizer in pipe.tokenizers),
        about,
    )
    target, between = _target(form, out, name), _between(out, name)
    if form == "ours":
        save_native(parts, target)
        return target
    try:
        save_native(parts, between)
        convert(between, target, Conversion(to=form, force=True), _spell, _silence)
    finally:
        between.unlink(missing_ok=True)
    return target


def _target(form: Form, out: Path, name: str) -> Path:
    """Where a whole model goes: a file, or a folder."""
    return _free(out / (name if form == "diffusers" else f"{name}{SUFFIX}"))


def _between(out: Path, name: str) -> Path:
    """Where it lies in our format while it is converted."""
    return out / f"{name}.between{SUFFIX}"


def _spell(tokenizer: Mapping[str, Any]) -> tuple[Mapping[str, int], Sequence[tuple[str, str]]]:
    known = Tokenizer.from_json(tokenizer)
    return known.vocabulary(), known.merges


def _silence(done: float, note: str) -> None:
    """A conversion is not worth a bar of its own here."""
