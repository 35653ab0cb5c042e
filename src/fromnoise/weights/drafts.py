"""What a converted model will consist of: which tensors, from where, under which names, and what is said."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from torch import Tensor

from fromnoise.errors import FromNoiseError, WeightsError
from fromnoise.specs import ModelSpec
from fromnoise.weights.families import family_of
from fromnoise.weights.identity import DIFFUSERS, LDM, OURS, Identity
from fromnoise.weights.key_rules import DIFFUSERS_VAE
from fromnoise.weights.layouts import (
    DIFFUSERS_TEXTS,
    LAYOUTS,
    checkpoint_rules,
    ema_name,
    folder_rules,
    folder_spec,
)
from fromnoise.weights.model_converter import Plan, Recipe, compose, flipped, plan
from fromnoise.weights.modelspec import (
    EDM_HIGH,
    EDM_LOW,
    EDM_MEAN,
    EDM_STD,
    SPEC,
    V_PRED,
    ZTSNR,
    alphas_of,
    described,
    is_usual,
    markers,
)
from fromnoise.weights.native import FORMAT, HEADER, read_header
from fromnoise.weights.state_dicts import LONGEST_FACT, LONGEST_FACT_NAME, STATE_DICT
from fromnoise.weights.stored import Stored
from fromnoise.weights.tokenizers import ADDED, read_tokenizers
from fromnoise.weights.witnesses import ALPHAS

ABOUT: Final = "fromnoise.about"  # in other programs' files: what ours said beside
BESIDE: Final = "fromnoise.safetensors"  # in a folder: what diffusers has no place for
CONTRADICTED: Final = "a marker of how the model was trained, which it was not"
AVERAGED: Final = "asked for: --ema; their running averages took their place"
EXCHANGED: Final = "asked for: --vae; that autoencoder took its place"
UNASKED: Final = "asked for: --prune"
NO_PLACE: Final = "no place for it in this format"


@dataclass(frozen=True, slots=True)
class Origin:
    """An opened model, and how its tensors become ours."""

    stored: Stored
    identity: Identity
    spec: ModelSpec
    recipes: Plan  # ours -> from a supply
    rest: Mapping[str, str]  # what is in no network, and why
    averaged: bool = False  # the U-Net's running averages take its place
    own_vae: bool = True  # it is not another file's

    @property
    def family(self) -> str:
        """Ours do not say it: their structure does."""
        return self.identity.family or family_of(self.spec.unet)

    @property
    def decided(self) -> bool:
        """Whether somebody says what it predicts, or its own answers do."""
        return "prediction" not in self.identity.undecided

    @property
    def odd_table(self) -> bool:
        """Whether the file has a table of noise levels that is in no list of ours."""
        return ALPHAS in self.stored.shapes and "schedule" in self.identity.undecided

    @property
    def tokenizers(self) -> list[dict[str, Any]]:
        """One for each text encoder.  Raises: StorageError, WeightsError"""
        if self.identity.layout == OURS:
            return read_header(self.stored.name, self.stored.metadata)["tokenizers"]
        return list(read_tokenizers(self.stored, self.spec))

    @property
    def metadata(self) -> dict[str, str]:
        """What the source says of itself, in any format's words."""
        said = dict(self.stored.metadata)
        if self.identity.layout == OURS:
            about = read_header(self.stored.name, said)["about"]
            said[ABOUT] = json.dumps(about, ensure_ascii=False, sort_keys=True)
        return said


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be written."""

    files: Mapping[str, Plan]  # by path in the folder; "" is the one file that there is
    metadata: Mapping[str, str]
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    added: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    texts: Mapping[str, str] = field(default_factory=dict[str, str])  # small files, by path


def with_metadata_for(draft: Draft, *, ckpt: bool) -> Draft:
    """The draft without the metadata that its file would not give back: left out, with the reason."""
    odd = {name: why for name, text in draft.metadata.items() if (why := _unkept(name, text, ckpt))}
    kept = {name: text for name, text in draft.metadata.items() if name not in odd}
    return replace(draft, metadata=kept, left_out={**draft.left_out, **odd})


def _unkept(name: str, text: str, ckpt: bool) -> str:
    """Why this text cannot go along, if it cannot."""
    try:
        (name + text).encode()
    except UnicodeEncodeError:
        return "no text that can be written"
    if not ckpt:
        return ""
    if name == STATE_DICT:
        return "in a .ckpt the tensors are called so"
    fits = len(name) <= LONGEST_FACT_NAME and len(text) <= LONGEST_FACT
    return "" if fits else f"a text of over {LONGEST_FACT:,} letters, too long for a .ckpt"


# --- our own format ---


def draft_ours(origin: Origin) -> Draft:
    """One file for fromnoise.  Raises: StorageError, WeightsError for a damaged tokenizer"""
    said = origin.metadata
    about = _about(said.pop(ABOUT, ""))
    header = {
        "format": FORMAT,
        "spec": origin.spec.to_json(),
        "tokenizers": origin.tokenizers,
        "about": about or {"file": origin.stored.name, "family": origin.family},
    }
    metadata = {HEADER: json.dumps(header, ensure_ascii=False, sort_keys=True)}
    kept = described(origin.spec, origin.family, origin.stored.path.stem, said, decided=origin.decided)
    return Draft({"": origin.recipes}, kept | metadata, origin.rest)


def _about(text: str) -> dict[str, Any]:
    """What `ABOUT` says; nothing if somebody has damaged it."""
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return {}


# --- one file for other programs ---


def draft_single_file(origin: Origin, title: str, *, prune: bool) -> Draft:
    """One file as CompVis and Stability AI laid it out; what else is in such a file stays, unless pruned.

    Raises: WeightsError if the model is of no family that there are such files of
    """
    spec, identity, names = origin.spec, origin.identity, origin.recipes
    layout = identity.layout.removeprefix(LDM) if identity.layout.startswith(LDM) else origin.family
    if layout not in LAYOUTS or spec.vae.patch != 1 or len(spec.texts) != len(LAYOUTS[layout]):
        problem = f"{origin.stored.name} is of no family that other programs have single files of"
        raise WeightsError(problem, hint="convert to our format: --to ours")
    back = plan(names, flipped(checkpoint_rules(spec.vae, layout)), source=origin.stored.name)
    recipes = compose(names, back)
    left_out = dict(origin.rest)
    if any(text.vocab > text.end + 1 for text in spec.texts):
        left_out[ADDED] = NO_PLACE
    if identity.layout.startswith(LDM):
        left_out = _unwanted(origin, prune)
        recipes |= {name: Recipe((name,)) for name in origin.rest if name not in left_out | recipes}
    marked = {name: mark for name, mark in marks_of(spec, origin.family).items() if name not in recipes}
    recipes |= {name: Recipe((name,)) for name in marked}
    said = described(spec, origin.family, title, origin.metadata, decided=origin.decided)
    return Draft({"": recipes}, said, left_out, added=marked)


def marks_of(spec: ModelSpec, family: str) -> dict[str, Tensor]:
    """The tensors by which a single file says how its model was trained."""
    alphas = None if is_usual(spec.schedule) else alphas_of(spec.schedule)
    return markers(spec, family) | ({} if alphas is None else {ALPHAS: alphas})


def _unwanted(origin: Origin, prune: bool) -> dict[str, str]:
    """What does not go along, though there would be a place for it."""
    schedule, unwanted = origin.spec.schedule, dict[str, str]()
    is_so = {V_PRED: origin.spec.prediction == "v", ZTSNR: schedule.zero_terminal}
    is_so |= dict.fromkeys((EDM_MEAN, EDM_STD, EDM_LOW, EDM_HIGH), schedule.kind == "edm")
    if origin.odd_table or not is_usual(schedule):
        is_so[ALPHAS] = True
    average = ema_name("")
    for name, why in origin.rest.items():
        if name in is_so and not is_so[name]:
            unwanted[name] = CONTRADICTED
        elif why in (AVERAGED, EXCHANGED) or (origin.averaged and name.startswith(average)):
            unwanted[name] = why
        elif prune and name not in is_so:
            unwanted[name] = f"{why}; {UNASKED}"
    return unwanted


# --- a diffusers folder: its tensors; folder_texts.py has what its JSON says ---


@dataclass(frozen=True, slots=True)
class Components:
    """How a model is taken apart for a folder."""

    spec: ModelSpec  # as the folder holds it
    texts: tuple[str, ...]  # the folders of its text encoders
    files: Mapping[str, Plan]
    left_out: Mapping[str, str]


def components_of(origin: Origin, *, prune: bool = False) -> Components:
    """The files of a folder; what else lies in one stays, unless pruned.

    Raises: WeightsError if a tensor has no place
    """
    spec, cut = origin.spec, folder_spec(origin.spec)
    texts = DIFFUSERS_TEXTS[1:] if origin.family == "refiner" else DIFFUSERS_TEXTS[: len(spec.texts)]
    beside = {name for name in origin.recipes if _is_beyond(name, spec, cut)}
    inside = [name for name in origin.recipes if name not in beside]
    back = plan(inside, flipped(folder_rules(cut, texts)), source=origin.stored.name)
    recipes = compose(origin.recipes, back)
    extra = {name for name, why in origin.rest.items() if why != EXCHANGED and _is_in(name, texts)}
    extra = extra if origin.identity.layout == DIFFUSERS else set[str]()
    left_out = {name: why for name, why in origin.rest.items() if name not in extra}
    if prune:
        left_out |= {name: f"{origin.rest[name]}; {UNASKED}" for name in extra}
    else:
        recipes |= {name: Recipe((name,)) for name in extra - recipes.keys()}
    files = dict[str, dict[str, Recipe]]()
    for name, recipe in recipes.items():
        component, _, inner = name.partition(".")
        files.setdefault(weights_path(component), {})[inner] = recipe
    if beside:
        files[BESIDE] = {name: origin.recipes[name] for name in origin.recipes if name in beside}
    return Components(cut, texts, files, left_out)


def weights_path(component: str) -> str:
    """Where a folder keeps a component's tensors."""
    stem = "model" if component.startswith("text_encoder") else "diffusion_pytorch_model"
    return f"{component}/{stem}.safetensors"


