"""A path, or nothing, to a model's parts."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

import torch

from fromnoise.errors import RequestError, StorageError, WeightsError, did_you_mean
from fromnoise.specs import Prediction
from fromnoise.weights.foreign import load_weights
from fromnoise.weights.native import Parts, load_native
from fromnoise.weights.wording import shown

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
PREDICTIONS: Final[tuple[str, ...]] = get_args(Prediction)


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
    prediction: Prediction | None = None,
    ema: bool = False,
    vae: str | os.PathLike[str] | None = None,
    variant: str | None = None,
    shelved: bool = False,
) -> Parts:
    """Load a model file or a diffusers folder; None or "embedded" is the model that comes with fromnoise.

    `prediction`: what the network says; wins over the file    `ema`: read the averages of the U-Net's weights
    `vae`: a file or folder whose autoencoder is to be used    `variant`: "fp16" …, of a folder
    `shelved`: on a CPU, large weights of others' models stay in their file and are read for each use
    Raises: StorageError if there is no such file, WeightsError if it holds no model that we can read,
            RequestError if it is not asked for in a way that makes sense
    """
    asked: dict[str, Any] = {"prediction": prediction, "ema": ema, "vae": vae, "variant": variant}
    asked = {name: value for name, value in asked.items() if value not in (None, False)}
    if prediction is not None and prediction not in PREDICTIONS:
        near = did_you_mean(str(prediction), PREDICTIONS)
        raise RequestError({"prediction": f"{prediction!r} is unknown; {near}"})
    if source is None or source == EMBEDDED:
        if asked:
            raise RequestError({min(asked): "the embedded model has no use for it"}, hint="name a model")
        return load_embedded(FOLDER, device=device, dtype=dtype)
    if not os.path.exists(source):  # unlike Path.exists, says no to impossible names
        problem = f"there is no model {shown(str(source))!r}"
        raise StorageError(problem, hint=f"give a file or a folder, or {EMBEDDED!r}")
    return load_weights(source, device=torch.device(device), dtype=dtype, shelved=shelved, **asked)


def model_file(source: str | os.PathLike[str] | None = None) -> Path:
    """The file or folder that `load_model` reads."""
    return FOLDER / MODEL_FILE if source in (None, EMBEDDED) else Path(source or "")


def load_embedded(folder: Path, *, device: str | torch.device, dtype: torch.dtype) -> Parts:
    """Load the shipped model after comparing it with its checksum.  Raises: WeightsError"""
    try:
        expected = (folder / CHECKSUM_FILE).read_text(encoding="ascii").split()[0]
        return load_native(folder / MODEL_FILE, device=device, dtype=dtype, sha256=expected)
    except (StorageError, WeightsError, OSError, ValueError, IndexError) as error:
        reason = error.message if isinstance(error, StorageError | WeightsError) else str(error)
        raise WeightsError(f"the embedded model cannot be used: {reason}", hint=REINSTALL) from error
