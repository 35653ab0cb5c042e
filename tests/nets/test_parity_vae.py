"""Our encoder and decoder against the autoencoder of diffusers."""

from dataclasses import replace

import pytest
import torch
from mapping import vae_names
from network_errors import vae_error
from parity import TOLERANCE, share_weights
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
    assert vae_error(ours["encoder"], ours["decoder"], theirs, spec, (96, 128)) <= TOLERANCE
