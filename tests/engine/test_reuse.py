"""Deep features: when they are calculated, that nothing leaks, and that n = 1 is the plain network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from fromnoise.engine.in_turn import InTurn
from fromnoise.engine.reuse import Reusing, Rhythm
from fromnoise.engine.transforms import hastened
from fromnoise.errors import RequestError
from fromnoise.images.metadata import read_request
from fromnoise.images.pixels import from_image
from fromnoise.nets.diffusion import UNet
from fromnoise.pipeline import Pipeline
from fromnoise.request import Picture
from fromnoise.specs import TINY, ModelSpec
from fromnoise.weights.native import Parts


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def unet() -> UNet:
    torch.manual_seed(1)
    return UNet(TINY.unet).eval().requires_grad_(False)


def asked(unet: Any, time: float = 500.0, seed: int = 6, rows: int = 4, side: int = 16) -> Tensor:
    context = noise(rows, 7, TINY.unet.context_width, seed=5)
    return unet(noise(2, 4, side, side, seed=seed), torch.full((2,), time), context)


@contextmanager
def counted(unet: UNet) -> Iterator[list[int]]:
    """Rows of text at each calculation of the middle, and of the first stage; twins share the hooks."""
    deep: list[int] = []
    assert unet.mid is not None
    handle = unet.mid.register_forward_pre_hook(lambda _, given: deep.append(len(given[2])))
    try:
        yield deep
    finally:
        handle.remove()


# --- the network ---


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("side", [16, 18])  # 18 does not survive halving twice
def test_calculated_every_time_it_is_the_very_same(fast: bool, side: int, unet: UNet) -> None:
    unet = hastened(unet) if fast else unet
    reusing = Reusing(unet, 1)
    for time in (900.0, 500.0, 10.0):
        assert torch.equal(asked(reusing, time, side=side), asked(unet, time, side=side))


@pytest.mark.parametrize(
    ("every", "due"), [(1, "11111111"), (2, "10101010"), (3, "10010010"), (20, "10000000")]
)
def test_the_deep_part_is_calculated_at_every_nth_step(every: int, due: str, unet: UNet) -> None:
    reusing, when = Reusing(unet, every), ""
    for step in range(8):
        with counted(unet) as deep:
            found = asked(reusing, 900.0 - 100 * step, seed=step)
        when += str(len(deep))
        exact = torch.equal(found, asked(unet, 900.0 - 100 * step, seed=step))
        assert exact == bool(deep)
    assert when == due


def test_what_is_reused_is_the_deep_part_and_the_rest_is_new(unet: UNet) -> None:
    reusing = Reusing(unet, 2)
    first, second = asked(reusing, 500.0), asked(reusing, 500.0)
    assert torch.equal(first, second)  # asked the same, nothing is lost
    asked(reusing, 500.0)
    assert not torch.equal(asked(reusing, 500.0, seed=7), first)  # the shallow part sees the new latents


def test_another_number_of_texts_is_calculated_anew(unet: UNet) -> None:
    rhythm = Rhythm(3)
    assert [rhythm.is_due(rows) for rows in (4, 4, 2, 2, 2, 2, 4, 4)] == [1, 0, 1, 0, 0, 1, 1, 0]
    reusing = Reusing(unet, 20)
    asked(reusing, rows=4)
    assert torch.equal(asked(reusing, rows=2), asked(unet, rows=2))


def test_texts_that_are_read_in_turn_reuse_what_they_would_together(unet: UNet) -> None:
    together, apart = Reusing(unet, 3), InTurn(lambda: Reusing(unet, 3))
    for step, rows in enumerate((2, 2, 4, 4, 4, 4, 2, 2)):  # guidance begins, and ends
        told: dict[str, Any] = {"time": 900.0 - 100 * step, "seed": step, "rows": rows}
        assert torch.allclose(asked(apart, **told), asked(together, **told), atol=1e-5)


# --- pictures ---

FIELDS: dict[str, Any] = {"steps": 5, "sampler": "ddim", "spacing": "trailing"}


@pytest.mark.parametrize("batch", [1, 4])
def test_every_batch_begins_anew(batch: int, tiny: Pipeline) -> None:
    model = replace(tiny, batch=batch)
    with counted(tiny.unet) as deep:
        model("a red house", seeds=(1, 2, 3, 4, 5), reuse=2, **FIELDS)
    deep_steps = 3  # 1, 3 and 5; with two texts a picture
    assert deep == (5 * deep_steps * [2] if batch == 1 else deep_steps * [8] + deep_steps * [2])


def test_nothing_leaks_between_drawings_or_pictures(tiny: Pipeline) -> None:
    fields = FIELDS | {"reuse": 3}
    both = tiny("a red house", seeds=(3, 4), **fields).pictures
    tiny("a green tree", seed=9, **fields)
    assert tiny("a red house", seed=4, **fields).pictures == both[1:]
    streams = [
        tiny.stream(replace(tiny("", steps=1).request, seeds=(seed,), reuse=3, steps=5)) for seed in (3, 4)
    ]
    alone = [[*tiny.stream(tiny("", seeds=(seed,), reuse=3, steps=5).request)][-1] for seed in (3, 4)]
    *_, mixed = zip(*streams, strict=True)  # drawn at the same time, a step of each in turn
    assert [event.result.pictures for event in mixed] == [event.result.pictures for event in alone]


def test_it_changes_the_picture_a_little_and_is_repeated_from_its_file(tiny: Pipeline, tmp_path) -> None:
    found = tiny("a red house", seed=3, reuse=2, **FIELDS)
    assert found.pictures != tiny("a red house", seed=3, **FIELDS).pictures
    (path,) = found.save(tmp_path / "house.png")
    assert read_request(path).reuse == 2
    assert tiny(read_request(path)).pictures == found.pictures


def test_with_guidance_only_at_some_levels(tiny: Pipeline) -> None:
    sigmas = tiny.schedule.sigmas(6, "karras")
    inside = (sigmas[4], sigmas[2])  # guided at the steps 2 and 3, counted from 0
    with counted(tiny.unet) as deep:
        tiny("a red house", steps=6, sampler="euler", spacing="karras", reuse=2, guidance_interval=inside)
    assert deep == [1, 2, 1]
    assert [sigmas[2] <= inside[1], sigmas[3] > inside[0], sigmas[4] > inside[0]] == [True, True, False]


def test_with_a_picture_and_a_mask(tiny: Pipeline, gradient: Callable[[int, int], Picture]) -> None:
    half = Image.new("L", (64, 64), 255)
    half.paste(0, (0, 0, 32, 64))
    given = {"picture": gradient(64, 64), "mask": from_image(half), "strength": 0.6}
    with counted(tiny.unet) as deep:
        found = tiny("a red house", seeds=(1, 2), reuse=2, **FIELDS | {"steps": 8}, **given).pictures
    assert deep == 2 * 3 * [2]
    plain = tiny("a red house", seeds=(1, 2), **FIELDS | {"steps": 8}, **given).pictures
    for drawn, unhurried in zip(found, plain, strict=True):
        left = [slice(3 * 64 * y, 3 * 64 * y + 3 * 32) for y in range(64)]
        assert all(drawn.rgb[row] == given["picture"].rgb[row] for row in left)
        assert drawn != unhurried


def test_with_a_network_that_edits_and_with_pooled_text(
    tiny_flow: Pipeline, build: Callable[[ModelSpec], Parts], gradient: Callable[[int, int], Picture]
) -> None:
    edit = Pipeline.of(build(replace(TINY, unet=replace(TINY.unet, in_channels=8))))
    with counted(edit.unet) as deep:
        edit("a red house", picture=gradient(64, 64), reuse=2, **FIELDS)
    assert deep == 3 * [3]
    with counted(tiny_flow.unet) as deep:
        tiny_flow("a red house", reuse=4, steps=6)
    assert deep == 2 * [2]


def test_with_merged_tokens(tiny: Pipeline) -> None:
    both = tiny("a red house", seed=1, reuse=2, merge=0.5, **FIELDS).pictures
    assert both not in [
        tiny("a red house", seed=1, **FIELDS, **one).pictures for one in ({"reuse": 2}, {"merge": 0.5})
    ]


def test_a_refiner_reuses_its_own(tiny: Pipeline, build: Callable[[ModelSpec], Parts]) -> None:
    refiner = Pipeline.of(build(TINY))
    with counted(tiny.unet) as first, counted(refiner.unet) as second:
        tiny("a red house", refiner=refiner, refine_from=0.5, reuse=3, **FIELDS | {"steps": 8})
    assert (len(first), len(second)) == (2, 2)


@pytest.mark.parametrize("sampler", ["heun", "lcm"])
def test_samplers_that_cannot_are_refused(sampler: str, tiny: Pipeline) -> None:
    with pytest.raises(RequestError, match=f"reuse: {sampler}") as caught:
        tiny("a red house", sampler=sampler, reuse=2)
    assert "dpmpp_2m" in caught.value.hint
    assert tiny("a red house", sampler=sampler, reuse=1, steps=1)
