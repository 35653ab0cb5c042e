"""What was learned, in files that other programs read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import torch

from fromnoise.text import Tokenizer
from fromnoise.train.own.learners import Learner
from fromnoise.train.own.wishes import Wishes
from fromnoise.weights.adapter_names import Layout
from fromnoise.weights.adapter_writer import save_adapter
from fromnoise.weights.adapters import WORDS, Adapter
from fromnoise.weights.conversion import Form, convert
from fromnoise.weights.conversion import Wishes as Conversion
from fromnoise.weights.embeddings import Embedding, EmbeddingLayout, save_embedding
from fromnoise.weights.families import BASES, family_of
from fromnoise.weights.native import Parts, save_native

SUFFIX: Final = ".safetensors"


def write_result(
    learner: Learner, wishes: Wishes, out: Path, name: str, facts: Mapping[str, Any], words: Sequence[str]
) -> Path:
    """Write it into a folder, under a name; where it is now.  Raises: StorageError, WeightsError"""
    metadata = {"fromnoise_training": json.dumps(facts), WORDS: " ".join(words)}
    if wishes.kind == "lora":
        return _write_adapter(learner, wishes, out / f"{name}{SUFFIX}", metadata)
    if wishes.kind == "embedding":
        path = out / f"{wishes.word.strip('<>') or name}{SUFFIX}"
        vectors = learner.pipe.reader.taught_words[wishes.word]
        layout = cast(EmbeddingLayout, wishes.written_as)
        save_embedding(Embedding(wishes.word, tuple(vectors), metadata), path, layout)
        return path
    return _write_model(learner, wishes, out, name, facts, words)


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
    form = wishes.written_as
    if form == "auto":
        form = "ldm" if family_of(pipe.spec.unet) in BASES else "ours"
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
    whole = out / f"{name}{SUFFIX}"
    if form == "ours":
        save_native(parts, whole)
        return whole
    between = out / f"{name}.between{SUFFIX}"
    target = whole if form == "ldm" else out / name
    try:
        save_native(parts, between)
        convert(between, target, Conversion(to=cast(Form, form), force=True), _spell, _silence)
    finally:
        between.unlink(missing_ok=True)
    return target


def _spell(tokenizer: Mapping[str, Any]) -> tuple[Mapping[str, int], Sequence[tuple[str, str]]]:
    known = Tokenizer.from_json(tokenizer)
    return known.vocabulary(), known.merges


def _silence(done: float, note: str) -> None:
    """A conversion is not worth a bar of its own here."""
