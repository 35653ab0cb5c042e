"""What a network looks like, read from the names and shapes of its tensors: no list of known models.

What shapes do not say (heads, groups, the scale of latents) comes from a spec that the network is like.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import isqrt
from typing import Final, TypeVar

import torch
from torch import Tensor

from fromnoise.errors import SpecError, WeightsError
from fromnoise.specs import OPENCLIP_H, SD15, SD21, SDXL, ClipSpec, Depths, Spec, UNetSpec, VaeSpec
from fromnoise.weights.key_rules import (
    DIFFUSERS_VAE_NAMES,
    ENCODER,
    LDM_UNET,
    LDM_VAE,
    LDM_VAE_NAMES,
    VaeNames,
    diffusers_unet,
    hf_text,
    ldm_unet,
    openclip_text,
)
from fromnoise.weights.layouts import sift
from fromnoise.weights.model_converter import Rule, translate
from fromnoise.weights.wording import shown

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
S = TypeVar("S", bound=Spec)

RGB: Final = 3
IS_IT_WHOLE: Final = "is it complete? `fromnoise inspect FILE` says what it is"
CLIPS: Final = {text.width: text for text in (SD15.texts[0], OPENCLIP_H, SDXL.texts[1])}


@dataclass(frozen=True, slots=True)
class Tree:
    """Names and shapes, word by word."""

    what: str  # in messages
    shapes: Shapes
    children: Mapping[str, set[str]]

    @classmethod
    def of(cls, what: str, shapes: Shapes, prefix: str = "") -> "Tree":
        """Those under the prefix, without it, and without what is no part of a network."""
        start = f"{prefix}." if prefix else ""
        inside = {name.removeprefix(start): shape for name, shape in shapes.items() if name.startswith(start)}
        inside = {name: inside[name] for name in sift(inside)[0]}
        children: dict[str, set[str]] = defaultdict(set)
        for name in inside:
            words = name.split(".")
            for at, word in enumerate(words):
                children[".".join(words[:at])].add(word)
        return cls(what, inside, children)

    def __contains__(self, name: str) -> bool:
        return name in self.children

    def size(self, name: str, axis: int) -> int:
        """One dimension of a tensor.  Raises: WeightsError if there is no such tensor, or none such of it"""
        if name not in self.shapes:
            problem = f"{self.what} lacks {name!r}, so its structure cannot be told"
            raise WeightsError(problem, hint=IS_IT_WHOLE)
        shape = self.shapes[name]
        if axis >= len(shape):
            problem = f"{self.what} has {name!r} in the shape {shape}, so its structure cannot be told"
            raise WeightsError(problem, hint=IS_IT_WHOLE)
        return shape[axis]

    def many(self, name: str) -> range:
        """The numbers that follow this name, which must be 0, 1, 2, … without a gap."""
        found = {word for word in self.children.get(name, ()) if word.isdecimal()}
        if lost := [number for number in range(len(found)) if str(number) not in found]:
            last = shown(max(found, key=lambda word: (len(word), word)))
            raise WeightsError(f"{self.what} lacks {name}.{lost[0]}, though it has {name}.{last}")
        return range(len(found))

    def ending(self, tail: str) -> list[Shape]:
        """The shapes of all names that end so."""
        return [shape for name, shape in self.shapes.items() if name.endswith(tail)]

    def ours(self, rules: Iterable[Rule]) -> "Tree":
        """The same tensors under our names."""
        renamed = translate(blank(self.what, self.shapes), rules, source=self.what)
        return Tree.of(self.what, {name: tuple(tensor.shape) for name, tensor in renamed.items()})


def blank(what: str, shapes: Shapes) -> dict[str, Tensor]:
    """Tensors of these shapes, without memory.  Raises: WeightsError if one is larger than any can be"""
    try:
        return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    except RuntimeError as error:
        raise WeightsError(f"{what} has a tensor in an impossible shape: {shown(str(error))}") from error


# --- the U-Net ---


def read_unet(shapes: Shapes, prefix: str = LDM_UNET, *, like: UNetSpec | None = None) -> UNetSpec:
    """The U-Net of a checkpoint or of a diffusers folder, told apart by its names.

    Raises: WeightsError if it is neither, or incomplete
    """
    theirs = Tree.of("the U-Net", shapes, prefix)
    if "down_blocks" in theirs:
        rules = diffusers_unet(*_diffusers_depths(theirs), "", "")
    else:
        rules = ldm_unet("", "")
    return _spec(theirs, lambda: _unet(theirs.ours(rules), like))


def unet_context(shapes: Shapes, prefix: str) -> int | None:
    """How wide the texts are that it reads, if it reads any."""
    start = f"{prefix}." if prefix else ""
    tail = "attn2.to_k.weight"
    found = (shape for name, shape in shapes.items() if name.startswith(start) and name.endswith(tail))
    return next((shape[1] for shape in found if len(shape) > 1), None)


def _diffusers_depths(names: Tree) -> tuple[Depths, Depths]:
    def depths(way: str) -> Depths:
        return tuple(
            tuple(
                len(names.many(f"{way}.{level}.attentions.{block}.transformer_blocks"))
                for block in names.many(f"{way}.{level}.resnets")
            )
            for level in names.many(way)
        )

    return depths("down_blocks"), depths("up_blocks")


def _unet(ours: Tree, like: UNetSpec | None) -> UNetSpec:
    base_width = ours.size("time.0.weight", 1)
    down, widths = _down(ours)
    contexts = {ours.size(name, 1) for name in ours.shapes if name.endswith("cross_attention.to_k.weight")}
    entrances = {len(shape) for name, shape in ours.shapes.items() if name.endswith("1.enter.weight")}
    for what, found in (("context widths", contexts), ("kinds of projections", entrances)):
        if len(found) > 1:
            raise WeightsError(f"{ours.what} has {len(found)} different {what}: {sorted(found)}")
    like = like or (SD15.unet if contexts <= {SD15.unet.context_width} else SD21.unet)
    return UNetSpec(
        in_channels=ours.size("down.0.0.weight", 1),
        out_channels=ours.size("leave.weight", 0),
        base_width=base_width,
        multipliers=_multipliers(ours, widths, base_width),
        down=down,
        mid=len(ours.many("mid.1.blocks")) if "mid" in ours else None,
        up=_up(ours),
        groups=like.groups,
        heads=like.heads,
        head_width=like.head_width,
        context_width=contexts.pop() if contexts else like.context_width,
        linear_projection=entrances == {2},
        pooled_width=ours.size("pooled.0.weight", 1) if "pooled" in ours else None,
        guidance_width=ours.size("guidance.weight", 1) if "guidance" in ours else None,
    )


def _down(ours: Tree) -> tuple[Depths, list[int]]:
    """The depths and the width of each level; a Downsample ends a level."""
    levels, widths = list[list[int]]([[]]), list[int]()
    for stage in ours.many("down")[1:]:
        if f"down.{stage}.0.conv" in ours:
            levels.append([])
            continue
        if not levels[-1]:
            widths.append(ours.size(f"down.{stage}.0.conv1.weight", 0))
        levels[-1].append(len(ours.many(f"down.{stage}.1.blocks")))
    return tuple(map(tuple, levels)), widths


def _up(ours: Tree) -> Depths:
    """The depths of each level; an Upsample ends a level."""
    levels = list[list[int]]([[]])
    for stage in ours.many("up"):
        depth = len(ours.many(f"up.{stage}.1.blocks"))
        levels[-1].append(depth)
        if f"up.{stage}.{2 if depth else 1}.conv" in ours:
            levels.append([])
    return tuple(map(tuple, levels))


# --- the autoencoder ---


def read_vae(shapes: Shapes, prefix: str = LDM_VAE, *, like: VaeSpec = SD15.vae) -> VaeSpec:
    """The autoencoder of a checkpoint or of a diffusers folder.

    Raises: WeightsError if it is neither, or incomplete
    """
    theirs = Tree.of("the autoencoder", shapes, prefix)
    words = DIFFUSERS_VAE_NAMES if "encoder.down_blocks" in theirs else LDM_VAE_NAMES
    return _spec(theirs, lambda: _vae(theirs, words, like))


def _vae(names: Tree, words: VaeNames, like: VaeSpec) -> VaeSpec:
    row, _, block = words.down.partition(".{level}.")
    base_width, channels = (names.size("encoder.conv_in.weight", axis) for axis in (0, 1))
    firsts = [words.down.format(level=level, block=0) for level in names.many(row)]
    widths = [names.size(f"{first}.conv1.weight", 0) for first in firsts]
    return replace(
        like,
        base_width=base_width,
        multipliers=_multipliers(names, widths, base_width),
        blocks=len(names.many(f"{row}.0.{block.removesuffix('.{block}')}")),
        latent_channels=names.size("quant_conv.weight", 0) // 2,
        patch=isqrt(channels // RGB),
        mid_attention=f"{ENCODER}.{words.middle[1]}" in names,
    )


# --- text encoders ---


def read_clip(shapes: Shapes, prefix: str, *, like: ClipSpec | None = None) -> ClipSpec:
    """A text encoder in Hugging Face's or OpenCLIP's names.

    Which state the U-Net reads is a fact of the family: a shortened encoder keeps it, so SD 2.x is the same
    with its 24 layers as with the 23 of a diffusers folder.
    Raises: WeightsError if it is neither, incomplete, or of a width that only `like` could explain
    """
    theirs = Tree.of("the text encoder", shapes, prefix)
    rules = openclip_text("", "") if "transformer.resblocks" in theirs else hf_text("", "")
    ours = theirs.ours(rules)
    vocab, width = (ours.size("tokens.weight", axis) for axis in (0, 1))
    like = like or CLIPS.get(width)
    if like is None:
        known = ", ".join(map(str, CLIPS))
        raise WeightsError(f"{theirs.what} is {width} wide; those of known families are {known}")
    layers, read_after = len(ours.many("layers")), like.layers + 1 + like.hidden
    return _spec(
        theirs,
        lambda: replace(
            like,
            vocab=vocab,
            context=ours.size("positions.weight", 0),
            width=width,
            heads=width * like.heads // like.width,
            layers=layers,
            hidden=min(-1, read_after - layers - 1),
            projection=ours.size("project.weight", 0) if "project" in ours else None,
        ),
    )


def _multipliers(names: Tree, widths: Iterable[int], base: int) -> tuple[int, ...]:
    if odd := [width for width in widths if base < 1 or width % base]:
        raise WeightsError(f"{names.what} has a level {odd[0]} wide, which does not divide by {base}")
    return tuple(width // base for width in widths)


def _spec(names: Tree, read: Callable[[], S]) -> S:
    try:
        return read()
    except SpecError as error:
        raise WeightsError(f"{names.what} has a structure we cannot build: {error.message}") from error