def _is_in(name: str, texts: Collection[str]) -> bool:
    return name.partition(".")[0] in ("unet", DIFFUSERS_VAE, *texts)


def _is_beyond(name: str, whole: ModelSpec, cut: ModelSpec) -> bool:
    """Is it part of a text encoder that a folder leaves out?"""
    room, _, rest = name.partition(".")
    if room != "texts":
        return False
    place, part, number = [*rest.split("."), ""][:3]
    text, kept = whole.texts[int(place)], cut.texts[int(place)]
    if part == "layers":
        return int(number) >= kept.layers
    return part == "project" and text.projection is not None and kept.projection is None


def completed(origin: Origin, found: Stored, prefix: str) -> Origin:
    """The origin with what a folder keeps beside itself, which `components_of` had put there.

    Whoever changed the text encoder's structure since has changed what belongs to it: then it stays out.
    """
    try:
        texts = ModelSpec.from_json(json.loads(found.metadata[SPEC])).texts
    except (FromNoiseError, KeyError, ValueError):
        return origin
    whole = replace(origin.spec, texts=texts)
    if folder_spec(whole).texts != origin.spec.texts:
        return origin
    more = {name: Recipe((prefix + name,)) for name in found.shapes}
    return replace(origin, spec=whole, recipes=origin.recipes | more)
