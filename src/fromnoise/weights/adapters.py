"""Adapters: LoRA and its relatives, as anybody's file holds them and as they are trained here."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from fromnoise.errors import WeightsError
from fromnoise.nets.low_rank import Layer, low_rank_layers
from fromnoise.weights.adapter_algebra import LORA, Change
from fromnoise.weights.adapter_alphas import said_in, with_alphas
from fromnoise.weights.adapter_names import ALPHA, BY_OUTPUT, OURS, PEFT, Word, read_name, reason_against
from fromnoise.weights.digests import SHORT, digest_of
from fromnoise.weights.folders import within
from fromnoise.weights.stored import Stored, open_weights
from fromnoise.weights.wording import shown

USUAL_FILES: Final = tuple(  # in a folder of its own; then the folder's name is the adapter's
    f"{stem}.{suffix}"
    for stem in ("pytorch_lora_weights", "adapter_model")
    for suffix in ("safetensors", "bin")
)
SCALAR: Final = ((), (1,))
WORDS: Final = "fromnoise_words"  # the metadata key of the words it was trained on


@dataclass(frozen=True, eq=False)
class Adapter:
    """Changes of a model's layers, in memory; `Pipeline.attach` puts them on."""

    name: str
    layout: str  # whose names the layers have: "kohya", "peft", "diffusers"; "ours" of what was trained here
    changes: Mapping[str, Change]  # by layer
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    digest: Callable[[], str] = str  # asks for the SHA-256 of its file
    path: Path | None = None

    @property
    def short_hash(self) -> str:
        """The part of its SHA-256 that people know it by; "" if its file has gone or changed."""
        return self.digest()[:SHORT]

    @property
    def context_width(self) -> int | None:
        """How wide the texts are that the U-Net reads for which it was made, where it shows."""
        return next((c.shape[1] for layer, c in self.changes.items() if reads_text(layer)), None)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks of its layers, the most frequent first."""
        counts = Counter(change.rank for change in self.changes.values() if change.rank is not None)
        return tuple(rank for rank, _ in counts.most_common())

    @property
    def words(self) -> tuple[str, ...]:
        """Those of the captions that it was trained on here."""
        return tuple(self.metadata.get(WORDS, "").split())

    def __repr__(self) -> str:
        kinds = " and ".join(sorted({change.label for change in self.changes.values()}))
        return f"Adapter({self.name!r}, {kinds} of {len(self.changes)} layers)"

    @classmethod
    def trained(
        cls, name: str, networks: Mapping[str, nn.Module], metadata: Mapping[str, str] | None = None
    ) -> "Adapter":
        """What the `LowRank` layers of these networks have learnt; "unet", "texts.0" … are their names."""
        changes = {
            f"{room}.{layer}": Change(LORA, {"up": _copy(each.up), "down": _copy(each.down)}, each.alpha)
            for room, network in networks.items()
            for layer, each in low_rank_layers(network).items()
        }
        if not changes:
            raise WeightsError(f"there is nothing to take: {' and '.join(networks)} learn no low rank")
        return cls(name, OURS, changes, metadata or {}, _digest(changes))


def _copy(layer: Layer) -> Tensor:
    return layer.weight.detach().to("cpu", copy=True)


def _digest(changes: Mapping[str, Change]) -> Callable[[], str]:
    """The SHA-256 of what is in no file."""

    def ask() -> str:
        found = sha256()
        for layer, change in sorted(changes.items()):
            found.update(f"{layer} {change.alpha}".encode())
            for part in change.parts.values():
                found.update(part.contiguous().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    return ask


def reads_text(layer: str) -> bool:
    """Is this, in anybody's words, a layer by which a U-Net reads the text?"""
    return ("attn2" in layer or "cross_attention" in layer) and layer.endswith("to_k")


# --- reading ---


@dataclass(frozen=True, slots=True)
class Held:
    """What a file says of one layer: the algebra, the name of each part's tensor, and that of its alpha."""

    kind: str
    names: Mapping[str, str]
    alpha: str = ""

    def change(self, tensor_of: Callable[[str], Tensor], alpha: float | None = None) -> Change:
        """The change, once its tensors are there, or their shapes."""
        parts = {part: tensor_of(name) for part, name in self.names.items()}
        flat = {part: each.reshape(-1, 1) for part, each in parts.items() if BY_OUTPUT in self.names[part]}
        return Change(self.kind, parts | flat, alpha)


