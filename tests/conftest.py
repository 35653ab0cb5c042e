"""What the tests share: TINY, a model of random weights with the code paths of the large ones."""

import gc
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import settings

from fromnoise.pipeline import Pipeline
from fromnoise.request import Picture
from fromnoise.specs import TINY, ModelSpec
from fromnoise.text import Tokenizer
from fromnoise.weights.native import Parts

settings.register_profile("no clock", deadline=None)  # a busy machine is no mistake
settings.load_profile("no clock")

CAPTIONS = ["a red house on a hill", "a blue boat on the sea at night", "a green tree in the snow"]


@pytest.fixture(scope="module", autouse=True)
def only_its_own_garbage() -> None:
    """What was made before a file of tests is not gone through whenever Python looks for garbage.

    With torch and both oracles loaded, each look takes half a second: a sixth of the suite, and of any bound
    on the work that a test does.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def the_same_chance() -> None:
    """A layer that a test makes has the same numbers, whatever was tested before it and by which process."""
    torch.manual_seed(0)


def parts_of(spec: ModelSpec) -> Parts:
    """Networks of random weights, the same each time, that need no gradients."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizers = tuple(Tokenizer.train(CAPTIONS, text.vocab).to_json() for text in spec.texts)
        parts = Parts.blank(spec, tokenizers=tokenizers)
    for _, module in parts.modules():
        module.eval().requires_grad_(False)
    return parts


@pytest.fixture(scope="session")
def build() -> Callable[[ModelSpec], Parts]:
    """Makes a model of random weights."""
    return parts_of


@pytest.fixture(scope="session")
def tiny_parts() -> Parts:
    return parts_of(TINY)


@pytest.fixture(scope="session")
def tiny(tiny_parts: Parts) -> Pipeline:
    return Pipeline.of(tiny_parts)


@pytest.fixture(scope="session")
def tiny_flow() -> Pipeline:
    """TINY as the embedded model is: rectified flow, and a pooled text vector beside the tokens."""
    (text,) = TINY.texts
    spec = replace(
        TINY,
        texts=(replace(text, projection=24),),
        unet=replace(TINY.unet, pooled_width=24),
        schedule=replace(TINY.schedule, kind="flow", shift=3.0),
        prediction="flow",
        defaults=replace(TINY.defaults, sampler="euler", spacing="uniform", enlarge=4),
    )
    return Pipeline.of(parts_of(spec))


@pytest.fixture(scope="session")
def gradient() -> Callable[[int, int], Picture]:
    """A picture in which every pixel says where it is."""

    def paint(width: int, height: int) -> Picture:
        pixels = ((255 * x // width, 255 * y // height, 128) for y in range(height) for x in range(width))
        return Picture(width, height, bytes(byte for pixel in pixels for byte in pixel))

    return paint
