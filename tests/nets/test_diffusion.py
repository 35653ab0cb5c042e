from dataclasses import replace

import pytest
import torch
from parity import noise

from fromnoise.errors import RequestError
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import SD15, SD21, SDXL, TINY, UNetSpec

TIMES = torch.tensor([10.0, 900.0])
LATENTS, CONTEXT = noise(2, 4, 8, 8), noise(2, 5, TINY.unet.context_width, seed=2)


def network(spec: UNetSpec = TINY.unet) -> UNet:
    torch.manual_seed(0)
    return UNet(spec).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        pytest.param(SD15.unet, 859_520_964, id="sd15"),
        pytest.param(SD21.unet, 865_910_724, id="sd21"),
        pytest.param(SDXL.unet, 2_567_463_684, id="sdxl"),
    ],
)
def test_the_unet_has_as_many_parameters_as_the_published_weights(spec: UNetSpec, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(spec).parameters()) == parameters


def test_a_latent_is_answered_the_same_in_any_batch() -> None:
    unet = network()
    both = unet(LATENTS, TIMES, CONTEXT)
    alone = unet(LATENTS[1:], TIMES[1:], CONTEXT[1:])
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("what", ["latents", "timesteps", "context", "pooled", "guidance"])
def test_everything_it_is_told_matters(what: str) -> None:
    unet = network(replace(TINY.unet, pooled_width=6, guidance_width=10))
    told = {
        "latents": LATENTS,
        "timesteps": TIMES,
        "context": CONTEXT,
        "pooled": noise(2, 6),
        "guidance": noise(2, 10),
    }
    other = told | {what: told[what] + 1}
    assert not torch.allclose(unet(**told), unet(**other), rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (9, 13), (8, 16)])
def test_the_answer_has_the_size_of_the_question(size: tuple[int, int]) -> None:
    assert network()(noise(2, 4, *size), TIMES, CONTEXT).shape == (2, 4, *size)


@pytest.mark.parametrize(
    ("needs", "message"),
    [({"pooled_width": 6}, "pooled text vector"), ({"guidance_width": 6}, "guidance scale")],
)
def test_a_model_asks_for_what_it_needs(needs: dict[str, int], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        network(replace(TINY.unet, **needs))(LATENTS, TIMES, CONTEXT)
