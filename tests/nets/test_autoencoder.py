from dataclasses import replace
from math import exp, log

import pytest
import torch
from parity import noise

from fromnoise.errors import RequestError
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.encoder import LOG_VARIANCE_RANGE, Encoder, LatentGaussian
from fromnoise.nets.latents import scale_latents, unscale_latents
from fromnoise.specs import SD15, TINY, VaeSpec

SPECS = [
    pytest.param(TINY.vae, 8, id="tiny"),
    pytest.param(replace(TINY.vae, multipliers=(1, 2, 4), patch=2, latent_channels=6), 8, id="patches"),
    pytest.param(replace(TINY.vae, multipliers=(1, 2)), 2, id="shallow"),
]


@pytest.mark.parametrize(("spec", "factor"), SPECS)
def test_a_latent_spans_factor_by_factor_pixels(spec: VaeSpec, factor: int) -> None:
    torch.manual_seed(0)
    latents = Encoder(spec)(noise(2, 3, 64, 48))
    assert spec.factor == factor
    assert latents.mean.shape == latents.log_variance.shape
    assert latents.mean.shape == (2, spec.latent_channels, 64 // factor, 48 // factor)
    assert Decoder(spec)(latents.mean).shape == (2, 3, 64, 48)


@pytest.mark.parametrize(("height", "width"), [(64, 65), (65, 64), (4, 64)])
def test_the_encoder_refuses_sizes_that_do_not_divide(height: int, width: int) -> None:
    with pytest.raises(RequestError, match=f"{width}x{height} does not divide by 8"):
        Encoder(TINY.vae)(noise(1, 3, height, width))


def test_the_logarithm_of_the_variance_stays_in_range() -> None:
    encoder = Encoder(TINY.vae).requires_grad_(False)
    encoder.to_gaussian.weight.zero_()
    for bias, wanted in ((-99.0, LOG_VARIANCE_RANGE[0]), (99.0, LOG_VARIANCE_RANGE[1]), (1.5, 1.5)):
        encoder.to_gaussian.bias.fill_(bias)  # type: ignore[union-attr]
        latents = encoder(noise(1, 3, 16, 16))
        assert latents.log_variance.unique().tolist() == [wanted]
        assert latents.mean.unique().tolist() == [bias]


def test_a_sample_is_the_mean_and_noise_times_the_standard_deviation() -> None:
    mean, draw = noise(1, 4, 2, 3), noise(1, 4, 2, 3, seed=2)
    gaussian = LatentGaussian(mean, torch.full_like(mean, log(9)))
    torch.testing.assert_close(gaussian.sample(draw), mean + 3 * draw)
    assert torch.equal(gaussian.sample(torch.zeros_like(mean)), mean)


def test_many_samples_have_the_mean_and_variance_they_were_asked_for() -> None:
    mean, log_variance = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), -1.0)
    samples = LatentGaussian(mean, log_variance).sample(noise(100_000, 1, 1, 1))
    assert samples.mean().item() == pytest.approx(2.0, abs=0.01)
    assert samples.var().item() == pytest.approx(exp(-1.0), rel=0.02)


def test_stable_diffusion_only_multiplies_its_latents() -> None:
    z = noise(2, 4, 3, 5)
    torch.testing.assert_close(scale_latents(SD15.vae, z), 0.18215 * z)


MEASURED = replace(
    TINY.vae, latent_scale=1.0, latent_mean=(1.0, -2.0, 0.0, 30.0), latent_std=(2.0, 0.5, 1.0, 9.0)
)


@pytest.mark.parametrize("spec", [SD15.vae, MEASURED, replace(MEASURED, latent_scale=0.7)])
def test_unscaling_undoes_scaling(spec: VaeSpec) -> None:
    z = noise(2, 4, 3, 5)
    torch.testing.assert_close(unscale_latents(spec, scale_latents(spec, z)), z)
    torch.testing.assert_close(scale_latents(spec, unscale_latents(spec, z)), z)


def test_measured_latents_become_standard_normal_channel_by_channel() -> None:
    mean, std = (torch.tensor(x)[:, None, None] for x in (MEASURED.latent_mean, MEASURED.latent_std))
    standard = noise(1, 4, 8, 8)
    torch.testing.assert_close(scale_latents(MEASURED, mean + std * standard), standard, atol=1e-5, rtol=0)
