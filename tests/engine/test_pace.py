"""The forecast: what it counts, with rates that are given, so that no clock is read."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fromnoise.engine import pace
from fromnoise.engine.pace import Clock, Forecast, questions, texts_at
from fromnoise.engine.rates import BETWEEN, Rates, nearest
from fromnoise.engine.trials import decoder_trial, unet_trial
from fromnoise.engine.work import Ask, Work, conv, decoder_work, unet_work
from fromnoise.names import SAMPLER_NAMES
from fromnoise.noise.descent import asked_at
from fromnoise.pipeline import Pipeline
from fromnoise.request import FilledRequest, GenerateRequest
from fromnoise.specs import REFINER, SD15, SDXL, TINY

SECONDS = 1e-9  # an operation


class Even(Rates):
    """Every operation takes as long as any other."""

    def look(self, work: Any) -> None:
        pass

    def seconds(self, work: Any) -> float:
        return SECONDS * sum(each.flops for each in work)


@pytest.fixture
def even(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "Rates", Even)


def filled(spec: Any = SD15, **fields: Any) -> FilledRequest:
    return GenerateRequest(prompt="", **fields).filled(spec.defaults)


def forecast(spec: Any = SD15, **fields: Any) -> Forecast:
    return Clock(spec, torch.float32).forecast(filled(spec, **fields))


def flops(spec: Any, ask: Ask) -> float:
    return sum(each.flops for each in unet_work(spec, ask))


def asks(request: FilledRequest, spec: Any = SD15, refiner: Any = None) -> list[tuple[Any, Ask]]:
    return list(questions(request, spec, refiner, 1))


# --- what is asked ---


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_a_sampler_asks_as_often_as_it_does_in_a_drawing(sampler: str, tiny: Pipeline) -> None:
    calls: list[int] = []
    handle = tiny.unet.register_forward_pre_hook(lambda _, given: calls.append(len(given[2])))
    try:
        result = tiny("a red house", steps=5, sampler=sampler, guidance_interval=(0.3, 3.0), negative="")
    finally:
        handle.remove()
    asked = asks(result.request, TINY)
    assert [ask.texts for _, ask in asked] == calls
    assert len(calls) == len(asked_at(sampler, tiny.schedule.sigmas(5, result.request.spacing)))


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({}, 2),
        ({"guidance": 1}, 1),
        ({"guidance_interval": (1.0, 2.0)}, 1),
        ({"guidance_interval": (1.0, 9.0)}, 2),
        ({"image_guidance": 1.5}, 3),
        ({"image_guidance": 1, "guidance": 1}, 1),
    ],
)
def test_texts_a_picture(fields: dict[str, Any], texts: int) -> None:
    assert texts_at(filled(**fields), SD15, 5.0) == texts
    told = replace(SD15, unet=replace(SD15.unet, guidance_width=256))
    assert texts_at(filled(**fields), told, 5.0) == 1


def test_reuse_is_foretold_as_it_happens(tiny: Pipeline) -> None:
    deep: list[int] = []
    handle = tiny.unet.mid.register_forward_pre_hook(lambda _, given: deep.append(len(given[2])))
    interval = tuple(tiny.schedule.sigmas(8, "karras")[at] for at in (5, 2))
    try:
        request = tiny("", steps=8, spacing="karras", reuse=2, guidance_interval=interval).request
    finally:
        handle.remove()
    assert [ask.texts for _, ask in asks(request, TINY) if ask.deep] == deep


def test_strength_takes_fewer_steps_and_reads_the_picture(even: None) -> None:
    whole, half = forecast(strength=1), forecast(strength=0.5)
    assert half.total < 0.8 * whole.total
    assert half.step == pytest.approx(whole.step)
    assert half.first > whole.first
    assert forecast(strength=0).total == 0


def test_a_refiner_is_asked_at_the_end() -> None:
    request = filled(SDXL, steps=10, refine_from=0.5, spacing="linspace", sampler="ddim")
    specs = [spec for spec, _ in asks(request, SDXL, REFINER)]
    assert specs[0] == SDXL.unet
    assert specs[-1] == REFINER.unet
    assert 4 <= specs.count(REFINER.unet) <= 6
    assert specs == sorted(specs, key=specs.index)


# --- seconds ---


def test_the_sum_of_the_parts(even: None) -> None:
    found, ask = forecast(steps=10, sampler="ddim", seeds=(1, 2, 3)), Ask(64, 64, 1, 2)
    assert found.step == pytest.approx(SECONDS * flops(SD15.unet, ask))
    assert found.decode == pytest.approx(SECONDS * sum(w.flops for w in decoder_work(SD15.vae, 64, 64)))
    before = found.first - found.step
    assert 0 < before < found.step
    assert found.total == pytest.approx(before + 3 * (10 * found.step + found.decode))


def test_pictures_in_batches(even: None) -> None:
    clock = Clock(SD15, torch.float32, batch=4)
    five, four = (clock.forecast(filled(seeds=tuple(range(count)), steps=2)) for count in (5, 4))
    assert five.decode == pytest.approx(4 * forecast().decode)
    assert five.total - four.total == pytest.approx(2 * five.step + five.decode)


def test_weights_that_do_not_stay_take_their_time_at_each_step(even: None) -> None:
    numbers = sum(work.weights for work in unet_work(SD15.unet, Ask(8, 8)))
    kept, streamed = (Clock(SD15, torch.float32, streams=size) for size in (0, 4 * numbers))
    for clock in (kept, streamed):
        clock.rates.packing = 1e-9
    anew = 2.4 * 4 * numbers * 1e-9
    request = filled(steps=10, sampler="ddim")
    often, once = streamed.forecast(request), kept.forecast(request)
    assert often.step - once.step == pytest.approx(anew)
    assert often.first == pytest.approx(once.first)  # the first time they are packed either way
    assert often.total - once.total == pytest.approx(9 * anew)
    reused = streamed.forecast(replace(request, reuse=2)).step - kept.forecast(replace(request, reuse=2)).step
    assert anew / 2 < reused < 0.6 * anew  # the shallow part of the weights is small


@pytest.mark.parametrize(
    ("fields", "share"),
    [
        ({"guidance": 1}, 0.6),
        ({"merge": 0.5}, 0.95),
        ({"reuse": 2}, 0.6),
        ({"reuse": 5}, 0.3),
        ({"width": 256}, 0.5),
    ],
)
def test_what_saves_work_saves_seconds(fields: dict[str, Any], share: float, even: None) -> None:
    assert forecast(**fields).total < share * forecast().total * 1.05


class Tried(Even):
    """Whatever is run takes five seconds."""

    def usual(self, work: Any) -> float:
        work()
        return 5.0


def test_what_is_small_is_tried_and_what_is_large_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "Rates", Tried)
    for texts in (1, 2):
        found = forecast(TINY, guidance=texts, steps=4, sampler="ddim", seeds=(1, 2))
        assert (found.step, found.decode) == pytest.approx((BETWEEN * 5, BETWEEN * 5))
    asked = [Ask(8, 8, 1, 2, TINY.texts[0].context, deep=deep) for deep in (True, False)]
    whole, shallow = (flops(TINY.unet, ask) for ask in asked)
    fields = {"width": 64, "height": 64, "steps": 4, "sampler": "ddim", "spacing": "linspace"}
    assert forecast(TINY, reuse=2, **fields).step == pytest.approx(BETWEEN * 5 * (1 + shallow / whole) / 2)
    assert forecast().step == pytest.approx(SECONDS * flops(SD15.unet, Ask(64, 64, 1, 2)))


def test_the_same_is_not_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list[object]()

    class Counted(Tried):
        def usual(self, work: Any) -> float:
            tried.append(work)
            return super().usual(work)

    monkeypatch.setattr(pace, "Rates", Counted)
    clock = Clock(TINY, torch.float32)
    for steps in (4, 5, 6):
        clock.forecast(filled(TINY, steps=steps))
    assert len(tried) == 2, "the U-Net and the decoder"


@pytest.mark.parametrize("spec", [TINY, replace(TINY, unet=replace(TINY.unet, guidance_width=8))])
def test_a_trial_calls_the_networks_as_they_are_built(spec: Any) -> None:
    rates = Rates(torch.float32)
    assert unet_trial(rates, spec.unet, Ask(8, 8, 2, 2, spec.texts[0].context)) > 0
    assert decoder_trial(rates, spec.vae, 8, 8, 2) > 0


# --- rates ---


def test_the_nearest_rate_serves_what_was_not_timed() -> None:
    known = [("conv", 320, 4096), ("conv", 1280, 64), ("linear", 320, 4096)]
    assert nearest(("conv", 4, 4096), known) == known[0]
    assert nearest(("conv", 960, 256), known) == known[1]
    assert nearest(("linear", 1280, 64), known) == known[2]


def test_a_look_times_what_takes_most_and_only_once() -> None:
    timed = list[Any]()

    class Watched(Rates):
        def _rate(self, *key: Any) -> float:
            timed.append(key)
            return SECONDS

    rates = Watched(torch.float32)
    work = [conv(1, 64, 64, 256), conv(1, 64, 64, 256), conv(1, 4, 64, 256, 1), Work("norm", 100, 64, 256)]
    for _ in range(2):
        rates.look(work)
    assert timed == [("conv", 64, 256), ("norm", 64, 256)]
    each = max(work[0].flops * SECONDS, rates.least) + rates.least
    assert rates.seconds(work[:2]) == pytest.approx(BETWEEN * 2 * each)


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_a_real_look_foretells_something(engine: str) -> None:
    found = Clock(TINY, torch.float32, engine).forecast(GenerateRequest(prompt=""))
    assert 0 < found.decode < found.total
    assert 0 < found.step < found.first < found.total
