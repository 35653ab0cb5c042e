"""From one kind of file of a model to another, without losing a bit: the story of `fromnoise convert`."""

import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import torch

from fromnoise.durable import replacing, require_room
from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.specs import Prediction
from fromnoise.weights.conversion_report import Report
from fromnoise.weights.detect import detect
from fromnoise.weights.draft_writer import Box, Tell, Writing
from fromnoise.weights.drafts import (
    AVERAGED,
    BESIDE,
    EXCHANGED,
    Draft,
    Origin,
    completed,
    components_of,
    draft_ours,
    draft_single_file,
    with_metadata_for,
)
from fromnoise.weights.folder_texts import folder_texts
from fromnoise.weights.folder_writer import replacing_folder
from fromnoise.weights.folders import MODEL_INDEX
from fromnoise.weights.foreign import SEPARATE, with_vae
from fromnoise.weights.identity import DIFFUSERS, MODEL, UNDECIDED, Identity
from fromnoise.weights.model_converter import Plan
from fromnoise.weights.modelspec import SPEC, described
from fromnoise.weights.native import compare, skeleton
from fromnoise.weights.planning import left_out, plan_for, shapes_of
from fromnoise.weights.probing import asked, can_answer, is_doubtful
from fromnoise.weights.retold import check_told
from fromnoise.weights.stored import Stored, open_weights
from fromnoise.weights.supply import Supply
from fromnoise.weights.tokenizer_files import Spell
from fromnoise.weights.witnesses import ALPHAS
from fromnoise.weights.wording import shown

Form = Literal["ldm", "diffusers", "ours"]

BOXES: Final[dict[str, Box]] = {
    ".safetensors": "safetensors",
    ".sft": "safetensors",
    ".ckpt": "ckpt",
    ".pt": "ckpt",
    ".pth": "ckpt",
}
NAMES: Final = "end it in .safetensors or .ckpt; a diffusers folder has no ending, or --to diffusers"
OVERHEAD: Final = 8 << 20  # bytes, at most, of headers and small files
TITLES: Final[dict[Form, str]] = {
    "ldm": "a single file of other programs",
    "diffusers": "a diffusers folder",
    "ours": "our format",
}
ODD_TABLE: Final = "an unknown table of noise levels; it was drawn with its family's, which takes its place"
BESIDE_NAMES: Final = "beside."  # before the names of what a folder keeps beside itself


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user may ask for."""

    to: Form | None = None  # None: as the target's name says
    dtype: torch.dtype | None = None  # None: every tensor keeps its own
    ema: bool = False  # the running averages of the U-Net's weights instead of them
    vae: Path | None = None  # take the autoencoder from there
    prediction: Prediction | None = None  # wins over what the source says
    variant: str | None = None  # of a diffusers folder
    prune: bool = False  # leave out what no network reads
    force: bool = False  # replace what is there
    verify: bool = False  # read the target again


def convert(source: Path, target: Path, wishes: Wishes, spell: Spell, tell: Tell) -> Report:
    """Write the model in `source` as `target`, whole or not at all, holding no more than a tensor at a time.

    `spell` turns a tokenizer as `Tokenizer.to_json` gives it into symbols and merges
    Raises: RequestError for what cannot be asked for; WeightsError if the source is no model, or if the
            target's format cannot hold it; StorageError
    """
    form, box = goal_of(target, wishes.to)
    check_target(source, target, box, force=wishes.force)
    with ExitStack() as stack:
        tell(0.0, f"reading {shown(source.name)}")
        supply = Supply()
        stack.callback(supply.files.close)
        origin = _asked(_understood(source, wishes, supply, stack), tell)
        doubts = _doubts(origin, form, target)
        draft = with_metadata_for(_drafted(origin, form, target, wishes, spell), ckpt=box == "ckpt")
        check_told(origin, draft, TITLES[form])
        for name, tensor in draft.added.items():
            supply.put(name, tensor)
        writing = Writing(draft, supply, wishes.dtype, tell)
        require_room(target.absolute().parent, writing.size + OVERHEAD, shown(target.name))
        with (replacing_folder if box == "folder" else replacing)(target) as part:
            lines = writing.write(part, box)
            if wishes.verify:
                tell(1.0, "reading it again")
                writing.verify(part, lines)
    model = {
        "family": origin.family,
        "variant": origin.identity.variant,
        "layout": origin.identity.layout,
        "prediction": UNDECIDED if doubts else origin.spec.prediction,
    }
    left = _all_left_out(origin, draft)
    return Report(str(source), str(target), model, lines, left, draft.metadata, wishes.verify, doubts)


# --- where to ---


def goal_of(target: Path, to: Form | None) -> tuple[Form, Box]:
    """The format and the container that a target's name asks for.  Raises: RequestError"""
    box = BOXES.get(target.suffix.lower())
    if box is None and (to == "diffusers" or target.is_dir() or not target.suffix):
        box = "folder"
    if box is None:
        raise RequestError({"dst": f"{target.name} does not say what it is to be"}, hint=NAMES)
    form = to or ("diffusers" if box == "folder" else "ldm")
    if (form == "diffusers") != (box == "folder"):
        kind = "a folder" if form == "diffusers" else "one file"
        raise RequestError({"dst": f"{target.name}: {form!r} is {kind}"}, hint=NAMES)
    if form == "ours" and box == "ckpt":
        raise RequestError({"dst": "our format is a .safetensors file"}, hint="name it so")
    return form, box


