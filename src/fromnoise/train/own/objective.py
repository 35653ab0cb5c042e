"""Which noise a network is shown in training, and how much its errors count there."""

from typing import Final

import torch
from torch import Tensor

from fromnoise.noise.denoiser import Process
from fromnoise.noise.schedule import EdmSchedule, FlowSchedule
from fromnoise.train.unet import draw_times

# Source: Karras et al. 2022, table 1 (arXiv:2206.00364): log(sigma) in training
EDM_MEAN, EDM_SPREAD = -1.2, 1.2
MIN_SNR: Final = 5.0  # Source: Hang et al. 2023 (arXiv:2303.09556), their own choice
CAPPED: Final = ("eps", "v", "x0")  # predictions whose errors do not count alike at all times


def times_for(process: Process, count: int, chance: torch.Generator) -> Tensor:
    """Training times by chance, as models of this kind were trained.

    Flow: mostly logit-normal (Esser et al. 2024, arXiv:2403.03206), moved as the schedule moves its own;
    EDM: log-normal in sigma; others: every whole time alike (Ho et al. 2020, arXiv:2006.11239)
    """
    schedule = process.schedule
    if isinstance(schedule, FlowSchedule):
        return schedule.shifted(schedule.steps * draw_times(count, chance))
    if isinstance(schedule, EdmSchedule):
        return schedule.t_of((EDM_MEAN + EDM_SPREAD * torch.randn(count, generator=chance)).exp())
    return torch.randint(len(schedule.times), (count,), generator=chance).float()


def weights_for(process: Process, t: Tensor, gamma: float) -> Tensor:
    """How much a squared error at these times counts: no more than at a signal-to-noise ratio of gamma.

    1 for flow and EDM, whose times are already chosen so, and where gamma is infinite for eps.
    Source: Hang et al. 2023, eq. 6-7 and app. (arXiv:2303.09556)
    """
    ratio = process.schedule.sigma_of(t) ** -2.0
    capped = ratio.clamp(max=gamma)
    match process.prediction:
        case "eps":
            return capped / ratio
        case "v":
            return capped / (ratio + 1)
        case "x0":
            return capped
        case _:
            return torch.ones_like(t)
