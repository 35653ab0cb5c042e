"""Whole models, as narrow as can be, in files with the real names: for what is written and read often."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from families import tiny
from safetensors.torch import save_file
from torch import Tensor

from fromnoise.specs import REFINER, SD15, SD21, SDXL, ClipSpec, Depths, ModelSpec
from fromnoise.text import Tokenizer
from fromnoise.weights import families, structure
from fromnoise.weights.layouts import checkpoint_rules
from fromnoise.weights.model_converter import flipped, translate
from fromnoise.weights.native import Parts

State = dict[str, Tensor]

CAPTIONS = ["a red house on a hill", "a blue boat on the sea at night", "a green tree in the snow"]
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
    """Random weights that float16 holds exactly, and a small vocabulary for each text encoder."""
    tokenizers = [Tokenizer.train(CAPTIONS, VOCAB).to_json() | {"pad": text.pad} for text in spec.texts]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = Parts.blank(spec, tokenizers=tuple(tokenizers))
    for _, module in parts.modules():
        module.half().float().eval().requires_grad_(False)
    return parts


def checkpoint_state(parts: Parts, layout: str, dtype: torch.dtype = torch.float16) -> State:
    """The tensors of a single file."""
    rules = flipped(checkpoint_rules(parts.spec.vae, layout))
    state = translate(parts.state(), rules, source="ours")
    return {name: tensor.to(dtype).contiguous().clone() for name, tensor in state.items()}


def write_single(state: State, path: Path, metadata: dict[str, str] | None = None) -> Path:
    """As safetensors, or as PyTorch does it, by the suffix."""
    if path.suffix == ".safetensors":
        save_file(state, path, metadata)
    else:
        torch.save({"state_dict": state, **(metadata or {})}, path)
    return path


def bits(tensor: Tensor) -> bytes:
    """Its bytes."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def same(a: State, b: State) -> bool:
    """The same names, types, shapes and bytes."""
    return a.keys() == b.keys() and all(
        (a[name].dtype, a[name].shape, bits(a[name])) == (b[name].dtype, b[name].shape, bits(b[name]))
        for name in a
    )