def check_target(source: Path, target: Path, box: Box, *, force: bool) -> None:
    """Refuse early what would fail late, or destroy something.  Raises: StorageError"""
    here = target.absolute()
    if not here.parent.is_dir():
        raise StorageError(f"there is no folder {here.parent}", hint="make it first, or name another")
    if not target.exists():
        return
    if source.exists() and source.resolve().is_relative_to(here.resolve()):
        same = "is the source itself" if source.resolve() == here.resolve() else "holds the source"
        raise StorageError(f"{target} {same}", hint="give another name")
    if target.is_dir() and box != "folder":
        raise StorageError(f"{target} is a folder", hint="give the name of a file")
    if box == "folder" and not (target.is_dir() and _is_a_model_or_empty(target)):
        raise StorageError(
            f"{target} is there, and is no model in diffusers' format", hint="give another name"
        )
    if not force and not (target.is_dir() and not any(target.iterdir())):
        raise StorageError(f"{target} is there already", hint="--force replaces it")


def _is_a_model_or_empty(folder: Path) -> bool:
    return (folder / MODEL_INDEX).is_file() or not any(folder.iterdir())


# --- from what ---


def _understood(source: Path, wishes: Wishes, supply: Supply, stack: ExitStack) -> Origin:
    """Open the source, find out what it is, and make sure that it is whole."""
    stored = whole = stack.enter_context(open_weights(source, variant=wishes.variant))
    supply.add(stored)
    if wishes.vae:
        separate = stack.enter_context(open_weights(wishes.vae))
        supply.add(separate, SEPARATE)
        stored = with_vae(stored, separate)
    identity = detect(stored, prediction=wishes.prediction)
    if identity.spec is None or identity.kind != MODEL:
        problem = identity.obstacle or f"it is no whole model, but {identity.kind}"
        raise WeightsError(f"{stored.name} cannot be converted: {problem}", hint=identity.hint)
    recipes = plan_for(stored, identity, wishes.ema)
    rest = _unused(stored, identity, recipes)
    rest |= dict.fromkeys((name for name in whole.shapes if name not in stored.shapes), EXCHANGED)
    origin = Origin(stored, identity, identity.spec, recipes, rest, wishes.ema, own_vae=not wishes.vae)
    if identity.layout == DIFFUSERS and (source / BESIDE).is_file():
        beside = stack.enter_context(open_weights(source / BESIDE))
        supply.add(beside, BESIDE_NAMES)
        origin = completed(origin, beside, BESIDE_NAMES)
    _check_whole(origin, supply)
    return origin


def _asked(origin: Origin, tell: Tell) -> Origin:
    """The origin with what its U-Net answers, where nobody says what it predicts and it may be unusual."""
    stored, identity = origin.stored, origin.identity
    if not (is_doubtful(stored, identity) and can_answer(stored, identity)):
        return origin
    tell(0.0, "asking the U-Net what it predicts")
    identity = asked(stored, identity)
    assert identity.spec is not None, "it had one before"
    return replace(origin, identity=identity, spec=replace(identity.spec, texts=origin.spec.texts))


def _doubts(origin: Origin, form: Form, target: Path) -> tuple[str, ...]:
    """What the user should know.  Raises: WeightsError if the target must say what nobody says"""
    if not is_doubtful(origin.stored, origin.identity):
        return ()
    unsaid = f"nothing in {origin.stored.name} says what its U-Net predicts, nor do its answers"
    hint = "`--prediction v` or `--prediction eps` settles it"
    if form != "ldm":
        raise WeightsError(f"{unsaid}, and {TITLES[form]} must say it", hint=hint)
    return (f"{unsaid}: {shown(target.name)} does not say it either; {hint}",)


def _unused(stored: Stored, identity: Identity, recipes: Plan) -> dict[str, str]:
    """The tensors of the source that no recipe takes, each with the reason."""
    used = {name for recipe in recipes.values() for name in recipe.sources}
    why = left_out(stored, identity)
    names = (name for name in stored.shapes if name not in used and not name.startswith(SEPARATE))
    return {name: why.get(name, AVERAGED) for name in names}


def _check_whole(origin: Origin, supply: Supply) -> None:
    """Refuse a model that lacks a tensor, or has one too many.  Raises: WeightsError"""
    name = origin.stored.name
    shapes = shapes_of(origin.recipes, name, {slot.name: slot.shape for slot in supply.slots.values()})
    try:
        compare(name, shapes, skeleton(name, origin.spec, (), {}, str))
    except WeightsError as error:
        problem, hint = origin.identity.obstacle or error.message, origin.identity.hint or error.hint
        raise WeightsError(f"{name} cannot be converted: {problem}", hint=hint) from error


def _drafted(origin: Origin, form: Form, target: Path, wishes: Wishes, spell: Spell) -> Draft:
    if form == "ours":
        return draft_ours(origin)
    if form == "ldm":
        return draft_single_file(origin, target.stem, prune=wishes.prune)
    components = components_of(origin, prune=wishes.prune)
    said = origin.metadata
    metadata = described(origin.spec, origin.family, target.name, said, decided=origin.decided)
    texts = folder_texts(origin, components, spell)
    metadata[SPEC] = json.dumps(origin.spec.to_json())
    return Draft(components.files, metadata, components.left_out, texts=texts)


def _all_left_out(origin: Origin, draft: Draft) -> dict[str, str]:
    """Tensors, and what the source's reader has dropped: it is neither tensor nor text."""
    left = {**draft.left_out, **dict.fromkeys(origin.stored.dropped, "no tensor of the model")}
    return left | ({ALPHAS: ODD_TABLE} if origin.odd_table and ALPHAS in left else {})
