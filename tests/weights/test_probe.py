"""The probe tells eps from v on networks that were trained both ways, and is silent about all others."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from families import UNETS, tiny
from torch import Tensor, nn

from fromnoise.nets.diffusion import UNet
from fromnoise.noise.denoiser import Process
from fromnoise.noise.schedule import schedule_from
from fromnoise.specs import Prediction, ScheduleSpec, UNetSpec
from fromnoise.weights import probe as module
from fromnoise.weights.probe import Probe, probe

SMALL = UNetSpec(
    base_width=16, multipliers=(1,), down=((0,),), mid=None, up=((0, 0),), groups=4, heads=2, context_width=8
)
LARGER = replace(SMALL, multipliers=(1, 2), down=((0,), (1,)), mid=0, up=((1, 1), (0, 0)))
KINDS: list[tuple[Prediction, bool]] = [("eps", False), ("v", False), ("v", True)]


# --- networks that answer perfectly ---


class Perfect(nn.Module):
    """Knows that the picture is blank."""

    def __init__(self, prediction: Prediction, zero_terminal: bool, spec: UNetSpec = SMALL) -> None:
        super().__init__()
        self.spec, self.prediction = spec, prediction
        self.schedule = schedule_from(ScheduleSpec(zero_terminal=zero_terminal))
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[Tensor | None, ...]] = []

    def forward(self, z: Tensor, t: Tensor, *others: Tensor | None) -> Tensor:
        self.seen.append((z, t, *others))
        sigma = self.schedule.sigma_of(t).view(-1, 1, 1, 1)
        a = (1 + sigma**2).rsqrt()
        eps = z[:, :4] / (a * sigma)
        return {"eps": eps, "v": a * eps, "x0": 0 * eps}[self.prediction].to(z.dtype)


@pytest.mark.parametrize("zero_terminal", [False, True])
def test_perfect_networks_are_told_apart(zero_terminal: bool) -> None:
    eps, v, x0 = (probe(Perfect(p, zero_terminal)) for p in ("eps", "v", "x0"))  # type: ignore[arg-type]
    assert (eps.prediction, v.prediction, x0.prediction) == ("eps", "v", None)
    assert (eps.last, eps.middle) == pytest.approx((1, 1), abs=0.03)
    assert (v.last, v.middle) == pytest.approx((0.0, 0.5) if zero_terminal else (0.068, 0.526), abs=0.03)
    assert (x0.last, x0.middle) == (0, 0)


def test_what_the_probe_shows_is_noise_as_the_schedule_makes_it() -> None:
    net = Perfect("eps", False)
    probe(net)  # type: ignore[arg-type]
    for (z, t, *_), level in zip(net.seen, (1.0, module.MIDDLE_NOISE), strict=True):
        assert z is not None
        assert t is not None
        sigma = net.schedule.sigma_of(t)[0]
        assert z.std().item() == pytest.approx(level, abs=0.03)
        assert (sigma / (1 + sigma**2).sqrt()).item() == pytest.approx(level, abs=3e-3)
    sigma = net.schedule.sigma_of(torch.tensor([float(module.MIDDLE)]))
    assert ((1 + sigma**2).rsqrt()).item() == pytest.approx(module.MIDDLE_SIGNAL, abs=1e-3)


def test_what_else_a_network_is_shown_is_neutral() -> None:
    inpaint = Perfect("eps", False, replace(SMALL, in_channels=9))
    assert probe(inpaint).prediction == "eps"  # type: ignore[arg-type]
    z = inpaint.seen[0][0]
    assert z is not None
    assert z.shape == (2, 9, 16, 16)
    assert (z[:, 4] == 1).all()  # all is to be drawn
    assert (z[:, 5:] == 0).all()
    edit = Perfect("v", False, replace(SMALL, in_channels=8, pooled_width=6, guidance_width=3))
    assert probe(edit).prediction == "v"  # type: ignore[arg-type]
    z, _, context, pooled, guidance = edit.seen[0]
    assert z is not None
    assert (z[:, 4:] == 0).all()
    assert [x is not None and (tuple(x.shape), x.any().item()) for x in (context, pooled, guidance)] == [
        ((2, 77, 8), False),
        ((2, 6), False),
        ((2, 3), False),
    ]


def test_the_text_of_an_empty_prompt_is_shown_where_it_is_given() -> None:
    net = Perfect("eps", False, replace(SMALL, pooled_width=6))
    context, pooled = torch.randn(1, 7, 8), torch.randn(1, 6)
    probe(net, context, pooled)  # type: ignore[arg-type]
    assert torch.equal(net.seen[0][2], context.expand(2, -1, -1))  # type: ignore[arg-type]
    assert torch.equal(net.seen[0][3], pooled.expand(2, -1))  # type: ignore[arg-type]


# --- networks that nothing can be said of ---


@pytest.mark.parametrize("name", ["sd1", "sd1 inpaint", "lcm", "sdxl", "koala 1b", "sdxs"])
def test_untrained_networks_are_undecided(name: str) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        net = UNet(tiny(UNETS[name]))
        answer = probe(net)
        assert max(abs(answer.last), abs(answer.middle)) < 0.1
        assert answer.prediction is None
    nn.init.zeros_(net.leave.weight)
    nn.init.zeros_(net.leave.bias)
    assert probe(net) == Probe(0, 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_is_asked_in_its_own_type(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = UNet(SMALL)
    whole, half = probe(net), probe(net.to(dtype))
    assert (half.last, half.middle) == pytest.approx((whole.last, whole.middle), abs=0.02)


@pytest.mark.parametrize(
    ("last", "middle", "prediction"),
    [
        (1.0, 1.0, "eps"),
        (0.71, 0.71, "eps"),
        (0.69, 0.9, None),
        (0.9, 0.5, None),
        (0.5, 0.6, None),
        (0.31, 0.5, None),
        (0.29, 0.5, "v"),
        (0.0, 0.53, "v"),
        (0.0, 0.2, None),
        (-0.5, 0.5, None),
        (0.0, -0.5, None),
        (float("nan"), float("nan"), None),
    ],
)
def test_the_band_between_is_undecided(last: float, middle: float, prediction: str | None) -> None:
    assert Probe(last, middle).prediction == prediction


# --- trained networks ---


def pictures(count: int, generator: torch.Generator) -> Tensor:
    """Smooth, of about unit variance, off centre: as latents are."""
    smooth = F.interpolate(torch.randn(count, 4, 3, 3, generator=generator), (16, 16), mode="bilinear")
    return smooth + torch.tensor([0.5, -0.5, 0.3, 0.0]).view(1, 4, 1, 1)


def trained(spec: UNetSpec, prediction: Prediction, zero_terminal: bool, seed: int, steps: int) -> UNet:
    torch.manual_seed(seed)
    net, generator = UNet(spec), torch.Generator().manual_seed(seed)
    process = Process(schedule_from(ScheduleSpec(zero_terminal=zero_terminal)), prediction)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    context = torch.zeros(8, 2, spec.context_width)
    for _ in range(steps):
        x0 = pictures(8, generator)
        eps, t = torch.randn(x0.shape, generator=generator), torch.rand(8, generator=generator) * 999
        loss = F.mse_loss(net(process.noised(x0, eps, t), t, context), process.target(x0, eps, t))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net


@pytest.mark.parametrize(("prediction", "zero_terminal"), KINDS)
def test_a_trained_network_is_told_apart(prediction: Prediction, zero_terminal: bool) -> None:
    assert probe(trained(SMALL, prediction, zero_terminal, 0, 100)).prediction == prediction


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("spec", [SMALL, LARGER], ids=["small", "larger"])
def test_many_trained_networks_are_told_apart(spec: UNetSpec, seed: int) -> None:
    for prediction, zero_terminal in KINDS:
        answer = probe(trained(spec, prediction, zero_terminal, seed, 200))
        assert answer.prediction == prediction, answer
    assert probe(trained(spec, "x0", False, seed, 200)).prediction is None
