"""Networks whose answer is analytically right, of whatever prediction type, must all lead to the same x0."""

import pytest
import torch
from torch import Tensor

from fromnoise.errors import SpecError
from fromnoise.noise.denoiser import Conditioning, Process
from fromnoise.noise.guidance import guided
from fromnoise.noise.samplers import SAMPLERS
from fromnoise.noise.schedule import PURE_NOISE, schedule_from
from fromnoise.noise.seeds import PerImageNoise
from fromnoise.specs import SD15, SD21, SDXL, TINY, Prediction, ScheduleSpec

CURVED, ZERO, FLOW = ScheduleSpec(), ScheduleSpec(zero_terminal=True), ScheduleSpec(kind="flow")
PROCESSES: list[tuple[ScheduleSpec, Prediction]] = [
    (CURVED, "eps"),
    (CURVED, "v"),
    (CURVED, "x0"),
    (ZERO, "v"),
    (ZERO, "x0"),
    (FLOW, "flow"),
    (FLOW, "x0"),
    (FLOW, "v"),
]
COND = Conditioning(torch.zeros(3, 2, 5))


def process_of(spec: ScheduleSpec, prediction: Prediction) -> Process:
    return Process(schedule_from(spec), prediction)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def weights(spec: ScheduleSpec, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """How much picture and how much noise the network is shown, from first principles."""
    sigma = sigma.double().view(-1, 1, 1, 1)
    whole = 1 + sigma if spec.kind == "flow" else (1 + sigma**2).sqrt()
    return (1 / whole).float(), (sigma / whole).float()


def right_answer(prediction: Prediction, x0: Tensor, eps: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return {"eps": eps, "x0": x0, "v": a * eps - b * x0, "flow": eps - x0}[prediction]


@pytest.mark.parametrize(("spec", "prediction"), PROCESSES)
def test_the_right_answer_leads_to_the_same_x0_for_every_prediction_type(
    spec: ScheduleSpec, prediction: Prediction
) -> None:
    x0, eps, sigma = random(3, 4, 8, 8), random(3, 4, 8, 8, seed=1), torch.tensor([0.05, 1.0, 12.0])
    a, b = weights(spec, sigma)

    def unet(z: Tensor, t: Tensor, context: Tensor, pooled: Tensor | None) -> Tensor:
        torch.testing.assert_close(z, a * x0 + b * eps)
        torch.testing.assert_close(t, process.schedule.t_of(sigma))
        assert context is COND.context
        return right_answer(prediction, x0, eps, a, b)

    process = process_of(spec, prediction)
    x = x0 + sigma.view(-1, 1, 1, 1) * eps
    torch.testing.assert_close(process.denoiser(unet)(x, sigma, COND), x0, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("spec", "prediction"), PROCESSES)
def test_training_and_sampling_mean_the_same_by_target_and_answer(
    spec: ScheduleSpec, prediction: Prediction
) -> None:
    process = process_of(spec, prediction)
    x0, eps = random(3, 4, 8, 8), random(3, 4, 8, 8, seed=1)
    t = torch.tensor([1.0, 400.0, 990.0])
    sigma = process.schedule.sigma_of(t)
    shown, target = process.noised(x0, eps, t), process.target(x0, eps, t)
    a, b = weights(spec, sigma)
    torch.testing.assert_close(shown, a * x0 + b * eps)
    torch.testing.assert_close(target, right_answer(prediction, x0, eps, a, b))
    torch.testing.assert_close(process.clean(shown, target, sigma), x0, atol=1e-4, rtol=1e-4)


def test_flow_is_trained_on_the_straight_line_and_its_velocity() -> None:
    process = process_of(FLOW, "flow")
    x0, eps, t = random(2, 4, 8, 8), random(2, 4, 8, 8, seed=1), torch.tensor([300.0, 1000.0])
    part = (t / 1000).view(-1, 1, 1, 1)
    torch.testing.assert_close(process.noised(x0, eps, t), (1 - part) * x0 + part * eps)
    torch.testing.assert_close(process.target(x0, eps, t), eps - x0)


def gaussian_unet(spec: ScheduleSpec, prediction: Prediction, mean: float, std: float):
    """The perfect network for data N(mean, std^2): it answers with expectations, which are linear in z."""
    schedule = schedule_from(spec)

    def unet(z: Tensor, t: Tensor, context: Tensor, pooled: Tensor | None) -> Tensor:
        a, b = weights(spec, schedule.sigma_of(t))
        deviation = (z - a * mean) / (a**2 * std**2 + b**2)
        return right_answer(prediction, mean + a * std**2 * deviation, b * deviation, a, b)

    return unet


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("spec", "prediction"), PROCESSES)
def test_every_sampler_draws_from_the_data_with_a_perfect_network(
    name: str, spec: ScheduleSpec, prediction: Prediction
) -> None:
    mean, std = 0.5, 0.8
    process = process_of(spec, prediction)
    denoiser = process.denoiser(gaussian_unet(spec, prediction, mean, std))
    noise = PerImageNoise((0, 1, 2))
    like = torch.empty(3, 4, 32, 32)
    eps = noise.draw(like)
    sigmas = process.schedule.sigmas(40, "uniform")
    *_, last = SAMPLERS[name](
        lambda x, sigma: denoiser(x, torch.full((3,), sigma), COND),
        process.start(eps, sigmas[0]),
        sigmas,
        noise=noise,
    )
    assert last.x.mean().item() == pytest.approx(mean, abs=0.05)
    assert last.x.std().item() == pytest.approx(std, rel=0.08)
    if name not in ("ddpm", "euler_a"):  # the path is certain: noise eps becomes the picture mean + std * eps
        torch.testing.assert_close(last.x, mean + std * eps, atol=0.3, rtol=0)


@pytest.mark.parametrize("latents", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("spec", "prediction"), [(ZERO, "v"), (FLOW, "flow")])
def test_at_the_start_the_network_sees_the_noise_itself_and_the_last_time(
    spec: ScheduleSpec, prediction: Prediction, latents: torch.dtype
) -> None:
    process = process_of(spec, prediction)
    eps = random(3, 4, 8, 8).to(latents)
    seen: list[Tensor] = []

    def unet(z: Tensor, t: Tensor, context: Tensor, pooled: Tensor | None) -> Tensor:
        seen.extend((z, t))
        return torch.zeros_like(z)

    x = process.start(eps, PURE_NOISE).to(latents)
    x0 = process.denoiser(unet)(x, torch.full((3,), PURE_NOISE), COND)
    assert torch.equal(seen[0], eps)
    assert torch.equal(seen[1], torch.full((3,), float(process.schedule.times[-1])))
    assert x0.isfinite().all()


def test_the_start_of_stable_diffusion_has_unit_variance_in_the_networks_eyes() -> None:
    process = Process.of(SD15)
    eps = random(2, 4, 8, 8)
    x = process.start(eps, process.schedule.sigma_max)
    torch.testing.assert_close(x, eps * (1 + 14.614641**2) ** 0.5)
    torch.testing.assert_close(process.shown(x, torch.full((2,), process.schedule.sigma_max)), eps)


def test_the_network_works_in_its_own_type_and_the_rest_in_float32() -> None:
    process = process_of(CURVED, "eps")
    seen: list[Tensor] = []

    def unet(z: Tensor, t: Tensor, context: Tensor, pooled: Tensor | None) -> Tensor:
        seen.extend((z, t))
        return z

    denoiser = process.denoiser(unet, dtype=torch.bfloat16)
    assert denoiser(random(3, 4, 8, 8), torch.ones(3), COND).dtype == torch.float32
    assert [tensor.dtype for tensor in seen] == [torch.bfloat16, torch.float32]
    assert process.denoiser(unet)(random(3, 4, 8, 8).bfloat16(), torch.ones(3), COND).dtype == torch.bfloat16
    assert seen[2].dtype == torch.bfloat16


@pytest.mark.parametrize(("spec", "prediction"), PROCESSES)
def test_all_arithmetic_happens_where_the_latents_are(spec: ScheduleSpec, prediction: Prediction) -> None:
    process = process_of(spec, prediction)
    cond = Conditioning(COND.context.to("meta"))  # the meta device refuses to meet tensors of any other
    x = process.start(PerImageNoise((0, 1, 2)).draw(torch.empty(3, 4, 8, 8, device="meta")), 9.0)
    denoise = guided(process.denoiser(lambda z, *_: z), cond, cond, 7.5, rescale=0.7)
    for sampler in SAMPLERS.values():
        for step in sampler(denoise, x, [9.0, 3.0, 0.0], noise=lambda like, *_: torch.empty_like(like)):
            assert step.x.device.type == "meta"
    t = torch.empty(3, device="meta")
    assert process.target(process.noised(x, x, t), x, t).shape == x.shape


def test_bfloat16_latents_do_not_round_the_weights() -> None:
    process = process_of(CURVED, "eps")
    x = random(1, 4, 8, 8).bfloat16()
    answer = process.denoiser(lambda z, *_: torch.zeros_like(z))(x, torch.tensor([3.3]), COND)
    torch.testing.assert_close(answer, x)  # no noise predicted: nothing may change


@pytest.mark.parametrize("spec", [SD15, SD21, SDXL, TINY], ids=lambda spec: spec.name)
def test_every_family_has_a_process(spec) -> None:
    assert Process.of(spec).prediction == spec.prediction


@pytest.mark.parametrize(
    ("spec", "prediction", "message"),
    [
        (CURVED, "flow", "needs a schedule of kind 'flow'"),
        (FLOW, "eps", "pure noise"),
        (ZERO, "eps", "pure noise"),
        (CURVED, "epsilon", "unknown prediction type 'epsilon'"),
    ],
)
def test_contradicting_pairs_are_refused(spec: ScheduleSpec, prediction: Prediction, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        process_of(spec, prediction)


def test_conditionings_join_row_by_row() -> None:
    a, b = random(2, 7, 5), random(1, 7, 5, seed=1)
    both = Conditioning(a, a[:, 0]).cat(Conditioning(b, b[:, 0]))
    assert torch.equal(both.context, torch.cat([a, b]))
    assert both.pooled is not None
    assert torch.equal(both.pooled, torch.cat([a[:, 0], b[:, 0]]))
    assert Conditioning(a).cat(Conditioning(b)).pooled is None
    with pytest.raises(AssertionError, match="pooled"):
        Conditioning(a, a[:, 0]).cat(Conditioning(b))


def test_what_is_told_beside_the_text_joins_too() -> None:
    text, scale, picture = random(1, 7, 5), random(1, 6), random(1, 5, 8, 8)
    one = Conditioning(text, None, scale, picture)
    many = one.cat(one.expand(2))
    assert many.guidance is not None
    assert many.beside is not None
    assert (many.context.shape, many.guidance.shape, many.beside.shape) == ((3, 7, 5), (3, 6), (3, 5, 8, 8))
    assert torch.equal(many.beside[2], picture[0])
    with pytest.raises(AssertionError, match="beside"):
        one.cat(Conditioning(text, None, scale))


def test_channels_beside_the_latents_are_shown_as_they_are() -> None:
    seen: list[Tensor] = []

    def unet(z: Tensor, t: Tensor, context: Tensor, pooled: None, guidance: Tensor) -> Tensor:
        seen.extend((z, guidance))
        return torch.zeros_like(z[:, :4])

    process, x, picture, scale = (
        process_of(CURVED, "eps"),
        random(3, 4, 8, 8),
        random(3, 5, 8, 8),
        random(3, 6),
    )
    cond = Conditioning(COND.context, None, scale, picture)
    x0 = process.denoiser(unet)(x, torch.full((3,), 5.0), cond)
    assert x0.shape == x.shape
    assert torch.equal(seen[0][:, :4], process.shown(x, torch.full((3,), 5.0)))
    assert torch.equal(seen[0][:, 4:], picture)
    assert seen[1] is scale


def test_one_prompt_serves_many_pictures() -> None:
    context = random(1, 7, 5)
    many = Conditioning(context, context[:, 0]).expand(4)
    assert many.pooled is not None
    assert many.context.shape == (4, 7, 5)
    assert torch.equal(many.context[3], context[0])
    assert torch.equal(many.pooled[3], context[0, 0])