def open_adapter(path: str | os.PathLike[str]) -> Adapter:
    """Read an adapter's file, or the folder that holds one; everything is checked before numbers are read.

    Raises: StorageError; WeightsError if it is no adapter, damaged, or of a kind that we cannot compute
    """
    path = Path(path)
    path = next((path / name for name in USUAL_FILES if (path / name).is_file()), path)
    with open_weights(path) as stored, within(stored.name):
        layout, layers = sorted_out(stored.shapes)
        for held in layers.values():
            check(stored, held)
        settings = said_in(stored.metadata, path) if layout == PEFT else {}
        read = partial(_read, stored)
        changes = {layer: held.change(read, alpha_in(stored, held)) for layer, held in layers.items()}
        changes = with_alphas(changes, settings)
    name = path.parent.name if path.name in USUAL_FILES else path.stem
    return Adapter(shown(name), layout, changes, stored.metadata, digest_of((path,)), path)


def sorted_out(names: Collection[str]) -> tuple[str, dict[str, Held]]:
    """The layout of a file, and what it says of each layer.

    Raises: WeightsError if a tensor is left over, or a layer has parts of two algebras, or one part twice
    """
    said, strays = dict[str, list[tuple[Word, str]]](), list[str]()
    for name in names:
        if found := read_name(name):
            said.setdefault(found[0], []).append((found[1], name))
        else:
            strays.append(name)
    if strays or not said:
        raise _strange(strays, len(names))
    layout = next((word.layout for words in said.values() for word, _ in words if word.kind), "")
    return layout, {layer: _held(layer, words) for layer, words in said.items()}


def _strange(strays: Sequence[str], of: int) -> WeightsError:
    what = next((what for what in map(reason_against, strays) if what), "")
    if len(strays) == of and not what:
        return WeightsError("it is no adapter", hint="`fromnoise inspect FILE` says what it is")
    problem = f"{len(strays)} of {of} tensors are not understood, first: {shown(strays[0])!r}"
    hint = "LoRA, LoCon, LoHa, LoKr and DoRA of linear layers and convolutions are read"
    return WeightsError(f"{problem} ({what}, which is not built)" if what else problem, hint=hint)


def _held(layer: str, words: Sequence[tuple[Word, str]]) -> Held:
    kinds = sorted({word.kind for word, _ in words if word.kind})
    if len(kinds) != 1:
        there = f"parts of {' and '.join(kinds)}" if kinds else f"nothing but {shown(words[0][1])!r}"
        raise WeightsError(f"of {shown(layer)!r} there is {there}")
    parts = {word.part: name for word, name in words}
    if len(parts) < len(words):
        raise WeightsError(f"of {shown(layer)!r} one part stands twice, last as {shown(words[-1][1])!r}")
    alpha = parts.pop(ALPHA, "")
    return Held(kinds[0], parts, alpha)


def check(stored: Stored, held: Held) -> Change:
    """A layer's change without its numbers.

    Raises: WeightsError if parts are missing, do not go together, or are no fractions
    """
    for name in held.names.values():
        if not stored.dtypes[name].is_floating_point:
            raise WeightsError(f"{shown(name)!r} is of the type {stored.dtypes[name]}, not of fractions")
    try:
        return held.change(lambda name: torch.empty(stored.shapes[name], device="meta")).checked()
    except WeightsError as error:
        first = shown(next(iter(held.names.values())))
        raise WeightsError(f"at {first!r} there is {error.message}") from error


def alpha_in(stored: Stored, held: Held) -> float | None:
    """A layer's alpha, where it is a tensor of its own.  Raises: WeightsError if it is not one number"""
    if not held.alpha:
        return None
    if stored.shapes[held.alpha] not in SCALAR:
        shape = stored.shapes[held.alpha]
        raise WeightsError(f"{shown(held.alpha)!r} has the shape {shape}, where one number belongs")
    alpha = float(stored.read(held.alpha))
    if not isfinite(alpha):
        raise WeightsError(f"it is damaged: {shown(held.alpha)!r} is {alpha}")
    return alpha or None  # Source: sd-scripts/networks/lora.py: 0 means as much as the rank


def _read(stored: Stored, name: str) -> Tensor:
    """A copy: the file may be replaced or cut short while the adapter is on."""
    tensor = stored.read(name).clone()
    if not tensor.float().isfinite().all():
        raise WeightsError(f"it is damaged: {shown(name)!r} holds NaN or infinity")
    return tensor
