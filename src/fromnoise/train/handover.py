"""What one stage of a run leaves in its folder for the next ones."""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar
from warnings import warn

import torch
from torch import Tensor, nn

from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.specs import ClipSpec, ModelSpec, VaeSpec
from fromnoise.text import Tokenizer
from fromnoise.train.loop import Run
from fromnoise.train.pool import Pool
from fromnoise.train.recipe import Recipe, Task
from fromnoise.train.state import (
    ENCODER,
    LATEST,
    PREVIOUS,
    TOKENIZED,
    Checkpoint,
    check_learned_with,
    digest,
    newest,
    read_checkpoint,
    under,
    write_checkpoint,
)

M = TypeVar("M", bound=nn.Module)

# the folders of a run, in the order they are made
POOL, ORACLE, VAE, CLIP, LATENTS, UNET = "pool", "oracle", "vae", "clip", "latents", "unet"
DECODER: Final = "decoder"  # after the autoencoder, at any time: the encoder and the latents stay
TURBO: Final = "turbo"  # after the U-Net, which stays
WEIGHTS: Final = "weights.safetensors"  # what a finished stage hands on
TOKENIZER: Final = "tokenizer.json"
BEFORE: Final = "before.json"  # the card of the model that a run goes on from


def export(task: Task, recipe: Recipe, folder: Path) -> None:
    """Write the averaged weights of a run: what the next stages and the shipped model use."""
    run = Run(task, recipe, folder)
    tensors = run.ema.averages if run.ema else {n: p.detach() for n, p in run.parameters.items()}
    write_checkpoint(folder / WEIGHTS, tensors, run.facts())


def has_weights(folder: Path) -> bool:
    """Whether a stage has anything to hand on: one that was stopped before it first saved has not."""
    return any((folder / name).exists() for name in (WEIGHTS, LATEST, PREVIOUS))


def handed_on(folder: Path) -> Checkpoint:
    """The weights of a finished stage, or the newest averages of an unfinished one.

    Warns if a finished stage has been trained further since, and not yet to the end.
    Raises: StorageError if the stage was never trained; WeightsError if its files are damaged, or it learned
            with another encoder or tokenizer than the run's
    """
    found = _handed_on(folder)
    ours = {part: mark(folder.parent) for part, mark in MARKS.items() if part in found.facts}
    check_learned_with(folder, found.facts, ours)
    return found


def _handed_on(folder: Path) -> Checkpoint:
    if (folder / WEIGHTS).exists():
        done = read_checkpoint(folder / WEIGHTS)
        step, further = done.facts.get("step", 0), _step_of_latest(folder)
        if further > step:
            hint = f"for newer ones, train {folder.name} to its end, or delete {WEIGHTS}"
            problem = f"{folder} was trained further, to step {further}; its weights of step {step} are used"
            warn(f"{problem}: {hint}", RuntimeWarning, 1)
        return done
    if found := newest(folder):
        tensors = found.checkpoint.tensors
        return Checkpoint(under("ema", tensors) or under("model", tensors), found.checkpoint.facts)
    command = f"fromnoise train {folder.name} {folder.parent}"
    raise StorageError(f"{folder} holds no weights", hint=f"train them first: {command}")


def _step_of_latest(folder: Path) -> int:
    try:
        return read_checkpoint(folder / LATEST, facts_only=True).facts.get("step", 0)
    except WeightsError:  # damaged, or not there
        return 0


def encoder_mark(folder: Path) -> str:
    """The digest of a run's encoder.  Raises: StorageError, WeightsError"""
    return digest(under("encoder", handed_on(folder / VAE).tensors))


def tokenizer_mark(folder: Path) -> str:
    """The digest of a run's tokenizer, whose ids follow its merges.  Raises: StorageError, WeightsError"""
    return sha256(json.dumps(open_tokenizer(folder).to_json(), sort_keys=True).encode()).hexdigest()


MARKS: Final[Mapping[str, Callable[[Path], str]]] = {ENCODER: encoder_mark, TOKENIZED: tokenizer_mark}


def marks(folder: Path) -> dict[str, str]:
    """Which encoder and tokenizer a run has.  Raises: StorageError, WeightsError"""
    return {part: mark(folder) for part, mark in MARKS.items()}


def load_part(module: M, folder: Path, prefix: str = "") -> M:
    """Fill a module with what a stage hands on.  Raises: StorageError, WeightsError"""
    tensors = handed_on(folder).tensors
    try:
        module.load_state_dict(under(prefix, tensors) if prefix else tensors)
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{folder} holds another network than this model's: {problem}") from error
    return module.eval()


def load_text(folder: Path, spec: ClipSpec) -> TextTransformer:
    """The run's text tower: as it learned on in the U-Net's stage, if it did.  Raises: StorageError"""
    learned_on = under("text", handed_on(folder / UNET).tensors)
    return load_part(TextTransformer(spec), folder / (UNET if learned_on else CLIP), "text")


def load_decoder(folder: Path, spec: VaeSpec) -> Decoder:
    """The run's best decoder: trained on alone, if it was.  Raises: StorageError, WeightsError"""
    if has_weights(folder / DECODER):
        return load_part(Decoder(spec), folder / DECODER)
    return load_part(Decoder(spec), folder / VAE, "decoder")


def card_before(folder: Path) -> dict[str, Any]:
    """The card of the model that a run goes on from; empty if it began with nothing.  Raises: WeightsError"""
    try:
        return json.loads((folder / BEFORE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder / BEFORE} is damaged: {error}") from error


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the run's tokenizer.  Raises: StorageError, RequestError if a stage has learned with another"""
    path = folder / TOKENIZER
    taught = " and ".join(stage for stage in (CLIP, UNET) if has_weights(folder / stage))
    if taught and path.exists() and Tokenizer.load(path).to_json() != tokenizer.to_json():
        problem = f"{path} would be another, and {taught} learned with this one"
        hint = "go on with this one; or name an empty folder to start a new run"
        raise RequestError({"tokenizer": problem}, hint=hint)
    tokenizer.save(path)


def open_tokenizer(folder: Path) -> Tokenizer:
    """The run's tokenizer, whatever it is for.  Raises: StorageError, WeightsError"""
    if not (folder / TOKENIZER).exists():
        hint = f"train one: fromnoise train tokenizer {folder}"
        raise StorageError(f"{folder} holds no tokenizer", hint=hint)
    return Tokenizer.load(folder / TOKENIZER)


def load_tokenizer(folder: Path, spec: ModelSpec) -> Tokenizer:
    """The run's tokenizer.  Raises: StorageError, WeightsError if its numbers are not the text tower's"""
    tokenizer, text = open_tokenizer(folder), spec.texts[0]
    if (tokenizer.size, tokenizer.context, tokenizer.end) != (text.vocab, text.context, text.end):
        raise WeightsError(
            f"{folder / TOKENIZER} has {tokenizer.size} tokens, {tokenizer.context} at once; "
            f"{spec.name} reads {text.vocab}, {text.context} at once",
            hint=f"train it again: fromnoise train tokenizer {folder}",
        )
    return tokenizer


def tokens_of(tokenizer: Tokenizer, pool: Pool) -> Tensor:
    """All captions of a pool: (N, captions a scene, context), int16."""
    rows = [torch.tensor(tokenizer(texts).ids, dtype=torch.int16) for texts in pool.captions]
    return torch.stack(rows)
