"""Where models are: our folder, and those of other programs, read in place and never written."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from re import fullmatch
from typing import Final, Literal

from platformdirs import user_data_path

from fromnoise.errors import RequestError, StorageError
from fromnoise.weights.digests import SHORT, Digests
from fromnoise.weights.folders import CONFIG, MODEL_INDEX
from fromnoise.weights.wording import shown

Role = Literal["model", "VAE", "LoRA", ""]  # what a folder is for; "" says nothing

SUFFIXES: Final = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")
A1111, COMFY, INVOKE, HUGGING_FACE = "AUTOMATIC1111", "ComfyUI", "InvokeAI", "Hugging Face"

Place = tuple[str, Role, str]  # whose, what for, and where in the program's folder
# Source: modules/paths_internal.py and sd_models.py (AUTOMATIC1111, Forge), folder_paths.py (ComfyUI),
# invokeai.yaml and the models manager (InvokeAI: a folder a family until 5, one with a UUID a model since 6).
PLACES: Final[Sequence[Place]] = (
    (A1111, "model", "models/Stable-diffusion"),
    (A1111, "VAE", "models/VAE"),
    (A1111, "LoRA", "models/Lora"),
    (A1111, "LoRA", "models/LyCORIS"),
    (COMFY, "model", "models/checkpoints"),
    (COMFY, "model", "models/diffusion_models"),
    (COMFY, "model", "models/unet"),
    (COMFY, "model", "models/diffusers"),
    (COMFY, "VAE", "models/vae"),
    (COMFY, "LoRA", "models/loras"),
    (INVOKE, "model", "models/*/main"),
    (INVOKE, "VAE", "models/*/vae"),
    (INVOKE, "LoRA", "models/*/lora"),
    (INVOKE, "model", "autoimport/main"),
    (INVOKE, "VAE", "autoimport/vae"),
    (INVOKE, "LoRA", "autoimport/lora"),
    (INVOKE, "", "models/????????-????-????-????-????????????"),
)
HUB, REPOSITORY = "hub", "models--*"  # Source: huggingface_hub's cache: models--ORG--NAME/snapshots/REVISION

FEWEST_DIGITS: Final = 6  # of a hash, to be taken for one
LISTED: Final = 6  # candidates in a message


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of weights, or a folder that holds a model."""

    name: str  # where it is inside its place, without the suffix; of Hugging Face: org/name
    path: Path
    program: str  # whose folder it is in; "" if it is nobody's
    role: Role

    @property
    def names(self) -> tuple[str, ...]:
        """What people may call it: the name, the last part of it, and both with the suffix."""
        last = self.name.rpartition("/")[2]
        return self.name, last, self.name + self.path.suffix, self.path.name

    def size(self) -> int:
        """Bytes that it takes.  Raises: OSError"""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())


def default_folders() -> tuple[Path, ...]:
    """Our own folder of models, and the cache of Hugging Face where it usually is."""
    return user_data_path("fromnoise") / "models", Path.home() / ".cache" / "huggingface"


# --- finding one ---


def find_model(
    name: str | os.PathLike[str], folders: Sequence[Path] | None = None, *, role: Role = "model"
) -> Path:
    """The file or folder that a path, a name, the beginning of one, or a hash stands for; a path goes first.

    Raises: StorageError if there is none, RequestError if there are several
    """
    if os.path.exists(name):  # unlike Path.exists, says no to impossible names
        return Path(name)
    word = os.fspath(name)
    entries = find_entries(default_folders() if folders is None else folders)
    entries = [entry for entry in entries if entry.role in ("", role)]
    if found := matching(word, entries):
        return one_of(word, found).path
    raise unknown(word, entries)


def matching(word: str, entries: Sequence[Entry]) -> list[Entry]:
    """The entries of this name, else of this hash, else those whose name begins so; case decides last."""
    low = word.lower()
    if found := [entry for entry in entries if low in map(str.lower, entry.names)]:
        return [entry for entry in found if word in entry.names] or found
    if fullmatch(rf"[0-9a-f]{{{FEWEST_DIGITS},64}}", low):
        digests = Digests()
        if found := [entry for entry in entries if digests.known(entry.path).startswith(low)]:
            return found
    return [entry for entry in entries if any(name.lower().startswith(low) for name in entry.names)]


