"""Our text and image transformers against those of transformers."""

from dataclasses import replace
from typing import Any

import pytest
from mapping import IMAGE, TEXT
from network_errors import text_error
from parity import TOLERANCE, noise, relative_error, share_weights
from peers import text_encoder

from fromnoise.nets.clip import ImageTower, TextTransformer
from fromnoise.specs import SD15, SD21, SDXL, ClipSpec, ImageTowerSpec

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.oracle


def small(spec: ClipSpec, width: int = 32) -> ClipSpec:
    projection = spec.projection and width - 8
    return replace(
        spec, vocab=64, end=63, pad=min(spec.pad, 63), width=width, heads=2, layers=3, projection=projection
    )


def twins(spec: ClipSpec) -> tuple[TextTransformer, Any]:
    theirs = text_encoder(spec)
    ours = TextTransformer(spec)
    share_weights(theirs, ours, TEXT)
    return ours, theirs


# What is read: the last state behind the final norm; the one before it, behind that norm, or without it.
FAMILIES = {"sd1": SD15.texts, "sd2": SD21.texts, "sdxl": SDXL.texts}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_reads_its_own_state_of_its_text_encoders(family: str) -> None:
    for spec, width in zip(FAMILIES[family], (32, 48), strict=False):
        assert text_error(*twins(small(spec, width))) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_text_encoder_is_that_of_its_family_at_full_size(family: str) -> None:
    for spec in FAMILIES[family]:
        assert text_error(*twins(spec)) <= TOLERANCE


def test_the_image_tower_is_clips() -> None:
    spec = ImageTowerSpec(size=32, patch=8, width=32, heads=2, layers=2, projection=24)
    config = transformers.CLIPVisionConfig(
        image_size=spec.size,
        patch_size=spec.patch,
        hidden_size=spec.width,
        intermediate_size=4 * spec.width,
        num_attention_heads=spec.heads,
        num_hidden_layers=spec.layers,
        projection_dim=spec.projection,
        hidden_act="quick_gelu",
    )
    theirs, ours = transformers.CLIPVisionModelWithProjection(config), ImageTower(spec)
    share_weights(theirs, ours, IMAGE)
    pixels = noise(2, 3, spec.size, spec.size)
    assert relative_error(ours(pixels), theirs(pixels).image_embeds) <= TOLERANCE
