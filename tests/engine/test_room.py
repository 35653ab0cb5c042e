"""The counts behind the estimates are those of the networks' live tensors."""

import pytest
import torch
from live_bytes import most_live_bytes
from torch import Tensor

from fromnoise.engine.room import LIBRARIES, MOST, SHARE, pictures_at_once, working_memory
from fromnoise.nets.attention import Attention
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.encoder import Encoder
from fromnoise.specs import SD15, SDXL, ModelSpec
from fromnoise.train.presets import MITE
from fromnoise.weights.native import Uninitialised

HALF = torch.float16


@pytest.fixture(autouse=True)
def fused(monkeypatch) -> None:
    """Attention as on a card: no table of scores."""

    def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> Tensor:
        return torch.empty_like(q)

    monkeypatch.setitem(Attention.__init__.__globals__, "attend", attend)


@pytest.mark.parametrize("spec", [SD15, SDXL, MITE], ids=lambda spec: spec.name)
def test_the_estimate_is_enough_and_not_twice_what_is_needed(spec: ModelSpec) -> None:
    side = spec.defaults.width // spec.vae.factor
    with torch.device("meta"), Uninitialised():
        unet, decoder = UNet(spec.unet).half(), Decoder(spec.vae).half()
        encoder = Encoder(spec.vae).half()
        latents = torch.empty(1, 4, side, side, dtype=HALF)
        pixels = torch.empty(1, 3, spec.defaults.width, spec.defaults.height, dtype=HALF)
        context = torch.empty(2, 77, spec.unet.context_width, dtype=HALF)
        pooled = torch.empty(2, spec.unet.pooled_width, dtype=HALF) if spec.unet.pooled_width else None
        times = torch.empty(1)
    drawing = most_live_bytes(lambda: unet(latents, times, context, pooled))
    painting = most_live_bytes(lambda: decoder(latents))
    seeing = most_live_bytes(lambda: encoder(pixels))
    needed = max(drawing, painting, seeing)
    guess = working_memory(spec, spec.defaults.width, spec.defaults.height, HALF.itemsize)
    assert needed <= guess / LIBRARIES <= 1.2 * needed


def test_as_many_pictures_as_fit_but_one_is_always_tried() -> None:
    assert pictures_at_once(free=0, each=10) == 1
    assert pictures_at_once(free=1000, each=10) == SHARE * 100
    assert pictures_at_once(free=10**12, each=10) == MOST


def test_a_larger_picture_takes_more_in_proportion() -> None:
    small, large = (working_memory(SD15, side, side, 2) for side in (512, 1024))
    assert large == 4 * small == 2 * working_memory(SD15, 1024, 1024, 1)
