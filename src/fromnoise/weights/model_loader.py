"""A path, a name or nothing, to a model's parts."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

from fromnoise.errors import RequestError, StorageError, WeightsError, did_you_mean
from fromnoise.weights.native import Parts, load_native

EMBEDDED: Final = "embedded"
FOLDER: Final = Path(__file__).parent / EMBEDDED
MODEL_FILE, CHECKSUM_FILE = "model.safetensors", "model.sha256"
REINSTALL: Final = "install fromnoise again"

AUTO: Final = "auto"
DTYPES: Final[Mapping[str, torch.dtype]] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def find_device(name: str) -> torch.device:
    """The device of this name; "auto" is a GPU if there is one.  Raises: RequestError if it cannot be used"""
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that CUDA was compiled in
        reason = str(error).splitlines()[0]
        raise RequestError({"device": f"{name!r} cannot be used: {reason}"}, hint="try cpu") from error


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type of this name; "auto" is float32 on a CPU, float16 elsewhere.  Raises: RequestError"""
    if name == AUTO:
        return torch.float32 if device.type == "cpu" else torch.float16
    if name not in DTYPES:
        raise RequestError({"dtype": f"{name!r} is unknown; {did_you_mean(name, (AUTO, *DTYPES))}"})
    return DTYPES[name]


def load_model(
    source: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Parts:
    """Load a model file; None or "embedded" is the model that comes with fromnoise.

    Raises: StorageError if there is no such file, WeightsError if it holds no model that we can read
    """
    if source is None or source == EMBEDDED:
        return load_embedded(FOLDER, device=device, dtype=dtype)
    path = Path(source)
    if not path.exists():
        raise StorageError(f"there is no model {str(source)!r}", hint=f"give a file, or {EMBEDDED!r}")
    if path.is_dir() or path.suffix != ".safetensors":
        problem = f"{path.name} is not a single .safetensors file"
        raise WeightsError(problem, hint="only models saved by fromnoise can be loaded")
    return load_native(path, device=device, dtype=dtype)


def load_embedded(folder: Path, *, device: str | torch.device, dtype: torch.dtype) -> Parts:
    """Load the shipped model after comparing it with its checksum.  Raises: WeightsError"""
    try:
        expected = (folder / CHECKSUM_FILE).read_text(encoding="ascii").split()[0]
        return load_native(folder / MODEL_FILE, device=device, dtype=dtype, sha256=expected)
    except (StorageError, WeightsError, OSError, ValueError, IndexError) as error:
        reason = error.message if isinstance(error, StorageError | WeightsError) else str(error)
        raise WeightsError(f"the embedded model cannot be used: {reason}", hint=REINSTALL) from error
