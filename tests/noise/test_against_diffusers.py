"""The same toy network, the same noise: our samplers and diffusers' schedulers, latent by latent."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fromnoise.noise.denoiser import Conditioning, Process
from fromnoise.noise.guidance import scale_features
from fromnoise.noise.samplers import SAMPLERS, ddim
from fromnoise.noise.schedule import schedule_from
from fromnoise.noise.seeds import PerImageNoise
from fromnoise.specs import Prediction, ScheduleSpec

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.oracle

STEPS, TOLERANCE = 20, 1e-4
EPS = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
CHANNELS = torch.randn(4, 4, generator=torch.Generator().manual_seed(8)) / 2
BETAS = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
THEIR_WORDS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
KINDS = {
    "scaled_linear": ScheduleSpec(),
    "linear": ScheduleSpec(kind="linear", beta_start=0.0001, beta_end=0.02),
    "cosine": ScheduleSpec(kind="cosine"),
    "zero_terminal": ScheduleSpec(zero_terminal=True),
}


def toy(z: Tensor, t: Tensor | float, context: Tensor | None = None, pooled: Tensor | None = None) -> Tensor:
    """Neither linear nor blind to time, mixes channels and neighbours."""
    time = torch.as_tensor(t, dtype=torch.float32).reshape(-1, 1, 1, 1) / 1000
    mixed = torch.einsum("oc,bchw->bohw", CHANNELS, z) + z.roll(1, -1) * time
    return 0.8 * z + 0.3 * torch.tanh(mixed) + 0.1 * torch.sin(5 * time)


def ours(
    name: str, spec: ScheduleSpec, prediction: Prediction, spacing: str, **options: float
) -> list[Tensor]:
    """Our latents after each step, as the network would be shown them."""
    process = Process(schedule_from(spec), prediction)
    denoiser, cond = process.denoiser(toy), Conditioning(torch.zeros(1, 1, 1))
    sigmas = process.schedule.sigmas(STEPS, spacing)
    sampler: Callable[..., Any] = ddim if options else SAMPLERS[name]
    steps = sampler(
        lambda x, sigma: denoiser(x, torch.full((1,), sigma), cond),
        process.start(EPS, sigmas[0]),
        sigmas,
        noise=PerImageNoise([5]),
        **options,
    )
    return [process.shown(step.x, torch.full((1,), step.sigma_next)) for step in steps]


def theirs(scheduler: Any, *, ancestral: bool = False, **options: Any) -> list[Tensor]:
    """Their latents after each step, in units of unit variance."""
    if ancestral:
        options["generator"] = torch.Generator().manual_seed(5)  # the stream of seed 5 in PerImageNoise
    x, latents = EPS, []
    for t in scheduler.timesteps:
        x = scheduler.step(toy(x, t), t, x, **options).prev_sample
        latents.append(x)
    return latents


def theirs_exploding(scheduler: Any, *, calls: int, **options: Any) -> list[Tensor]:
    """The same for those schedulers whose latents are x0 + sigma * eps; Heun's are called twice a step."""
    sigmas = scheduler.sigmas
    x, latents = EPS * (1 + sigmas[0] ** 2) ** 0.5, []
    for t in scheduler.timesteps:
        x = scheduler.step(toy(scheduler.scale_model_input(x, t), t), t, x, **options).prev_sample
        latents.append(x)
    ends = latents if calls == 1 else [*latents[1::2], latents[-1]]
    levels = sigmas[1:] if calls == 1 else sigmas[1::2]
    return [x / (1 + sigma**2) ** 0.5 for x, sigma in zip(ends, levels, strict=True)]


def assert_same(mine: list[Tensor], other: list[Tensor]) -> None:
    assert len(mine) == len(other) == STEPS
    for i, (a, b) in enumerate(zip(mine, other, strict=True)):
        error = ((a - b).norm() / b.norm()).item()
        assert error <= TOLERANCE, f"step {i}: relative error {error:.2e}"


