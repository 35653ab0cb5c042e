"""Small models of every family, written as other programs write them: real names, real context widths."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FOLDERS
from safetensors.torch import save_file
from torch import Tensor

from fromnoise.specs import REFINER, SD15, SD21, SDXL, ClipSpec, Depths, ModelSpec
from fromnoise.text import Tokenizer
from fromnoise.weights import families
from fromnoise.weights.layouts import (
    DIFFUSERS_TEXTS,
    checkpoint_rules,
    ema_name,
    folder_rules,
    folder_spec,
)
from fromnoise.weights.model_converter import flipped, translate
from fromnoise.weights.native import Parts

State = dict[str, Tensor]

FAMILIES = {"sd1": SD15, "sd2": SD21, "sdxl": SDXL, "refiner": REFINER}
VOCAB = 1024
CAPTIONS = ["a red house on a hill", "a blue boat on the sea at night", "a green tree in the snow"]


def small(spec: ModelSpec, *, vocab: int = VOCAB) -> ModelSpec:
    """Two layers a text encoder, narrow levels of one width, one transformer layer where there are any."""
    unet = spec.unet
    return replace(
        spec,
        texts=tuple(small_text(text, vocab) for text in spec.texts),
        unet=replace(
            unet,
            base_width=unet.head_width or 32,
            multipliers=(1,) * len(unet.multipliers),
            down=shallow(unet.down),
            mid=1,
            up=shallow(unet.up),
        ),
        vae=replace(spec.vae, base_width=32, multipliers=(1,) * len(spec.vae.multipliers)),
        defaults=replace(spec.defaults, width=64, height=64, steps=2),
    )


def shallow(depths: Depths) -> Depths:
    return tuple(tuple(min(1, depth) for depth in level) for level in depths)


def small_text(text: ClipSpec, vocab: int) -> ClipSpec:
    return replace(text, vocab=vocab, layers=2, end=vocab - 1, pad=min(text.pad, vocab - 1))


def know_small_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """The families' own text encoders become the small ones; everything else is as it is."""
    for family, spec in FAMILIES.items():
        base = families.BASES[family]
        monkeypatch.setitem(families.BASES, family, replace(base, texts=small(spec).texts))


def small_parts(spec: ModelSpec, vocab: int = VOCAB, seed: int = 0) -> Parts:
    """Random weights that float16 holds exactly, and a small vocabulary for each text encoder."""
    tokenizers = [Tokenizer.train(CAPTIONS, vocab).to_json() | {"pad": text.pad} for text in spec.texts]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = Parts.blank(spec, tokenizers=tuple(tokenizers))
    for _, module in parts.modules():
        module.half().float().eval().requires_grad_(False)
    return parts


def as_checkpoint(parts: Parts, layout: str, dtype: torch.dtype = torch.float16) -> State:
    """The tensors of a single file."""
    rules = flipped(checkpoint_rules(parts.spec.vae, layout))
    state = translate(parts.state(), rules, source="ours")
    return {name: tensor.to(dtype).contiguous().clone() for name, tensor in state.items()}


def with_averages(state: State, factor: float) -> State:
    """The same checkpoint with a running average of the U-Net, which is a multiple of it."""
    unet = {name: tensor for name, tensor in state.items() if name.startswith("model.diffusion_model.")}
    return state | {ema_name(name): tensor * factor for name, tensor in unet.items()}


def write_checkpoint(state: State, path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """As safetensors, or as PyTorch does it, by the suffix."""
    if path.suffix == ".safetensors":
        save_file(state, path, dict(metadata) if metadata else None)
    else:
        torch.save({"state_dict": state, **({"global_step": 7} if metadata is None else metadata)}, path)
    return path


def write_folder(
    parts: Parts,
    folder: Path,
    family: str = "sd1",
    *,
    dtype: torch.dtype = torch.float16,
    variant: str = "",
) -> Path:
    """As diffusers does it, vocabularies included."""
    texts = FOLDERS.get(family, DIFFUSERS_TEXTS)
    spec = folder_spec(parts.spec)
    held = Parts.blank(spec).state().keys()
    ours = {name: tensor for name, tensor in parts.state().items() if name in held}
    state = translate(ours, flipped(folder_rules(spec, texts)), source="ours")
    components = sorted({name.partition(".")[0] for name in state})
    write_json(folder / "model_index.json", {name: ["library", "Class"] for name in components})
    for component in components:
        inside = {
            name.removeprefix(f"{component}."): tensor.to(dtype).contiguous().clone()
            for name, tensor in state.items()
            if name.startswith(f"{component}.")
        }
        write_json(folder / component / "config.json", {})
        stem = "model" if component.startswith("text_encoder") else "diffusion_pytorch_model"
        save_file(inside, folder / component / ".".join(filter(None, (stem, variant, "safetensors"))))
    for name, tokenizer in zip(texts, parts.tokenizers, strict=False):
        write_tokenizer(folder / name.replace("text_encoder", "tokenizer"), tokenizer["merges"])
    return folder


def write_tokenizer(folder: Path, merges: Sequence[str], size: int = VOCAB) -> None:
    write_json(folder / "vocab.json", vocabulary(merges, size))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")


def vocabulary(merges: Sequence[str], size: int) -> dict[str, int]:
    """Ids as CLIP counts them; what nothing stands for is called by its number."""
    symbols = [f"<{number}>" for number in range(size)]
    for number, merge in enumerate(merges, start=512):
        symbols[number] = merge.replace(" ", "")
    symbols[-2:] = ["<|startoftext|>", "<|endoftext|>"]
    return {symbol: number for number, symbol in enumerate(symbols)}


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def same(a: Parts, b: Parts) -> bool:
    """The same numbers under the same names."""
    ours, theirs = a.state(), b.state()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
