"""Our text and image transformers against those of transformers."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from mapping import IMAGE, TEXT
from parity import TOLERANCE, noise, relative_error, share_weights
from peers import text_encoder
from torch import Tensor

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


def texts(spec: ClipSpec) -> Tensor:
    """A short and a full text, ended and padded as a tokenizer does it."""
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, spec.vocab - 2, (2, spec.context), generator=generator)
    tokens[0, 9:] = spec.pad
    tokens[0, 9] = tokens[1, -1] = spec.end
    return tokens


@pytest.mark.parametrize(
    "spec", [small(SD15.texts[0]), pytest.param(SD15.texts[0], marks=pytest.mark.slow)], ids=["tiny", "full"]
)
def test_sd1_reads_the_last_state_behind_the_final_norm(spec: ClipSpec) -> None:
    ours, theirs = twins(spec)
    found, wanted = ours(texts(spec)), theirs(texts(spec))
    assert relative_error(found.context, wanted.last_hidden_state) <= TOLERANCE
    assert relative_error(found.pooled, wanted.pooler_output) <= TOLERANCE


@pytest.mark.parametrize(
    "spec", [small(SD21.texts[0]), pytest.param(SD21.texts[0], marks=pytest.mark.slow)], ids=["tiny", "full"]
)
def test_sd2_reads_the_state_before_the_last_behind_the_final_norm(spec: ClipSpec) -> None:
    ours, theirs = twins(spec)
    found, wanted = ours(texts(spec)), theirs(texts(spec), output_hidden_states=True)
    before_last = theirs.text_model.final_layer_norm(wanted.hidden_states[-2])
    assert relative_error(found.context, before_last) <= TOLERANCE
    assert relative_error(found.pooled, wanted.text_embeds) <= TOLERANCE


@pytest.mark.parametrize(
    "specs",
    [
        tuple(small(spec, width) for spec, width in zip(SDXL.texts, (32, 48), strict=True)),
        pytest.param(SDXL.texts, marks=pytest.mark.slow),
    ],
    ids=["tiny", "full"],
)
def test_sdxl_reads_two_encoders_side_by_side_without_the_final_norm(specs: tuple[ClipSpec, ...]) -> None:
    pairs = [twins(spec) for spec in specs]
    tokens = [texts(ours.spec) for ours, _ in pairs]
    found = [ours(t) for (ours, _), t in zip(pairs, tokens, strict=True)]
    wanted = [theirs(t, output_hidden_states=True) for (_, theirs), t in zip(pairs, tokens, strict=True)]
    context = torch.cat([states.hidden_states[-2] for states in wanted], dim=-1)
    assert context.shape[-1] == sum(spec.width for spec in specs)
    assert relative_error(torch.cat([states.context for states in found], dim=-1), context) <= TOLERANCE
    assert relative_error(found[-1].pooled, wanted[-1].text_embeds) <= TOLERANCE


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
