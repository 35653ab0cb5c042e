"""EDM (Playground 2.5, CosXL): the formulas of Karras et al. 2022, table 1, and diffusers' scheduler."""

from math import log, sqrt

import pytest
import torch
from torch import Tensor

from fromnoise.errors import SpecError
from fromnoise.noise.denoiser import Conditioning, Process
from fromnoise.noise.samplers import SAMPLERS
from fromnoise.noise.schedule import schedule_from
from fromnoise.noise.seeds import PerImageNoise
from fromnoise.specs import Prediction, ScheduleSpec

PLAYGROUND = ScheduleSpec(kind="edm")
COSXL = ScheduleSpec(kind="edm", sigma_max=120.0, sigma_data=1.0)
KINDS: list[tuple[ScheduleSpec, Prediction, str]] = [
    (PLAYGROUND, "edm", "epsilon"),  # what diffusers calls it; it is F of the paper
    (PLAYGROUND, "v", "v_prediction"),
    (COSXL, "v", "v_prediction"),
]
COND = Conditioning(torch.zeros(3, 2, 5))
LEVELS = torch.tensor([0.002, 0.7, 80.0])


def process_of(spec: ScheduleSpec, prediction: Prediction) -> Process:
    return Process(schedule_from(spec), prediction)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("spec", "prediction", "_"), KINDS)
def test_the_network_is_preconditioned_as_in_the_paper(
    spec: ScheduleSpec, prediction: Prediction, _: str
) -> None:
    x, answer = random(3, 4, 8, 8), random(3, 4, 8, 8, seed=1)
    seen: list[Tensor] = []

    def unet(z: Tensor, t: Tensor, *others: Tensor | None) -> Tensor:
        seen.extend((z, t))
        return answer

    x0 = process_of(spec, prediction).denoiser(unet)(x, LEVELS, COND)
    sign = {"edm": 1, "v": -1}[prediction]
    for row, sigma in enumerate(LEVELS.tolist()):
        total = sigma**2 + spec.sigma_data**2
        c_skip = spec.sigma_data**2 / total
        c_out = sign * sigma * spec.sigma_data / sqrt(total)
        torch.testing.assert_close(seen[0][row], x[row] / sqrt(total))
        assert seen[1][row].item() == pytest.approx(log(sigma) / 4, rel=1e-5)
        torch.testing.assert_close(x0[row], c_skip * x[row] + c_out * answer[row])


@pytest.mark.parametrize(("spec", "prediction", "_"), KINDS)
def test_training_asks_for_what_drawing_turns_into_the_picture(
    spec: ScheduleSpec, prediction: Prediction, _: str
) -> None:
    process = process_of(spec, prediction)
    x0, eps, t = spec.sigma_data * random(3, 4, 8, 8), random(3, 4, 8, 8, seed=1), torch.tensor([1, 400, 990])
    sigma = process.schedule.sigma_of(t)
    shown = process.noised(x0, eps, t)
    x = x0 + sigma.view(-1, 1, 1, 1) * eps
    torch.testing.assert_close(shown, process.shown(x, sigma))
    target = process.target(x0, eps, t)
    torch.testing.assert_close(process.clean(shown, target, sigma), x0, atol=2e-4, rtol=1e-4)
    assert target.std().item() == pytest.approx(1, abs=0.05)  # eq. 8 is chosen so that this holds


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("spec", "prediction", "_"), KINDS)
def test_every_sampler_draws_from_the_data_with_a_perfect_network(
    name: str, spec: ScheduleSpec, prediction: Prediction, _: str
) -> None:
    process, mean, std = process_of(spec, prediction), 0.3, 0.4

    def perfect(x: Tensor, sigma: float) -> Tensor:
        sigmas = torch.full((3,), sigma)
        x0 = mean + std**2 / (std**2 + sigma**2) * (x - mean)
        sign, data = {"edm": 1, "v": -1}[prediction], spec.sigma_data
        c_skip, c_out = data**2 / (data**2 + sigma**2), sign * sigma * data / sqrt(data**2 + sigma**2)
        answer = (x0 - c_skip * x) / c_out
        return process.denoiser(lambda *_: answer)(x, sigmas, COND)

    noise = PerImageNoise((0, 1, 2))
    eps = noise.draw(torch.empty(3, 4, 32, 32))
    sigmas = process.schedule.sigmas(150, "karras")
    *_, last = SAMPLERS[name](perfect, process.start(eps, sigmas[0]), sigmas, noise=noise)
    assert last.x.mean().item() == pytest.approx(mean, abs=0.05)
    assert last.x.std().item() == pytest.approx(std, rel=0.08)


