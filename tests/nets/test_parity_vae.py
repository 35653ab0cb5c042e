"""Our encoder and decoder against the autoencoder of diffusers."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from mapping import vae_names
from parity import TOLERANCE, noise, relative_error, share_weights
from peers import vae
from torch import nn

from fromnoise.nets.decoder import Decoder
from fromnoise.nets.encoder import Encoder
from fromnoise.specs import SD15, TINY, VaeSpec

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.oracle


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(TINY.vae, id="tiny"),
        pytest.param(replace(TINY.vae, multipliers=(1, 2), blocks=1, latent_channels=6), id="shallow"),
        pytest.param(replace(TINY.vae, mid_attention=False), id="without attention"),
        pytest.param(replace(TINY.vae, patch=2, multipliers=(1, 2, 4)), id="patches"),
        pytest.param(SD15.vae, id="full", marks=pytest.mark.slow),  # the same network in SD 2.x and SDXL
    ],
)
def test_the_autoencoder_is_that_of_stable_diffusion(spec: VaeSpec) -> None:
    theirs = vae(spec)
    with torch.device("meta"):
        ours = nn.ModuleDict({"encoder": Encoder(spec), "decoder": Decoder(spec)})
    share_weights(theirs, ours, vae_names(spec))

    pixels = noise(1, 3, 96, 128)
    found = ours["encoder"](pixels)
    wanted = theirs.encode(F.pixel_unshuffle(pixels, spec.patch)).latent_dist
    assert relative_error(found.mean, wanted.mean) <= TOLERANCE
    assert relative_error(found.log_variance, wanted.logvar) <= TOLERANCE

    latents = noise(*found.mean.shape)
    painted = F.pixel_shuffle(theirs.decode(latents).sample, spec.patch)
    assert painted.shape == pixels.shape
    assert relative_error(ours["decoder"](latents), painted) <= TOLERANCE
