"""On Gaussian data the best denoiser and the path it should follow have closed forms, for plain numbers."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from math import hypot, log2, sqrt
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from fromnoise.noise import samplers
from fromnoise.noise.samplers import SAMPLERS, Step, ddim, ddpm, dpmpp_2m, euler, euler_a, heun, lcm
from fromnoise.noise.schedule import schedule_from
from fromnoise.noise.spacings import karras
from fromnoise.specs import ScheduleSpec

DATA_STD = 0.7
DETERMINISTIC = ("ddim", "euler", "heun", "dpmpp_2m")
ANCESTRAL = ("ddpm", "euler_a", "lcm")
DOWN_TO_ZERO = [*karras(20, 14.6, 0.03), 0.0]


def perfect(x: float, sigma: float) -> float:
    """The best possible denoiser when the data are N(0, DATA_STD^2)."""
    return x * DATA_STD**2 / (DATA_STD**2 + sigma**2)


def exact(x: float, sigma: float, sigma_next: float) -> float:
    """Where the probability-flow ODE carries x; closed form for Gaussian data."""
    return x * sqrt((DATA_STD**2 + sigma_next**2) / (DATA_STD**2 + sigma**2))


def no_noise(like: float, sigma: float, sigma_next: float) -> float:
    raise AssertionError("a deterministic sampler asked for noise")


def some_noise(like: float, sigma: float, sigma_next: float) -> float:
    return 0.3 + sigma_next


def final(steps: Iterator[Step[float]]) -> float:
    *_, last = steps
    return last.x


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_halving_the_step_divides_the_error_by_two_to_the_order(name: str, order: int) -> None:
    def error(steps: int) -> float:
        sigmas = karras(steps, 10.0, 0.05)
        return abs(final(SAMPLERS[name](perfect, 3.0, sigmas, noise=no_noise)) - exact(3.0, 10.0, 0.05))

    assert log2(error(81) / error(161)) == pytest.approx(order, abs=0.1)


def test_ddpm_has_the_mean_and_variance_of_the_paper() -> None:
    # Ho et al. 2020, eq. 6-7, in their variables: x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps
    betas = [(sqrt(0.00085) + (sqrt(0.012) - sqrt(0.00085)) * i / 999) ** 2 for i in range(1000)]
    alpha_bar = torch.tensor([1 - b for b in betas], dtype=torch.float64).cumprod(0).tolist()
    schedule = schedule_from(ScheduleSpec())
    x_t, x0 = 0.9, -0.4
    for t in (1, 10, 500, 999):
        keep, keep_last = sqrt(alpha_bar[t]), sqrt(alpha_bar[t - 1])
        mean = (
            keep_last * betas[t] / (1 - alpha_bar[t]) * x0
            + sqrt(1 - betas[t]) * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * x_t
        )
        variance = (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * betas[t]

        sigmas = schedule.sigma_of(torch.tensor([t, t - 1], dtype=torch.float64)).tolist()

        def draw(value: float, sigmas: list[float] = sigmas, start: float = x_t / keep) -> float:
            return final(ddpm(lambda x, s: x0, start, sigmas, noise=lambda *_: value))

        assert keep_last * draw(0.0) == pytest.approx(mean, rel=1e-9)
        assert (keep_last * (draw(1.0) - draw(0.0))) ** 2 == pytest.approx(variance, rel=1e-9)


def test_ddim_without_fresh_noise_is_euler() -> None:
    ours = ddim(perfect, 9.0, DOWN_TO_ZERO, noise=no_noise, eta=0.0)
    theirs = euler(perfect, 9.0, DOWN_TO_ZERO, noise=no_noise)
    for a, b in zip(ours, theirs, strict=True):
        assert a.x == pytest.approx(b.x, rel=1e-12)


@pytest.mark.parametrize("renewed", [ddim, euler_a])
def test_renewing_all_noise_is_ddpm(renewed) -> None:
    ours = renewed(perfect, 9.0, DOWN_TO_ZERO, noise=some_noise, eta=1.0)
    theirs = ddpm(perfect, 9.0, DOWN_TO_ZERO, noise=some_noise)
    for a, b in zip(ours, theirs, strict=True):
        assert a.x == pytest.approx(b.x, rel=1e-12)


@pytest.mark.parametrize("name", ["ddpm", "ddim_half", "ddim_full", "euler_a"])
def test_samples_of_a_perfect_denoiser_spread_like_the_data(name: str) -> None:
    table = {
        "ddim_half": lambda *a, **k: ddim(*a, **k, eta=0.5),
        "ddim_full": lambda *a, **k: ddim(*a, **k, eta=1.0),
    }
    generator = torch.Generator().manual_seed(0)
    sigmas = [*karras(150, 40.0, 0.01), 0.0]
    start = sigmas[0] * torch.randn(20_000, generator=generator)
    *_, last = (table | SAMPLERS)[name](
        perfect, start, sigmas, noise=lambda like, *_: torch.randn(like.shape, generator=generator)
    )
    assert last.x.mean().item() == pytest.approx(0, abs=0.02)
    assert last.x.std().item() == pytest.approx(DATA_STD, rel=0.03)


@pytest.mark.parametrize("steps", [1, 4, 30])
def test_samples_of_a_perfect_consistency_function_spread_like_the_data_in_any_number_of_steps(
    steps: int,
) -> None:
    generator = torch.Generator().manual_seed(0)
    sigmas = [*karras(steps, 40.0, 0.01), 0.0]
    start = sqrt(sigmas[0] ** 2 + DATA_STD**2) * torch.randn(20_000, generator=generator)
    *_, last = lcm(
        lambda x, sigma: exact(x, sigma, 0.0),
        start,
        sigmas,
        noise=lambda like, *_: torch.randn(like.shape, generator=generator),
    )
    assert last.x.mean().item() == pytest.approx(0, abs=0.02)
    assert last.x.std().item() == pytest.approx(DATA_STD, rel=0.02)


@given(eta=st.floats(0, 1), high=st.floats(0.01, 1e4), ratio=st.floats(0, 0.999))
@example(eta=0.0, high=0.5, ratio=2.9818089761266366e-158)
def test_noise_kept_and_noise_renewed_add_up_to_the_next_level(eta: float, high: float, ratio: float) -> None:
    from fromnoise.noise.samplers.ancestral import split

    kept, renewed = split(high, high * ratio, eta)
    assert 0 <= kept <= high * ratio * (1 + 1e-12)
    assert hypot(kept, renewed) == pytest.approx(high * ratio, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_step_says_where_it_began_and_ended(name: str) -> None:
    steps = list(SAMPLERS[name](perfect, 9.0, DOWN_TO_ZERO, noise=some_noise))
    assert [step.index for step in steps] == list(range(20))
    assert [(step.sigma, step.sigma_next) for step in steps] == list(pairwise(DOWN_TO_ZERO))


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_last_step_ends_exactly_on_the_clean_guess(name: str) -> None:
    *_, last = SAMPLERS[name](perfect, 9.0, DOWN_TO_ZERO, noise=some_noise)
    assert last.x == last.x0


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step_returns_the_first_guess(name: str) -> None:
    assert final(SAMPLERS[name](perfect, 9.0, [14.6, 0.0], noise=no_noise)) == perfect(9.0, 14.6)


@pytest.mark.parametrize(
    ("name", "evaluations"), [*((name, 20) for name in SAMPLERS if name != "heun"), ("heun", 39)]
)
def test_evaluations_are_as_promised(name: str, evaluations: int) -> None:
    calls: list[float] = []

    def counting(x: float, sigma: float) -> float:
        calls.append(sigma)
        return perfect(x, sigma)

    final(SAMPLERS[name](counting, 9.0, DOWN_TO_ZERO, noise=some_noise))
    assert len(calls) == evaluations


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_samplers_ask_for_no_noise(name: str) -> None:
    final(SAMPLERS[name](perfect, 9.0, DOWN_TO_ZERO, noise=no_noise))


@pytest.mark.parametrize("name", ANCESTRAL)
def test_ancestral_samplers_ask_for_noise_at_every_level_but_the_last(name: str) -> None:
    asked: list[tuple[float, float]] = []

    def noise(like: float, sigma: float, sigma_next: float) -> float:
        asked.append((sigma, sigma_next))
        return 0.0

    final(SAMPLERS[name](perfect, 9.0, DOWN_TO_ZERO, noise=noise))
    assert asked == list(pairwise(DOWN_TO_ZERO))[:-1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_stopping_early_stops_the_evaluations(name: str) -> None:
    calls: list[float] = []

    def counting(x: float, sigma: float) -> float:
        calls.append(sigma)
        return perfect(x, sigma)

    steps = SAMPLERS[name](counting, 9.0, DOWN_TO_ZERO, noise=some_noise)
    next(steps)
    after_one = len(calls)
    steps.close()
    assert len(calls) == after_one <= 2


def test_samplers_do_not_touch_the_latent_they_are_given() -> None:
    for sampler in (ddpm, ddim, euler, euler_a, heun, dpmpp_2m, lcm):
        x = torch.full((2, 3), 9.0)
        list(sampler(perfect, x, DOWN_TO_ZERO, noise=lambda like, *_: torch.ones_like(like)))
        assert torch.equal(x, torch.full((2, 3), 9.0))


def test_samplers_are_pure_arithmetic() -> None:
    allowed = {"math", "itertools", "typing", "dataclasses", "collections", "fromnoise"}
    for path in Path(samplers.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
        modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in modules} <= allowed, path
        ours = {name for name in modules if name.startswith("fromnoise")}
        assert all(name.startswith("fromnoise.noise.samplers") for name in ours), path
