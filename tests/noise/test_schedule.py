import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fromnoise.errors import RequestError, SpecError
from fromnoise.names import SPACING_NAMES
from fromnoise.noise.schedule import PURE_NOISE, schedule_from
from fromnoise.specs import ScheduleSpec

SPECS = {
    "scaled_linear": ScheduleSpec(),
    "linear": ScheduleSpec(kind="linear", beta_start=0.0001, beta_end=0.02),
    "cosine": ScheduleSpec(kind="cosine"),
    "zero_terminal": ScheduleSpec(zero_terminal=True),
    "flow": ScheduleSpec(kind="flow"),
    "flow_shifted": ScheduleSpec(kind="flow", shift=3.0),
    "short": ScheduleSpec(steps=50),
    "edm": ScheduleSpec(kind="edm"),
}
PURE = ("zero_terminal", "flow", "flow_shifted")


def test_stable_diffusion_goes_from_0_03_to_14_6() -> None:
    schedule = schedule_from(ScheduleSpec())
    # the two ends every program for Stable Diffusion 1.x prints
    assert schedule.sigma_of(torch.tensor([0.0, 999.0])).tolist() == pytest.approx(
        [0.029168, 14.614641], rel=1e-4
    )


def test_cosine_follows_its_formula_until_the_beta_is_clipped() -> None:
    schedule = schedule_from(ScheduleSpec(kind="cosine"))

    def alpha_bar(t: int) -> float:  # Nichol & Dhariwal 2021, eq. 17; their t counts from 1
        f = [math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in (t + 1, 0)]
        return f[0] / f[1]

    for t in (0, 100, 500, 900, 998):
        expected = math.sqrt(1 / alpha_bar(t) - 1)
        assert schedule.sigma_of(torch.tensor([t], dtype=torch.float64)).item() == pytest.approx(
            expected, rel=1e-9
        )


def test_flow_is_the_straight_line() -> None:
    schedule = schedule_from(ScheduleSpec(kind="flow"))
    t = torch.tensor([0.0, 250.0, 500.0, 900.0])
    sigma = schedule.sigma_of(t)
    assert sigma.tolist() == pytest.approx([0, 1 / 3, 1, 9])
    assert schedule.signal(sigma).tolist() == pytest.approx([1, 0.75, 0.5, 0.1])
    assert (schedule.signal(sigma) * sigma).tolist() == pytest.approx([0, 0.25, 0.5, 0.9])


@pytest.mark.parametrize("name", PURE)
def test_a_schedule_that_ends_in_pure_noise_leaves_exactly_no_signal(name: str) -> None:
    schedule = schedule_from(SPECS[name])
    last = torch.tensor([float(schedule.times[-1])])
    sigma = schedule.sigma_of(last)
    assert sigma.item() == schedule.sigma_max == PURE_NOISE
    assert schedule.t_of(sigma).item() == last.item()
    assert (schedule.signal(sigma) * sigma).item() == 1.0  # b = 1: float32 cannot tell it from infinity
    assert schedule.signal(sigma).item() < torch.finfo(torch.float32).eps


def test_only_the_last_time_is_pure_noise_and_the_first_keeps_its_level() -> None:
    plain, zero = (schedule_from(ScheduleSpec(zero_terminal=z)) for z in (False, True))
    first, nearly_last = torch.tensor([0.0]), torch.tensor([998.0])
    assert zero.sigma_of(first).item() == pytest.approx(plain.sigma_of(first).item(), rel=1e-6)
    assert 1000 < zero.sigma_of(nearly_last).item() < 10_000


@pytest.mark.parametrize("name", SPECS)
@given(part=st.floats(0, 1))
def test_time_and_sigma_are_two_names_for_one_axis(name: str, part: float) -> None:
    schedule = schedule_from(SPECS[name])
    first, last = schedule.times[0], schedule.times[-1]
    t = torch.tensor([first + part * (last - first)], dtype=torch.float64)
    assert schedule.t_of(schedule.sigma_of(t)).item() == pytest.approx(t.item(), abs=1e-4)


@pytest.mark.parametrize("name", SPECS)
def test_levels_rise_with_time_between_whole_times_too(name: str) -> None:
    schedule = schedule_from(SPECS[name])
    t = torch.linspace(schedule.times[0], schedule.times[-1], 2357, dtype=torch.float64)
    assert (schedule.sigma_of(t).diff() > 0).all()


def test_levels_beyond_the_table_are_its_ends() -> None:
    schedule = schedule_from(ScheduleSpec())
    assert schedule.t_of(torch.tensor([1e-6, 1e6])).tolist() == [0, 999]


