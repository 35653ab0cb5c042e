"""What somebody may say about how a model was trained, and the published numbers behind the names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fromnoise.specs import Prediction, ScheduleSpec

WORDS: Final[Mapping[str, Prediction]] = {  # what others call what a network answers
    "epsilon": "eps",
    "eps": "eps",
    "v": "v",
    "v_prediction": "v",
    "v-prediction": "v",
    "sample": "x0",
    "x0": "x0",
}


@dataclass(frozen=True, slots=True)
class Latents:
    """z -> (z - mean) * scale / std."""

    scale: float
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """What one witness says; None where it says nothing."""

    evidence: str
    prediction: Prediction | None = None
    schedule: ScheduleSpec | None = None
    zero_terminal: bool | None = None
    latents: Latents | None = None
    doubt: str = ""  # what it says and we do not understand


# Source: the published model of Playground 2.5, Li et al. 2024 (arXiv:2402.17245)
PLAYGROUND: Final = Latents(0.5, (-1.6574, 1.886, -1.383, 2.5155), (8.4927, 5.9022, 6.5498, 5.2299))
PLAYGROUND_LEVELS: Final = ScheduleSpec(kind="edm")
# Source: the published model of CosXL; its latents are those of SDXL, of variance 1
COSXL_LEVELS: Final = ScheduleSpec(kind="edm", sigma_max=120.0, sigma_data=1.0)