def test_ladders_go_from_the_noisiest_level_to_the_cleanest() -> None:
    for spec in (PLAYGROUND, COSXL):
        sigmas = schedule_from(spec).sigmas(20, "karras")
        assert (sigmas[0], sigmas[-2]) == pytest.approx((spec.sigma_max, spec.sigma_min))
        roots = [sigma ** (1 / 7) for sigma in sigmas[:-1]]
        assert roots[9] - roots[10] == pytest.approx((roots[0] - roots[-1]) / 19)


@pytest.mark.parametrize(
    "numbers",
    [{"sigma_min": 0.0}, {"sigma_min": 90.0}, {"sigma_data": 0.0}, {"sigma_data": -0.5}, {"shift": 3.0}],
)
def test_levels_that_contradict_themselves_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(SpecError):
        schedule_from(ScheduleSpec(kind="edm", **numbers))


def test_such_a_network_needs_such_a_schedule() -> None:
    with pytest.raises(SpecError, match="needs a schedule of kind 'edm'"):
        process_of(ScheduleSpec(), "edm")


CHANNELS = random(4, 4, seed=8) / 2


def toy(z: Tensor, t: Tensor, *others: Tensor | None) -> Tensor:
    time = torch.as_tensor(t, dtype=torch.float32).reshape(-1, 1, 1, 1)
    mixed = torch.einsum("oc,bchw->bohw", CHANNELS, z) + z.roll(1, -1) * time
    return 0.8 * z + 0.3 * torch.tanh(mixed) + 0.1 * torch.sin(5 * time)


@pytest.mark.oracle
@pytest.mark.parametrize("spacing", ["karras", "exponential"])
@pytest.mark.parametrize(("spec", "prediction", "their_word"), KINDS)
def test_the_same_path_as_diffusers(
    spec: ScheduleSpec, prediction: Prediction, their_word: str, spacing: str
) -> None:
    diffusers = pytest.importorskip("diffusers")
    levels = {"sigma_min": spec.sigma_min, "sigma_max": spec.sigma_max, "sigma_data": spec.sigma_data}
    scheduler = diffusers.EDMEulerScheduler(**levels, prediction_type=their_word, sigma_schedule=spacing)
    scheduler.set_timesteps(20)
    process = process_of(spec, prediction)
    sigmas = process.schedule.sigmas(20, spacing)
    assert sigmas == pytest.approx(scheduler.sigmas.tolist(), rel=1e-5)
    start = process.start(random(1, 4, 8, 8, seed=7), sigmas[0])
    cond, theirs = Conditioning(torch.zeros(1, 1, 1)), start
    denoise = process.denoiser(toy)
    ours = SAMPLERS["euler"](
        lambda x, sigma: denoise(x, torch.full((1,), sigma), cond), start, sigmas, noise=PerImageNoise([0])
    )
    for step, t in zip(ours, scheduler.timesteps, strict=True):
        answer = toy(scheduler.scale_model_input(theirs, t), t)
        theirs = scheduler.step(answer, t, theirs).prev_sample
        assert ((step.x - theirs).norm() / theirs.norm()).item() < 1e-5