def one_of(word: str, found: Sequence[Entry]) -> Entry:
    """The only one; several names of one file are one.  Raises: RequestError"""
    first, *others = found
    with suppress(OSError):
        others = [other for other in others if not os.path.samefile(first.path, other.path)]
    if not others:
        return first
    some = ", ".join(str(entry.path) for entry in found[:LISTED])
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    problem = f"{shown(word)!r} may be any of {len(found)}: {some}{more}"
    raise RequestError({"model": problem}, hint="write more of the name, or the path")


def unknown(word: str, entries: Sequence[Entry]) -> StorageError:
    """The error for a name that nothing goes by."""
    names = {name.lower(): name for entry in entries for name in entry.names}
    hint = "give a file or a folder; `fromnoise models` lists the names that are known"
    if near := get_close_matches(word.lower(), names, n=1):
        hint = f"did you mean {names[near[0]]!r}?"
    elif fullmatch(rf"[0-9a-f]{{{SHORT}}}", word.lower()):
        hint = "`fromnoise models --hash` computes the hashes of all models, to find them by"
    return StorageError(f"there is no model {shown(word)!r}", hint=hint)


# --- finding all ---


def find_entries(folders: Sequence[Path]) -> list[Entry]:
    """Everything in these folders that may be a model, by name; nothing is opened."""
    ours, seen = user_data_path("fromnoise") / "models", set[tuple[int, int]]()
    found = {entry.path: entry for folder in folders for entry in _inside(folder, ours, seen)}
    return sorted(found.values(), key=lambda entry: (entry.name.lower(), str(entry.path)))


def _inside(root: Path, ours: Path, seen: set[tuple[int, int]]) -> Iterator[Entry]:
    """What a program keeps where it keeps it; anything in a folder that is no program's."""
    for program, role, folder, prefix in _places(root, ours):
        for path in _walk(folder, seen):
            inside = path.relative_to(folder).as_posix()
            name = inside if path.is_dir() else inside.removesuffix(path.suffix)
            name = f"{prefix}/{name}" if prefix and inside != "." else prefix or name
            yield Entry(path.name if name == "." else name, path, program, role)


def _places(root: Path, ours: Path) -> Iterator[tuple[str, Role, Path, str]]:
    """Program, what its folder is for, the folder, and what goes before the names in it."""
    repositories = _children(root, REPOSITORY) + _children(root, f"{HUB}/{REPOSITORY}")
    for repository in repositories:
        if snapshot := _snapshot(repository):
            yield HUGGING_FACE, "", snapshot, "/".join(repository.name.split("--")[1:])
    programs = list(_known(root, PLACES))
    inside: list[Place] = [
        (program, role, pattern.removeprefix("models/")) for program, role, pattern in PLACES
    ]
    yield from programs or _known(root, inside)
    if not (programs or repositories):
        yield "fromnoise" if root == ours else "", "", root, ""


def _known(root: Path, places: Sequence[Place]) -> Iterator[tuple[str, Role, Path, str]]:
    for program, role, pattern in places:
        for folder in _children(root, pattern):
            yield program, role, folder, ""


def _children(root: Path, pattern: str) -> list[Path]:
    with suppress(OSError):
        return sorted(path for path in root.glob(pattern) if path.is_dir())
    return []


def _snapshot(repository: Path) -> Path | None:
    """The revision that is called main; without that word, the newest."""
    snapshots = repository / "snapshots"
    with suppress(OSError, ValueError):
        main = (repository / "refs" / "main").read_text(encoding="ascii").strip()
        if fullmatch(r"\w+", main) and (snapshots / main).is_dir():
            return snapshots / main
    return max(_children(snapshots, "*"), key=lambda folder: folder.stat().st_mtime, default=None)


def _walk(top: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Files of weights, and folders that are models; links are followed, no folder is entered twice."""
    for name, inner, files in os.walk(top, followlinks=True):
        folder = Path(name)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            inner.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        weights = [file for file in sorted(files) if file.lower().endswith(SUFFIXES)]
        if MODEL_INDEX in files or (CONFIG in files and weights):
            yield folder
            inner.clear()
            continue
        inner[:] = sorted(each for each in inner if not each.startswith("."))
        yield from (folder / file for file in weights)
