"""So many seconds and no more: which settings and shortcuts draw the best picture within them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from math import ceil, floor
from typing import Any, Final

from fromnoise.engine.pace import Forecast
from fromnoise.errors import RequestError
from fromnoise.names import UNSTEADY
from fromnoise.request import FilledRequest
from fromnoise.specs import ModelSpec

SOLVER: Final = "euler"  # the best of few steps with an old deep part: it does not look back
FEWEST: Final = 5  # steps of a model that was not made for few
FEW: Final = 8  # steps that a model takes by itself, if it was
SLOW: Final = ("steps", "sampler", "guidance", "guidance_interval", "reuse", "merge")  # what costs time

Foretell = Callable[[FilledRequest], Forecast]


@dataclass(frozen=True, slots=True)
class Preset:
    """A way to draw sooner: what it sets, where nothing is set.

    `share`: of the steps that would be taken, so many are
    """

    share: float = 1.0
    changes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def steps(self, request: FilledRequest, spec: ModelSpec, fixed: Collection[str] = ()) -> int:
        """How many it takes in place of the request's: fewer still, where no deep part is reused instead."""
        if is_for_few(request, spec):
            return max(1, floor(self.share / self.reuse * request.steps))
        share = self.share / self.reuse if self.unsteady(request, fixed) else self.share
        return max(fewest(request, spec), ceil(share * request.steps))

    def fields(
        self, request: FilledRequest, spec: ModelSpec, foretell: Foretell, fixed: Collection[str] = ()
    ) -> dict[str, Any]:
        """What it changes beside the steps: nothing that is fixed, makes no sense here, or saves nothing."""
        if is_for_few(request, spec):
            return {}
        changes = {name: value for name, value in self.changes.items() if name not in fixed}
        if self.unsteady(request, fixed):
            changes.pop("reuse", None)
        if "merge" in changes and not any(any(depths) for depths in spec.unet.down):
            del changes["merge"]
        without = {name: value for name, value in changes.items() if name != "merge"}
        saves = foretell(replace(request, **changes)).total < foretell(replace(request, **without)).total
        return changes if saves else without

    @property
    def reuse(self) -> int:
        """How many steps share a deep part."""
        return self.changes.get("reuse", 1)

    def unsteady(self, request: FilledRequest, fixed: Collection[str]) -> bool:
        """Is it a sampler that finds no use for an old deep part?"""
        taken = request.sampler if "sampler" in fixed else self.changes.get("sampler", request.sampler)
        return taken in UNSTEADY


PRESETS: Final[Mapping[str, Preset]] = {  # the best pictures first; benchmarks/shortcuts.py measures them
    "full": Preset(0.75),
    "brisk": Preset(1.0, {"reuse": 2}),
    "quick": Preset(1.0, {"reuse": 3}),
    "hasty": Preset(0.5, {"sampler": SOLVER, "reuse": 2, "merge": 0.5}),
}
HASTIEST: Final = next(reversed(PRESETS))


@dataclass(frozen=True, slots=True)
class Choice:
    """What fits a budget: a request that says everything, and how long it should take."""

    request: FilledRequest
    forecast: Forecast
    preset: str
    changed: Mapping[str, Any]

    def __str__(self) -> str:
        told = ", ".join(f"{name.replace('_', ' ')} {said(value)}" for name, value in self.changed.items())
        seconds = f"about {self.forecast.total:.3g} s"
        return f"{self.preset}: {told}; {seconds}" if told else f"as the model would; {seconds}"


def within(
    seconds: float,
    request: FilledRequest,
    spec: ModelSpec,
    foretell: Foretell,
    fixed: Collection[str] = (),
    spent: float = 0.0,
    times: int = 1,
) -> Choice:
    """The best preset, and with it the most steps, that should take no longer than this.

    The last of them takes as few steps as it must.

    `request`: as it would be drawn; `fixed`: those of its fields that stay as they are; `spent`: of the
    seconds, those that are over; `times`: how many such requests share them
    Raises: RequestError if even the quickest way takes longer
    """
    choices = list[Choice]()
    for name, preset in PRESETS.items():
        fields = preset.fields(request, spec, foretell, fixed)
        if "steps" in fixed:
            last = request.steps
        else:
            last = fewest(request, spec) if name == HASTIEST else preset.steps(request, spec, fixed)
        for steps in range(request.steps, last - 1, -1):
            choices.append(chosen(name, request, fields | {"steps": steps}, foretell))
            if spent + times * choices[-1].forecast.total <= seconds:
                return choices[-1]
    needs = ceil(spent + times * min(choice.forecast.total for choice in choices))
    problem = f"{seconds:.3g} s are too few: the quickest way needs about {needs} s"
    kept = ", ".join(name for name in SLOW if name in fixed)
    hint = f"take {needs} s or more, or draw smaller" + (f"; set and left alone: {kept}" if kept else "")
    raise RequestError({"budget": problem}, hint=hint)


def preset(
    name: str, request: FilledRequest, spec: ModelSpec, foretell: Foretell, fixed: Collection[str] = ()
) -> Choice:
    """One of `PRESETS`, by its name, at its own number of steps."""
    found = PRESETS[name]
    fields = found.fields(request, spec, foretell, fixed)
    if "steps" not in fixed:
        fields["steps"] = found.steps(request, spec, fixed)
    return chosen(name, request, fields, foretell)


def chosen(name: str, request: FilledRequest, fields: Mapping[str, Any], foretell: Foretell) -> Choice:
    """A request with some of its fields changed."""
    changed = {field: value for field, value in fields.items() if getattr(request, field) != value}
    full = replace(request, **changed)
    return Choice(full, foretell(full), name, changed)


def is_for_few(request: FilledRequest, spec: ModelSpec) -> bool:
    """Was the model made for a few steps, so that there is nothing to leave out but some of them?"""
    return spec.unet.guidance_width is not None or request.sampler == "lcm" or spec.defaults.steps <= FEW


def fewest(request: FilledRequest, spec: ModelSpec) -> int:
    """Steps below which nothing can be seen."""
    return 1 if is_for_few(request, spec) else min(FEWEST, request.steps)


def said(value: Any) -> str:
    """A setting in words."""
    return f"{value:g}" if isinstance(value, float) else str(value)
