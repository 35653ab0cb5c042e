"""Whole models, as narrow as can be, in files with the real names: for what is written and read often."""

from dataclasses import replace

import pytest
import torch
from families import tiny
from on_disk import State, small_parts
from torch import Tensor

from fromnoise.specs import REFINER, SD15, SD21, SDXL, ClipSpec, Depths, ModelSpec
from fromnoise.weights import families, structure
from fromnoise.weights.native import Parts

VOCAB = 560
WIDTHS = {768: 16, 1024: 24, 1280: 40}  # of the text encoders, as narrow as the tests want them
SIZE_NUMBERS = {"sdxl": 6 * 256, "refiner": 5 * 256}


def tiny_text(text: ClipSpec) -> ClipSpec:
    """Three layers; still another width for each kind."""
    width = WIDTHS[text.width]
    end, projection = VOCAB - 1, text.projection and width
    small = replace(text, vocab=VOCAB, end=end, pad=min(text.pad, end), projection=projection)
    return replace(small, width=width, heads=2, layers=3)


def tiny_spec(spec: ModelSpec, family: str) -> ModelSpec:
    """The same structure, narrow."""
    texts = tuple(map(tiny_text, spec.texts))
    context = sum(text.width for text in texts)
    pooled = (texts[-1].projection or 0) + SIZE_NUMBERS.get(family, 0) if spec.unet.pooled_width else None
    return replace(
        spec,
        texts=texts,
        unet=replace(
            tiny(spec.unet),
            down=shallow(spec.unet.down),
            mid=min(2, spec.unet.mid or 0),
            up=shallow(spec.unet.up),
            context_width=context,
            pooled_width=pooled,
        ),
        vae=replace(spec.vae, base_width=4, groups=2),
        defaults=replace(spec.defaults, width=64, height=64, steps=2),
    )


def shallow(depths: Depths) -> Depths:
    """Two transformer layers at most."""
    return tuple(tuple(min(2, depth) for depth in level) for level in depths)


SPECS = {
    family: tiny_spec(spec, family)
    for family, spec in {"sd1": SD15, "sd2": SD21, "sdxl": SDXL, "refiner": REFINER}.items()
}


def know_tiny_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the families be these, so that their files are recognised."""
    for family, spec in SPECS.items():
        monkeypatch.setitem(families.BASES, family, spec)
    monkeypatch.setattr(structure, "SD15", SPECS["sd1"])
    monkeypatch.setattr(structure, "SD21", SPECS["sd2"])


def tiny_parts(spec: ModelSpec, seed: int = 0) -> Parts:
    """A model of this spec: random weights, small vocabularies."""
    return small_parts(spec, VOCAB, seed)


def bits(tensor: Tensor) -> bytes:
    """Its bytes."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def same(a: State, b: State) -> bool:
    """The same names, types, shapes and bytes."""
    return a.keys() == b.keys() and all(
        (a[name].dtype, a[name].shape, bits(a[name])) == (b[name].dtype, b[name].shape, bits(b[name]))
        for name in a
    )
