"""Everything in a diffusers folder but the tensors: its parts, how to build them, how texts are read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fromnoise.errors import StorageError
from fromnoise.weights.drafts import Components, Origin
from fromnoise.weights.folder_configs import SIZES, model_index, text_config, unet_config, vae_config
from fromnoise.weights.folder_facts import folder_words
from fromnoise.weights.folders import CONFIG, MODEL_INDEX, SCHEDULER, contained
from fromnoise.weights.identity import DIFFUSERS
from fromnoise.weights.schedule_configs import PREDICTIONS, scheduler_config
from fromnoise.weights.tokenizer_files import FILES, Spell, as_json, tokenizer_files

SCHEDULER_FILE: Final = f"{SCHEDULER}/scheduler_config.json"
PREDICTION, ZERO_TERMINAL = "prediction_type", "rescale_betas_zero_snr"
TYPES: Final = ("torch_dtype", "dtype")  # transformers loads as these say: in which type the tensors *were*
NOT_CARRIED: Final = (None, None)

Config = Mapping[str, Any]
NewConfig = dict[str, Any]


def folder_texts(origin: Origin, components: Components, spell: Spell) -> dict[str, str]:
    """The small files by their paths. A folder keeps its own words; for others they are found.

    Raises: WeightsError if diffusers has no words for the model; StorageError
    """
    found = origin.identity.layout == DIFFUSERS
    said: Mapping[str, Config] = origin.stored.configs if found else {}
    configs = dict(_networks(origin, components, said))
    scheduler = _scheduler(origin, said.get(SCHEDULER))
    return {
        MODEL_INDEX: as_json(_index(origin, components, said.get("model_index"), scheduler)),
        SCHEDULER_FILE: as_json(scheduler),
        **{f"{name}/{CONFIG}": as_json(config) for name, config in configs.items()},
        **_tokenizers(origin, components, spell),
    }


def _networks(origin: Origin, components: Components, said: Mapping[str, Config]) -> Mapping[str, Config]:
    """The configuration of each network."""
    spec, family = components.spec, origin.family
    pixels = spec.defaults.width
    configs: dict[str, Config] = {
        name: said[name] for name in ("unet", "vae", *components.texts) if name in said
    }
    if "unet" not in configs:
        configs["unet"] = unet_config(spec.unet, spec.texts, family, pixels // spec.vae.factor)
    if "vae" not in configs or not origin.own_vae:
        configs["vae"] = vae_config(spec.vae, family, pixels)
    for name, text in zip(components.texts, spec.texts, strict=True):
        configs.setdefault(name, text_config(text))
    return {name: _without(config, TYPES) for name, config in configs.items()}


def _scheduler(origin: Origin, said: Config | None) -> NewConfig:
    """A folder keeps its own, unless the model is now to be drawn with a scheduler of another kind."""
    spec = origin.spec
    word = next(folder_words({SCHEDULER: said}), None) if said else None
    if not said or not word or (word.schedule and word.schedule.kind != spec.schedule.kind):
        return scheduler_config(spec, euler=origin.family in SIZES)
    kept = dict(said)
    if origin.decided and word.prediction != spec.prediction:
        kept[PREDICTION] = PREDICTIONS[spec.prediction]
    if bool(word.zero_terminal) != spec.schedule.zero_terminal:
        kept[ZERO_TERMINAL] = spec.schedule.zero_terminal
    return kept


def _index(origin: Origin, components: Components, said: Config | None, scheduler: Config) -> NewConfig:
    if said is None:
        texts = dict(zip(components.texts, components.spec.texts, strict=True))
        return model_index(components.spec, origin.family, texts)
    there = {"unet", "vae", *components.texts, *map(_tokenizer, components.texts)}
    index: NewConfig = {
        name: list(NOT_CARRIED) if isinstance(value, list) and name not in there else value
        for name, value in said.items()
    }
    index[SCHEDULER] = ["diffusers", scheduler["_class_name"]]
    return index | ({"requires_safety_checker": False} if "safety_checker" in index else {})


def _tokenizers(origin: Origin, components: Components, spell: Spell) -> dict[str, str]:
    """Those that lie in the source folder as they are; for others, what says the same."""
    files = dict[str, str]()
    for place, (name, text) in enumerate(zip(components.texts, components.spec.texts, strict=True)):
        folder = _tokenizer(name)
        found = _read(origin.stored.path, folder) if origin.identity.layout == DIFFUSERS else {}
        found = found or tokenizer_files(origin.tokenizers[place], text, spell)
        files |= {f"{folder}/{file}": content for file, content in found.items()}
    return files


def _tokenizer(text: str) -> str:
    """Where a folder keeps the tokenizer of a text encoder."""
    return text.replace("text_encoder", "tokenizer")


def _read(root: Path, folder: str) -> dict[str, str]:
    try:
        paths = [root / folder / file for file in FILES if (root / folder / file).is_file()]
        return {path.name: contained(root, path).read_text(encoding="utf-8") for path in paths}
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read {folder} of {root.name}: {error}") from error


def _without(config: Config, names: tuple[str, ...]) -> NewConfig:
    return {name: value for name, value in config.items() if name not in names}
