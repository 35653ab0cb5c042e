"""Our U-Net against that of diffusers, in the shape of every family."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from mapping import unet_names
from network_errors import unet_error
from parity import TOLERANCE, share_weights
from peers import NUMBER_WIDTH, unet

from fromnoise.nets.blocks import time_features
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import SD15, SD21, SDXL, UNetSpec

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.oracle

# What SDXL is told about the picture: six numbers (sizes, crop), as features, behind the pooled text vector.
POOLED_TEXT, NUMBERS, FEATURES = 24, 6, 8


def small(spec: UNetSpec, **changes: Any) -> UNetSpec:
    return replace(spec, base_width=16, groups=4, context_width=24, **changes)


SD1, SD2 = small(SD15.unet), small(SD21.unet, head_width=8)
XL = small(
    SDXL.unet,
    down=((0, 0), (1, 1), (2, 2)),
    mid=2,
    up=((2, 2, 2), (1, 1, 1), (0, 0, 0)),
    head_width=8,
    pooled_width=POOLED_TEXT + NUMBERS * FEATURES,
)
SHORT = small(SD15.unet, mid=None, down=((1,), (1,), (1,), (1,)), up=((1, 1),) * 4)
SQUARE, ODD = (16, 16), (9, 13)  # nine and thirteen do not halve: diffusers' "upsample_size"

CASES = [
    pytest.param(SD1, SQUARE, id="sd1"),
    pytest.param(SD1, ODD, id="sd1 odd"),
    pytest.param(SD2, SQUARE, id="sd2"),
    pytest.param(XL, SQUARE, id="sdxl"),
    pytest.param(XL, ODD, id="sdxl odd"),
    pytest.param(replace(SD1, in_channels=9), (8, 16), id="inpaint"),
    pytest.param(replace(SD1, guidance_width=20), SQUARE, id="lcm"),
    pytest.param(SHORT, SQUARE, id="without middle"),
    pytest.param(SD15.unet, (32, 32), id="full sd1", marks=pytest.mark.slow),
    pytest.param(SD21.unet, (32, 32), id="full sd2", marks=pytest.mark.slow),
    pytest.param(SDXL.unet, (32, 32), id="full sdxl", marks=pytest.mark.slow),  # 11 GB of memory
]


def feature_width(spec: UNetSpec) -> int:
    return NUMBER_WIDTH if spec.pooled_width == SDXL.unet.pooled_width else FEATURES


def test_time_features_are_rounded_as_those_of_the_published_models() -> None:
    times, width = torch.arange(1000), SD15.unet.base_width
    theirs = diffusers.models.embeddings.Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert torch.equal(time_features(times, width), theirs(times))


@pytest.mark.parametrize(("spec", "size"), CASES)
def test_the_unet_is_that_of_its_family(spec: UNetSpec, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        theirs, ours = unet(spec, feature_width(spec)), UNet(spec)
    share_weights(theirs, ours, unet_names(spec))
    assert unet_error(ours, theirs, size, features=feature_width(spec)) <= TOLERANCE
