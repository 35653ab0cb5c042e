"""What a budget chooses, at a speed that is given: no clock is read."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from fromnoise.engine.budget import PRESETS, Choice, preset, within
from fromnoise.engine.pace import Forecast, questions
from fromnoise.engine.work import unet_work
from fromnoise.errors import RequestError
from fromnoise.names import PRESET_NAMES, UNSTEADY
from fromnoise.request import FilledRequest, GenerateRequest
from fromnoise.specs import SD15, SDXL, ModelSpec

LCM = replace(SD15, unet=replace(SD15.unet, guidance_width=256), defaults=replace(SD15.defaults, steps=4))


class Machine:
    """So many TFLOP a second."""

    def __init__(self, spec: ModelSpec = SD15, speed: float = 1.0) -> None:
        self.spec, self.speed, self.known = spec, speed, dict[Any, float]()

    def __call__(self, request: FilledRequest) -> Forecast:
        total = 0.0
        for ask in questions(request, self.spec, None, 1):
            if ask not in self.known:
                self.known[ask] = sum(work.flops for work in unet_work(*ask)) / 1e12 / self.speed
            total += self.known[ask]
        return Forecast(0.0, total / request.steps, 0.0, total * len(request.seeds))


def filled(spec: ModelSpec = SD15, **fields: Any) -> FilledRequest:
    return GenerateRequest(prompt="a red house", **fields).filled(spec.defaults)


def choice(seconds: float, fixed: Collection[str] = (), spec: ModelSpec = SD15, **fields: Any) -> Choice:
    return within(seconds, filled(spec, **fields), spec, Machine(spec), {*fields, *fixed})


def test_where_there_is_time_nothing_changes() -> None:
    found = choice(1000)
    assert (found.preset, found.changed, found.request) == ("full", {}, filled())
    assert str(found) == f"as the model would; about {found.forecast.total:.3g} s"


def test_the_less_time_the_more_is_given_up_and_it_always_fits() -> None:
    order, seen, before = list(PRESETS), list[str](), 1000.0
    for seconds in (60, 46, 42, 30, 24, 18, 12, 9):
        found = choice(seconds)
        assert found.forecast.total <= seconds
        assert found.forecast.total <= before
        assert found.forecast == Machine()(found.request)
        assert found.request == replace(filled(), **found.changed)
        seen.append(found.preset)
        before = found.forecast.total
    assert seen == sorted(seen, key=order.index)
    assert {*seen} == {*PRESETS}


def test_as_many_steps_as_fit() -> None:
    found = choice(42)
    assert found.preset == "full"
    assert found.changed == {"steps": found.request.steps}
    assert Machine()(replace(found.request, steps=found.request.steps + 1)).total > 42


def test_what_was_chosen_is_said_in_one_line() -> None:
    line = str(choice(9))
    assert line.startswith("hasty: sampler euler, reuse 2, merge 0.5, steps ")
    assert line.count("\n") == 0
    assert line.endswith(" s")


@pytest.mark.parametrize("field", ["steps", "sampler", "guidance_interval", "reuse", "merge", "guidance"])
def test_what_is_set_stays(field: str) -> None:
    values: dict[str, Any] = {"steps": 30, "sampler": "ddim", "guidance": 5.0, "reuse": 2, "merge": 0.1}
    value = values.get(field, (1.0, 2.0))
    for seconds in (40, 34, 28):
        found = choice(seconds, **{field: value})
        assert getattr(found.request, field) == value
        assert field not in found.changed
    assert choice(30, fixed={"merge", "reuse"}).request.merge == 0  # set to what they are anyway


@pytest.mark.parametrize("sampler", UNSTEADY)
def test_samplers_that_cannot_reuse_do_not(sampler: str) -> None:
    for seconds in (60, 40, 30):
        assert choice(seconds, sampler=sampler).request.reuse == 1


def test_steps_are_left_out_where_a_deep_part_cannot_be_reused() -> None:
    for name, steps in (("brisk", 10), ("quick", 7), ("hasty", 5)):
        found = preset(name, filled(steps=20, sampler="heun"), SD15, Machine(), {"sampler"})
        assert (found.request.steps, found.request.sampler, found.request.reuse) == (steps, "heun", 1)


def test_the_last_of_a_budget_takes_as_few_steps_as_it_must() -> None:
    at_least = preset("hasty", filled(), SD15, Machine()).forecast.total
    found = choice(0.7 * at_least)
    assert found.preset == "hasty"
    assert found.request.steps < filled().steps / 2


def test_too_little_time_is_refused_with_what_it_needs() -> None:
    with pytest.raises(
        RequestError, match=r"budget: 0\.5 s are too few: the quickest way needs about"
    ) as caught:
        choice(0.5)
    needs = int(caught.value.hint.split()[1])
    assert choice(needs).forecast.total <= needs
    with pytest.raises(RequestError):
        choice(needs - 1)
    with pytest.raises(RequestError) as caught:
        choice(0.5, steps=40)
    assert "set and left alone: steps" in caught.value.hint


def test_requests_share_the_seconds_and_the_refusal_names_what_they_need_together() -> None:
    asked = filled()
    three = within(100, asked, SD15, Machine(), times=3, spent=1.0)
    assert 1.0 + 3 * three.forecast.total <= 100 < 1.0 + 3 * Machine()(asked).total
    with pytest.raises(RequestError, match=r"9 s are too few") as caught:
        within(9, asked, SD15, Machine(), times=3, spent=1.0)
    needs = int(caught.value.hint.split()[1])
    assert within(needs, asked, SD15, Machine(), times=3, spent=1.0).preset == "hasty"
    with pytest.raises(RequestError):
        within(needs - 1, asked, SD15, Machine(), times=3, spent=1.0)


def test_a_model_for_few_steps_takes_fewer_and_nothing_else() -> None:
    one = Machine(LCM)(filled(LCM)).step
    found = choice(2.5 * one, spec=LCM)
    assert found.changed == {"steps": 2}
    assert choice(1.01 * one, spec=LCM).request.steps == 1


def test_guidance_is_never_left_out() -> None:
    assert all(choice(seconds).request.guidance_interval is None for seconds in (60, 46, 30, 18, 9))


def test_merging_is_left_out_where_it_saves_nothing() -> None:
    class Slow(Machine):
        def __call__(self, request: FilledRequest) -> Forecast:
            found = super().__call__(request)
            return replace(found, total=found.total * (1.5 if request.merge else 1))

    found = within(9, filled(), SD15, Slow())
    assert (found.preset, found.request.merge) == ("hasty", 0)
    assert choice(9).request.merge == 0.5


# --- presets ---


def test_their_names() -> None:
    assert list(PRESETS) == ["full", *PRESET_NAMES]


@pytest.mark.parametrize("spec", [SD15, SDXL])
def test_each_is_quicker_than_the_one_before(spec: ModelSpec) -> None:
    machine = Machine(spec)
    totals = [preset(name, filled(spec), spec, machine).forecast.total for name in PRESET_NAMES]
    assert machine(filled(spec)).total > totals[0] > totals[1] > totals[2]


def test_a_preset_leaves_alone_what_is_set() -> None:
    found = preset("hasty", filled(steps=12, reuse=4), SD15, Machine(), {"steps", "reuse"})
    assert (found.request.steps, found.request.reuse, found.request.merge) == (12, 4, 0.5)


def test_what_is_spent_already_counts() -> None:
    total = Machine()(filled()).total
    assert within(total + 3, filled(), SD15, Machine(), spent=3).changed == {}
    assert within(total + 2, filled(), SD15, Machine(), spent=3).changed != {}
    with pytest.raises(RequestError, match=r"2 s are too few: the quickest way needs about"):
        within(2, filled(), SD15, Machine(), spent=3)
