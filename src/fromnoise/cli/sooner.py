"""`--budget` and `--preset`: what is left open is chosen so that drawing takes less time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from fromnoise.cli.options import Asked
from fromnoise.cli.screen import Screen
from fromnoise.errors import RequestError
from fromnoise.request import FilledRequest, GenerateRequest

if TYPE_CHECKING:
    from fromnoise.engine.pace import Clock
    from fromnoise.engine.plan import MemoryPlan
    from fromnoise.pipeline import Pipeline

Settle = Callable[[GenerateRequest], FilledRequest]


def check_sooner(asked: Asked, *, replays: bool = False) -> None:
    """Refuse what does not go together, before a model is loaded.  Raises: RequestError"""
    given = [name for name in ("budget", "preset") if getattr(asked, name) is not None]
    if replays and given:
        raise RequestError(
            {given[0]: "a replay repeats what the picture says"}, hint=f"leave out --{given[0]}"
        )
    if len(given) > 1:
        raise RequestError(
            {"preset": "a budget picks one by itself"}, hint="give --budget or --preset, not both"
        )


def sooner(
    requests: Sequence[GenerateRequest],
    asked: Asked,
    screen: Screen,
    pipe: "Pipeline",
    refiner: "Pipeline | None",
    settle: Settle,
    began: float,
) -> list[GenerateRequest]:
    """The requests with all that was chosen in them, and a line about it; without either option as they are.

    A budget is shared by the requests. What has passed of it since it `began`, by `perf_counter`, is taken
    off: loading, and the look at how fast this machine is.
    Raises: RequestError
    """
    if asked.budget is None and asked.preset is None:
        return list(requests)
    from fromnoise.engine.budget import preset, within

    first, fixed, said = settle(requests[0]), asked.fields().keys(), set[str]()
    clock = clock_of(pipe, refiner, first, pipe.planned(first, refiner=refiner))
    clock.forecast(first)  # looks
    spent = perf_counter() - began
    changed = list[GenerateRequest]()
    for request in requests:
        full = settle(request)
        if asked.preset is not None:
            choice = preset(asked.preset, full, pipe.spec, clock.forecast, fixed)
        else:
            seconds, times = asked.budget or 0.0, len(requests)
            choice = within(seconds, full, pipe.spec, clock.forecast, fixed, spent, times)
        if (line := str(choice)) not in said:
            screen.say(line)
        said.add(line)
        changed.append(replace(request, **choice.changed))
    return changed


def clock_of(
    pipe: "Pipeline", refiner: "Pipeline | None", request: FilledRequest, plan: "MemoryPlan | None"
) -> "Clock":
    """Forecasts for these models as they are loaded, with this request's batches and memory plan."""
    from fromnoise.engine.pace import Clock

    second, streams = refiner.spec if refiner else None, plan.streams if plan else 0
    return Clock(pipe.spec, pipe.dtype, pipe.engine, pipe.device, second, pipe.at_once(request), streams)
