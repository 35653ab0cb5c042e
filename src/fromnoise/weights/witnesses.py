"""Who says how a model was trained: metadata, marker tensors, a .yaml beside it, a folder's JSON, a probe."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite, prod
from typing import Final, cast

from fromnoise.specs import Prediction, ScheduleSpec
from fromnoise.weights.folder_facts import folder_words
from fromnoise.weights.modelspec import (
    ARCHITECTURE,
    EDM_HIGH,
    EDM_LOW,
    EDM_MEAN,
    EDM_STD,
    PREDICTION,
    V_PRED,
    ZTSNR,
)
from fromnoise.weights.probe import Probe
from fromnoise.weights.sidecar import read_sidecar
from fromnoise.weights.stored import Stored
from fromnoise.weights.testimony import COSXL_LEVELS, PLAYGROUND, PLAYGROUND_LEVELS, WORDS, Word
from fromnoise.weights.wording import shown

ARCHITECTURES: Final[Mapping[str, Prediction]] = {  # that say it; Stability AI's ModelSpec 1.0.0
    "stable-diffusion-v2-768-v": "v",
    "stable-diffusion-v2-512": "eps",
}
KOHYA_ZERO_TERMINAL: Final = "ss_zero_terminal_snr"


# Tables of alpha_bar that are met, by their values at t = 500 and 999.
ALPHAS: Final = "alphas_cumprod"
TABLES: Final[Mapping[tuple[float, float], ScheduleSpec]] = {
    (0.2763, 0.00466): ScheduleSpec(),
    (0.2410, 0.0): ScheduleSpec(zero_terminal=True),
    (0.0778, 0.00004): ScheduleSpec(kind="linear", beta_start=0.0001, beta_end=0.02),
    (0.4923, 0.0): ScheduleSpec(kind="cosine"),
}
NEAR: Final = 2e-3  # float16 keeps three digits


def witnesses(stored: Stored, user: Prediction | None, probed: Probe | None) -> Iterator[Word]:
    """What each has to say, in the order in which they are believed."""
    if user:
        yield Word("asked for", prediction=user)
    yield from _metadata(stored.metadata)
    yield from _markers(stored)
    if stored.container != "folder" and (sidecar := read_sidecar(stored.path)):
        path, said = sidecar
        yield Word(f"{shown(path.name)} beside it", prediction=said)
    yield from folder_words(stored.configs)
    if probed and probed.prediction:
        yield Word(f"probe: {probed}", prediction=probed.prediction)


def _metadata(metadata: Mapping[str, str]) -> Iterator[Word]:
    for key, words in ((PREDICTION, WORDS), (ARCHITECTURE, ARCHITECTURES)):
        said = metadata.get(key, "")
        if prediction := words.get(said.partition("/")[0].lower()):
            yield Word(f"{key} says {shown(said)!r}", prediction=prediction)
    if metadata.get(KOHYA_ZERO_TERMINAL) == "True":
        yield Word(f"{KOHYA_ZERO_TERMINAL} says 'True'", zero_terminal=True)


def _markers(stored: Stored) -> Iterator[Word]:
    shapes = stored.shapes
    if EDM_MEAN in shapes and EDM_STD in shapes:
        mean, std = _numbers(stored, EDM_MEAN, 4), _numbers(stored, EDM_STD, 4)
        latents = replace(PLAYGROUND, mean=mean, std=std) if mean and std and min(std) > 0 else PLAYGROUND
        evidence = f"marker tensors {EDM_MEAN!r} and {EDM_STD!r}, as in Playground 2.5"
        yield Word(evidence, "edm", PLAYGROUND_LEVELS, latents=latents)
    elif EDM_HIGH in shapes:
        low, high = _numbers(stored, EDM_LOW, 1), _numbers(stored, EDM_HIGH, 1)
        levels = COSXL_LEVELS
        if low and high and 0 < low[0] < high[0]:
            levels = replace(levels, sigma_min=low[0], sigma_max=high[0])
        yield Word(f"marker tensor {EDM_HIGH!r}, as in CosXL", "v", levels)
    elif V_PRED in shapes:
        yield Word(f"marker tensor {V_PRED!r}", "v")
    if ZTSNR in shapes:
        yield Word(f"marker tensor {ZTSNR!r}", zero_terminal=True)
    yield from _table(stored)


def _table(stored: Stored) -> Iterator[Word]:
    """The table of alpha_bar, where the file keeps it."""
    numbers = _numbers(stored, ALPHAS, 1000)
    if not numbers:
        return
    evidence = f"{ALPHAS} is {numbers[500]:.4g} at t = 500, {numbers[999]:.4g} at 999"
    for (middle, last), schedule in TABLES.items():
        if abs(numbers[500] - middle) < NEAR and abs(numbers[999] - last) < NEAR / 10:
            yield Word(evidence, schedule=schedule, zero_terminal=schedule.zero_terminal)
            return
    yield Word(evidence, doubt="an unknown table of noise levels")


def _numbers(stored: Stored, name: str, count: int) -> tuple[float, ...]:
    """The numbers of a small tensor; () if there are not so many, or not all finite."""
    shape = stored.shapes.get(name)
    if shape is None or prod(shape) != count:
        return ()
    numbers = tuple(cast(list[float], stored.read(name).flatten().double().tolist()))
    return numbers if all(map(isfinite, numbers)) else ()
