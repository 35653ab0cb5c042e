"""The first thing a program calls: a file, a folder or a name becomes a pipeline."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from fromnoise.checks import MAX_PICTURES, optional, whole
from fromnoise.drawing.beside import VAE
from fromnoise.engine.packing import can_pack
from fromnoise.engine.placing import CARDS, check, placed
from fromnoise.engine.plan import memory_of
from fromnoise.engine.precision import native_dtype, painting_dtype
from fromnoise.engine.transforms import INT8, check_int8
from fromnoise.errors import RequestError
from fromnoise.pipeline import Pipeline
from fromnoise.specs import Prediction
from fromnoise.weights.catalogue import find_model
from fromnoise.weights.digests import digest_of
from fromnoise.weights.model_loader import AUTO, EMBEDDED, find_device, find_dtype, load_model, model_file
from fromnoise.weights.stored import open_weights


def load(
    path_or_name: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    engine: str = "auto",
    *,
    offload: str = "auto",
    memory: str | int = "auto",
    batch: int | None = None,
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
    `batch`: how many pictures to draw at a time. A card takes what fits. A CPU takes one, so that its bytes
             depend on its own seed alone; several of a small model are done sooner, and differ in last bits
             (with engine "int8" in more: they share the range that bytes have to cover)
    Units:  dtype "auto" is what the device calculates with best: on a CPU bfloat16 or float32, on a GPU
            bfloat16 or float16; our own small model's is float32 on a CPU, float16 elsewhere. Beside a U-Net
            in float16, others' autoencoders are float32. device "auto" is a GPU if there is one
            engine "auto" makes the networks fast where we know how, "plain" leaves them as they are;
            "compiled" (CUDA) has torch's compiler make them anew: minutes at first
            "int8" (CPU) calculates large products with bytes, sooner; it changes the picture a little
            memory (CPU): "auto" is what is free, "low" as little as can be, "4GB" or bytes no more than that:
            where it is short, texts are read one at a time, and weights made ready at each use
            offload (CUDA): "none" keeps everything on the card, "model" the network at work, "blocks" of the
            U-Net only two blocks; "auto" looks at the free memory
    Raises: RequestError, StorageError, WeightsError
    """
    began = perf_counter()
    place = find_device(device)
    check(place, engine, offload)
    budget, at_once = memory_of(memory), _batch(batch)
    if budget != AUTO and place.type != "cpu":
        hint = "take offload" if place.type == CARDS else "leave it out"
        raise RequestError({"memory": f"it is planned on a CPU, not on {place.type}"}, hint=hint)
    is_ours = path_or_name in (None, EMBEDDED)
    number = native_dtype(place) if dtype == AUTO and not is_ours else find_dtype(dtype, place)
    if engine == INT8:
        check_int8(place, number)
    source = path_or_name if is_ours else find_model(path_or_name, folders)
    separate = None if vae is None else find_model(vae, folders, role="VAE")
    parts = load_model(
        source,
        device="cpu" if place.type == CARDS else place,  # until it is known what fits
        shelved=engine in (AUTO, INT8) and place.type == "cpu" and can_pack(number),
        dtype=number,
        prediction=prediction,
        ema=ema,
        vae=separate,
        variant=variant,
    )
    if place.type != "cpu" and not is_ours:
        for network in (parts.encoder, parts.decoder):
            network.to(painting_dtype(next(network.parameters()).dtype))
    placing = placed(dict(parts.modules()), parts.spec, place, engine, offload)
    pipeline = Pipeline.of(parts, engine, placing)
    pipeline.wardrobe.folders = folders
    pipeline.wardrobe.model = model_file(source)
    asked = {"prediction": prediction, "ema": ema, "variant": variant, "dtype": dtype, "engine": engine}
    return replace(
        pipeline,
        loaded={name: value for name, value in asked.items() if value not in (AUTO, None, False)},
        files={} if separate is None else {VAE: _digest_of(separate)},
        memory=budget,
        batch=at_once or pipeline.batch,
        load_seconds=perf_counter() - began,
    )


def _batch(asked: int | None) -> int | None:
    """Checked.  Raises: RequestError"""
    try:
        return optional(whole(1, MAX_PICTURES))(asked)
    except ValueError as problem:
        raise RequestError({"batch": str(problem)}) from problem


def _digest_of(path: Path) -> Callable[[], str]:
    """Ask what is returned for the SHA-256 of this file, or of all files of weights in this folder."""
    with open_weights(path) as stored:
        return digest_of(stored.files)
