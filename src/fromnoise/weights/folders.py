"""diffusers folders: which files hold the tensors, and what the JSON beside them says. None of it is run.

What is read lies in the folder, or in the store of the Hugging Face cache that the folder is part of (its
`snapshots` are links to its `blobs`). An index may name nothing but files beside it.
"""

import json
import os
import re
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from fromnoise.errors import StorageError, WeightsError
from fromnoise.specs import LARGEST_NUMBER, MOST_LAYERS
from fromnoise.weights.containers import AGAIN, open_file
from fromnoise.weights.wording import shown

MODEL_INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler"
COMPONENTS: Final = ("unet", "vae", "text_encoder", "text_encoder_2", "text_encoder_3", "transformer")
ALONE: Final = "config"  # the key of a lone component's configuration

LARGEST_CONFIG: Final = 1 << 20  # bytes
LARGEST_INDEX: Final = 16 << 20
MOST_SHARDS: Final = 1_000
MOST_FILES: Final = 10_000  # that are looked at in a folder

STEM: Final = "(?:diffusion_pytorch_model|pytorch_model|model)"
KIND: Final = "(?P<kind>safetensors|bin)"
WEIGHTS: Final = re.compile(rf"{STEM}(?:\.(?P<variant>(?!.*-of-)[\w-]+))?\.{KIND}")
# where the variant stands has changed over the years
INDEX: Final = re.compile(
    rf"{STEM}(?:\.(?P<first>[\w-]+))?\.{KIND}(?:\.(?P<second>[\w-]+))?\.index(?:\.(?P<third>[\w-]+))?\.json"
)


@dataclass(frozen=True, slots=True)
class Part:
    """The files of one network; `promised` says in which of them an index expects each tensor."""

    component: str  # "" if it is alone
    variant: str  # "" is the plain one
    variants: tuple[str, ...]  # that there are
    files: tuple[Path, ...]
    promised: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder says of itself, before any file of tensors is opened."""

    parts: tuple[Part, ...]
    configs: Mapping[str, Mapping[str, Any]]
    left_out: tuple[str, ...]  # components with weights that no model here uses


def look_into(root: Path, variant: str | None) -> Folder:
    """Find the parts of a pipeline's folder, or of a lone component's.

    Raises: StorageError; WeightsError if it is neither, if something is missing, or if the choice is open
    """
    names = _listed(root)
    if MODEL_INDEX in names:
        return _pipeline(root, names, variant)
    if CONFIG in names:
        part = _part(root, root, "", variant)
        _require(variant, (part,))
        return Folder((part,), {ALONE: read_json(root, root / CONFIG)}, ())
    raise WeightsError(f"there is no {MODEL_INDEX} or {CONFIG} in this folder", hint=_instead(names))


def _instead(names: Collection[str]) -> str:
    """What somebody may have meant who gave a folder that is no model."""
    if "snapshots" in names:
        return "it is a folder of the Hugging Face cache: give the one inside snapshots/"
    if files := sorted(name for name in names if name.endswith((".safetensors", ".ckpt"))):
        return f"give a file in it, such as {shown(files[0])}"
    return "give a file of weights, or the folder of a diffusers model"


def _pipeline(root: Path, names: Collection[str], variant: str | None) -> Folder:
    index = read_json(root, root / MODEL_INDEX)
    listed = [name for name, about in index.items() if _is_there(about)]
    configs = {"model_index": index}
    parts = list[Part]()
    for component in (name for name in COMPONENTS if name in listed):
        with within(component):
            if component not in names:
                raise WeightsError(f"missing, though {MODEL_INDEX} lists it", hint=AGAIN)
            parts.append(_part(root, root / component, component, variant))
            configs[component] = read_json(root, root / component / CONFIG)
    if not parts:
        raise WeightsError(f"{MODEL_INDEX} lists none of {', '.join(COMPONENTS)}")
    _require(variant, parts)
    if SCHEDULER in names:
        with within(SCHEDULER):
            configs[SCHEDULER] = read_json(root, root / SCHEDULER / "scheduler_config.json", check=False)
    others = [name for name in listed if name in names and name not in COMPONENTS]
    return Folder(tuple(parts), configs, tuple(name for name in others if _has_weights(root / name)))


def _is_there(about: Any) -> bool:
    """Whether a line of the index names a component: [library, class]; where there is none, they are null."""
    return isinstance(about, list) and all(isinstance(word, str) for word in cast(list[Any], about))


def _has_weights(folder: Path) -> bool:
    return folder.is_dir() and any(
        WEIGHTS.fullmatch(name) or INDEX.fullmatch(name) for name in _listed(folder)
    )


@contextmanager
def within(place: str) -> Generator[None]:
    """Errors say where."""
    try:
        yield
    except (WeightsError, StorageError) as error:
        raise type(error)(f"{place}: {error.message}", hint=error.hint) from error


# --- one network ---


def _part(root: Path, folder: Path, component: str, variant: str | None) -> Part:
    names = _listed(folder)
    found = _variants(names)
    chosen = _choice(found, variant)
    name = found[chosen]
    if WEIGHTS.fullmatch(name):
        return Part(component, chosen, tuple(found), (contained(root, folder / name),))
    promised = _weight_map(root, folder / name)
    if lost := sorted(set(promised.values()) - set(names)):
        problem = f"lacks {len(lost)} of {len(set(promised.values()))} shards, first: {shown(lost[0])}"
        raise WeightsError(problem, hint=AGAIN)
    files = tuple(contained(root, folder / shard) for shard in sorted(set(promised.values())))
    return Part(component, chosen, tuple(found), files, promised)


def _variants(names: Collection[str]) -> dict[str, str]:
    """The best file or index of each variant: safetensors before pickles, an index before a file."""
    ranked = dict[str, list[tuple[bool, bool, str]]]()
    for name in names:
        if match := INDEX.fullmatch(name):
            variant = match["first"] or match["second"] or match["third"] or ""
        elif match := WEIGHTS.fullmatch(name):
            variant = match["variant"] or ""
        else:
            continue
        rank = (match["kind"] != "safetensors", not name.endswith(".json"), name)
        ranked.setdefault(variant, []).append(rank)
    return {variant: min(choices)[-1] for variant, choices in sorted(ranked.items())}


def _choice(found: Collection[str], variant: str | None) -> str:
    """The variant that was asked for, or the plain one, or the only one."""
    if not found:
        raise WeightsError("there are no weights that are read", hint="a .safetensors or .bin file is needed")
    for wanted in (variant, ""):
        if wanted is not None and wanted in found:
            return wanted
    if len(found) == 1:
        return next(iter(found))
    there = ", ".join(map(shown, found))
    raise WeightsError(f"there are several variants: {there}", hint="choose one with --variant")


def _require(variant: str | None, parts: Collection[Part]) -> None:
    """Of a variant that is asked for there must be at least one network."""
    if variant and all(part.variant != variant for part in parts):
        there = {shown(each) for part in parts for each in part.variants if each}
        others = f"there is {', '.join(sorted(there))}" if there else "there are no others"
        raise WeightsError(f"there is no variant {shown(variant)!r}; {others}")


def _weight_map(root: Path, path: Path) -> dict[str, str]:
    """Which tensor is in which shard, by an index."""
    with within(path.name):
        table: Any = read_json(root, path, LARGEST_INDEX, check=False).get("weight_map")
        if not isinstance(table, dict) or not table:
            raise WeightsError("names no shards", hint=AGAIN)
        shards = cast(dict[str, Any], table).values()
        if odd := [shard for shard in shards if not _is_plain(shard)]:
            raise WeightsError(f"names {shown(str(odd[0]))!r} as a shard, which is no file beside it")
        if len(set(shards)) > MOST_SHARDS:
            raise WeightsError(f"names {len(set(shards)):,} shards, more than {MOST_SHARDS:,}")
        return cast(dict[str, str], table)


def _is_plain(name: Any) -> bool:
    """Whether it is the name of a file, not a path."""
    return isinstance(name, str) and re.fullmatch(r"[\w.+-]+", name) is not None and name.strip(".") != ""


# --- files in it ---


def contained(root: Path, path: Path) -> Path:
    """The path, if what is there lies in the folder or in its cache's blobs.  Raises: WeightsError"""
    try:
        base, real = root.resolve(), path.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise WeightsError(f"{shown(path.name)} is a link that leads nowhere") from error
    stores = [above.parent / "blobs" for above in base.parents if above.name == "snapshots"]
    if not any(real.is_relative_to(home) for home in (base, *stores)):
        problem = f"{shown(path.name)} is a link that leads out of the folder"
        raise WeightsError(problem, hint="put the file itself there")
    return path


