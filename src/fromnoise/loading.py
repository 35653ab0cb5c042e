"""The first thing a program calls: a file, a folder or a name becomes a pipeline."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from fromnoise.engine.precision import native_dtype
from fromnoise.errors import RequestError, did_you_mean
from fromnoise.pipeline import ENGINES, Pipeline
from fromnoise.specs import Prediction
from fromnoise.weights.library import find_model
from fromnoise.weights.model_loader import AUTO, EMBEDDED, find_device, find_dtype, load_model


def load(
    path_or_name: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    engine: str = "auto",
    *,
    prediction: Prediction | None = None,
    ema: bool = False,
    vae: str | os.PathLike[str] | None = None,
    variant: str | None = None,
    folders: Sequence[Path] | None = None,
) -> Pipeline:
    """Make a pipeline from a model: a file, a folder, or what `fromnoise models` calls it; None is our own.

    `prediction`: what the network says, where its file is silent or wrong
    `ema`: take the running averages of the U-Net's weights, if the file holds them
    `vae`: take the autoencoder from another file or folder; `variant`: such as "fp16", of a diffusers folder
    `folders`: where names are looked up; else our models' folder, and Hugging Face's usual cache
    Units:  dtype "auto" is what the device calculates with best: on a CPU bfloat16 or float32, on a GPU
            float16; our own small model's is float32 on a CPU. device "auto" is a GPU if there is one
            engine "auto" makes the networks fast where we know how, "plain" leaves them as they are
    Raises: RequestError, StorageError, WeightsError
    """
    began = perf_counter()
    if engine not in ENGINES:
        raise RequestError({"engine": f"{engine!r} is unknown; {did_you_mean(engine, ENGINES)}"})
    place = find_device(device)
    is_ours = path_or_name in (None, EMBEDDED)
    source = path_or_name if is_ours else find_model(path_or_name, folders)
    parts = load_model(
        source,
        device=place,
        dtype=native_dtype(place) if dtype == AUTO and not is_ours else find_dtype(dtype, place),
        prediction=prediction,
        ema=ema,
        vae=None if vae is None else find_model(vae, folders, role="VAE"),
        variant=variant,
    )
    pipeline = Pipeline.of(parts, engine)
    pipeline.wardrobe.folders = folders
    return replace(pipeline, load_seconds=perf_counter() - began)