@pytest.mark.parametrize("kind", KINDS)
def test_noise_levels_of_training(kind: str) -> None:
    spec = KINDS[kind]
    name = {"cosine": "squaredcos_cap_v2"}.get(spec.kind, spec.kind)
    theirs = diffusers.DDIMScheduler(
        **BETAS | {"beta_start": spec.beta_start, "beta_end": spec.beta_end, "beta_schedule": name},
        rescale_betas_zero_snr=spec.zero_terminal,
    )
    # as alpha_bar: they keep that, and in float32, which leaves few digits of the smallest sigmas
    alpha_bar = 1 / (1 + schedule_from(spec).sigma_of(torch.arange(1000, dtype=torch.float64)) ** 2)
    torch.testing.assert_close(alpha_bar, theirs.alphas_cumprod.double(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_training_shows_and_asks_the_same(prediction: Prediction) -> None:
    process = Process(schedule_from(ScheduleSpec()), prediction)
    scheduler = diffusers.DDPMScheduler(**BETAS)
    x0, t = EPS.flip(-1).expand(3, -1, -1, -1), torch.tensor([0, 400, 999])
    eps = EPS.expand(3, -1, -1, -1)
    torch.testing.assert_close(
        process.noised(x0, eps, t), scheduler.add_noise(x0, eps, t), atol=1e-5, rtol=1e-5
    )
    target = eps if prediction == "eps" else scheduler.get_velocity(x0, eps, t)
    torch.testing.assert_close(process.target(x0, eps, t), target, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("spacing", "options"),
    [
        ("leading", {"timestep_spacing": "leading", "steps_offset": 1}),
        ("linspace", {"timestep_spacing": "linspace"}),
        ("trailing", {"timestep_spacing": "trailing"}),
        ("karras", {"use_karras_sigmas": True, "timestep_spacing": "linspace"}),
        ("exponential", {"use_exponential_sigmas": True, "timestep_spacing": "linspace"}),
    ],
)
@pytest.mark.parametrize("steps", [2, 4, 20, 30])
def test_spacings(spacing: str, options: dict[str, Any], steps: int) -> None:
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS, **options)
    scheduler.set_timesteps(steps)
    sigmas = schedule_from(ScheduleSpec()).sigmas(steps, spacing)
    assert sigmas == pytest.approx(scheduler.sigmas.tolist(), rel=1e-4)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(prediction: Prediction, spacing: str, eta: float) -> None:
    scheduler = diffusers.DDIMScheduler(
        **BETAS,
        prediction_type=THEIR_WORDS[prediction],
        timestep_spacing=spacing,
        steps_offset=int(spacing == "leading"),
        clip_sample=False,
    )
    scheduler.set_timesteps(STEPS)
    expected = theirs(scheduler, ancestral=eta > 0, eta=eta)
    assert_same(ours("ddim", ScheduleSpec(), prediction, spacing, eta=eta), expected)


@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_ddim_from_pure_noise(prediction: Prediction) -> None:
    scheduler = diffusers.DDIMScheduler(
        **BETAS,
        prediction_type=THEIR_WORDS[prediction],
        timestep_spacing="trailing",
        clip_sample=False,
        rescale_betas_zero_snr=True,
    )
    scheduler.set_timesteps(STEPS)
    assert_same(ours("ddim", ScheduleSpec(zero_terminal=True), prediction, "trailing"), theirs(scheduler))


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddpm(prediction: Prediction, spacing: str) -> None:
    scheduler = diffusers.DDPMScheduler(
        **BETAS,
        prediction_type=THEIR_WORDS[prediction],
        timestep_spacing=spacing,
        steps_offset=int(spacing == "leading"),
        clip_sample=False,
    )
    scheduler.set_timesteps(STEPS)
    assert_same(ours("ddpm", ScheduleSpec(), prediction, spacing), theirs(scheduler, ancestral=True))


@pytest.mark.parametrize(
    ("name", "their_name", "calls"),
    [
        ("euler", "EulerDiscreteScheduler", 1),
        ("euler_a", "EulerAncestralDiscreteScheduler", 1),
        ("heun", "HeunDiscreteScheduler", 2),
    ],
)
@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_samplers_of_karras_and_friends(
    name: str, their_name: str, calls: int, prediction: Prediction, spacing: str
) -> None:
    scheduler = getattr(diffusers, their_name)(
        **BETAS,
        prediction_type=THEIR_WORDS[prediction],
        timestep_spacing=spacing,
        steps_offset=int(spacing == "leading"),
    )
    scheduler.set_timesteps(STEPS)
    noise = {"generator": torch.Generator().manual_seed(5)} if name == "euler_a" else {}
    expected = theirs_exploding(scheduler, calls=calls, **noise)
    assert_same(ours(name, ScheduleSpec(), prediction, spacing), expected)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_dpmpp_2m(prediction: Prediction) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **BETAS,
        prediction_type=THEIR_WORDS[prediction],
        timestep_spacing="trailing",
        algorithm_type="dpmsolver++",
        solver_order=2,
    )
    scheduler.set_timesteps(STEPS)
    assert_same(ours("dpmpp_2m", ScheduleSpec(), prediction, "trailing"), theirs(scheduler))


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_lcm(prediction: Prediction) -> None:
    scheduler = diffusers.LCMScheduler(
        **BETAS, prediction_type=THEIR_WORDS[prediction], clip_sample=False, timestep_scaling=10.0
    )
    scheduler.set_timesteps(STEPS, original_inference_steps=STEPS)  # theirs are the trailing ones then
    expected = theirs(scheduler, ancestral=True)
    assert_same(ours("lcm", ScheduleSpec(), prediction, "trailing"), expected)


def test_what_lcm_leaves_out_is_next_to_nothing_at_the_times_of_its_networks() -> None:
    scheduler = diffusers.LCMScheduler(**BETAS)
    scheduler.set_timesteps(50)  # all that distillation has seen
    skip, out = scheduler.get_scalings_for_boundary_condition_discrete(scheduler.timesteps.min())
    assert scheduler.timesteps.min() == 19
    assert abs(skip) < 1e-5
    assert abs(1 - out) < 1e-5


@pytest.mark.parametrize("scale", [1.0, 7.5, 8.5])
def test_a_distilled_network_is_told_the_guidance_as_theirs(scale: float) -> None:
    told = diffusers.LatentConsistencyModelPipeline.get_guidance_scale_embedding(
        None, torch.tensor([scale - 1.0]), embedding_dim=256
    )
    torch.testing.assert_close(scale_features(scale, 256), told, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_on_a_flow(shift: float) -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / STEPS, STEPS).tolist())
    spec = replace(ScheduleSpec(kind="flow"), shift=shift)
    assert_same(ours("euler", spec, "flow", "uniform"), theirs(scheduler))