def read_json(root: Path, path: Path, largest: int = LARGEST_CONFIG, *, check: bool = True) -> dict[str, Any]:
    """A JSON object; with `check`, its numbers must be such as a network can have.

    Raises: StorageError; WeightsError if it is damaged, too large or out of proportion
    """
    file, size = open_file(contained(root, path))
    name = shown(path.name)
    with file:
        if size > largest:
            raise WeightsError(f"{name} is {size:,} bytes long, more than the {largest:,} that are read")
        try:
            data: Any = json.loads(
                file.read(largest + 1).decode("utf-8-sig")
            )  # or Python guesses the encoding
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"{name} is not JSON, or is damaged", hint=AGAIN) from error
        except OSError as error:
            raise StorageError(f"cannot read {name}: {error.strerror}") from error
    if not isinstance(data, dict):
        raise WeightsError(f"{name} is not a JSON object", hint=AGAIN)
    if check and (odd := next(_oddities("", data), None)):
        raise WeightsError(f"{name} says {shown(odd)}, which no network has")
    return cast(dict[str, Any], data)


def _oddities(key: str, value: Any) -> Iterator[str]:
    """Numbers that no network has."""
    if isinstance(value, dict):
        for name, inner in cast(dict[str, Any], value).items():
            yield from _oddities(name, inner)
    elif isinstance(value, list):
        for inner in cast(list[Any], value):
            yield from _oddities(key, inner)
    elif isinstance(value, int | float):
        largest = MOST_LAYERS if "layers" in key else LARGEST_NUMBER
        if not abs(value) <= largest:  # NaN is not
            yield f"{key} = {value}"


def _listed(folder: Path) -> frozenset[str]:
    """The names in a folder.  Raises: StorageError; WeightsError if there are too many"""
    try:
        with os.scandir(folder) as entries:
            names = frozenset(entry.name for _, entry in zip(range(MOST_FILES), entries, strict=False))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no folder can have that name"
        raise StorageError(f"cannot read {shown(folder.name)}: {reason}") from error
    if len(names) == MOST_FILES:
        raise WeightsError(f"{shown(folder.name)} has {MOST_FILES:,} files or more in it")
    return names