@pytest.mark.parametrize("spacing", SPACING_NAMES)
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 50])
def test_sigmas_fall_to_zero_in_as_many_steps_as_asked(name: str, spacing: str, steps: int) -> None:
    sigmas = schedule_from(SPECS[name]).sigmas(steps, spacing)
    assert len(sigmas) == steps + 1
    assert all(a > b for a, b in pairwise(sigmas))
    assert sigmas[-1] == 0.0
    assert all(type(sigma) is float for sigma in sigmas)


@pytest.mark.parametrize("spacing", [name for name in SPACING_NAMES if name != "leading"])
@pytest.mark.parametrize("name", SPECS)
def test_all_spacings_but_leading_begin_at_the_noisiest_level(name: str, spacing: str) -> None:
    schedule = schedule_from(SPECS[name])
    assert schedule.sigmas(10, spacing)[0] == pytest.approx(schedule.sigma_max, rel=1e-12)


@pytest.mark.parametrize("spacing", ["karras", "exponential"])
@pytest.mark.parametrize("name", PURE)
def test_ladders_from_pure_noise_waste_no_rungs_above_the_top(name: str, spacing: str) -> None:
    sigmas = schedule_from(SPECS[name]).sigmas(12, spacing)
    assert sigmas[0] == PURE_NOISE
    assert 20 < sigmas[1] < 80  # Karras et al. 2022, table 1: sigma_max


def test_karras_rungs_are_equal_in_the_seventh_root() -> None:
    roots = [s ** (1 / 7) for s in schedule_from(ScheduleSpec()).sigmas(10, "karras")[:-1]]
    assert {round(a - b, 9) for a, b in pairwise(roots)} == {round((roots[0] - roots[-1]) / 9, 9)}


def test_exponential_rungs_have_one_ratio() -> None:
    sigmas = schedule_from(ScheduleSpec()).sigmas(10, "exponential")[:-1]
    ratios = [b / a for a, b in pairwise(sigmas)]
    assert ratios == pytest.approx([ratios[0]] * 9)


@given(shift=st.floats(0.3, 10), steps=st.integers(1, 40))
def test_shifting_flow_times_multiplies_their_sigmas(shift: float, steps: int) -> None:
    # Esser et al. 2024, eq. 23: t -> s t / (1 + (s - 1) t), which for sigma = t / (1 - t) is sigma -> s sigma
    plain = schedule_from(ScheduleSpec(kind="flow")).sigmas(steps, "uniform")
    shifted = schedule_from(ScheduleSpec(kind="flow", shift=shift)).sigmas(steps, "uniform")
    assert shifted[1:] == pytest.approx([shift * sigma for sigma in plain[1:]], rel=1e-9)
    assert shifted[0] == plain[0] == PURE_NOISE


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_as_many_steps_as_training_visits_every_time_once(spacing: str) -> None:
    schedule = schedule_from(ScheduleSpec())
    levels = schedule.sigma_of(torch.arange(999, -1, -1, dtype=torch.float64)).tolist()
    assert schedule.sigmas(1000, spacing) == pytest.approx([*levels, 0.0])


@pytest.mark.parametrize(
    ("steps", "spacing", "message"),
    [
        (0, "karras", "steps: 0 is less than 1"),
        (20, "karas", "did you mean 'karras'"),
        (1001, "leading", "1001 is more than the 1000 times"),
        (1001, "trailing", "1001 is more than the 1000 times"),
    ],
)
def test_impossible_requests_are_refused_by_name(steps: int, spacing: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        schedule_from(ScheduleSpec()).sigmas(steps, spacing)


@pytest.mark.parametrize(
    "spec",
    [
        ScheduleSpec(steps=1),
        ScheduleSpec(beta_start=0.02, beta_end=0.01),
        ScheduleSpec(beta_end=1.0),
        ScheduleSpec(beta_start=0.0),
        ScheduleSpec(shift=3.0),
        ScheduleSpec(kind="flow", shift=0.0),
        ScheduleSpec(kind="quadratic"),  # type: ignore[arg-type]
    ],
)
def test_schedules_that_contradict_themselves_are_refused(spec: ScheduleSpec) -> None:
    with pytest.raises(SpecError):
        schedule_from(spec)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64])
def test_low_precision_levels_are_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    schedule = schedule_from(SPECS[name])
    level = torch.tensor([2], dtype=dtype)
    for result in (schedule.sigma_of(level), schedule.t_of(level), schedule.signal(level)):
        assert result.dtype == torch.float32
