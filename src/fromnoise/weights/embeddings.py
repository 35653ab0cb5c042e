"""Embeddings: words that a model was taught by textual inversion, as anybody's file holds them.

Source: Gal et al. 2022 (arXiv:2208.01618); the files of its authors,
AUTOMATIC1111, diffusers and kohya's sd-scripts
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from torch import Tensor

from fromnoise.durable import replacing
from fromnoise.errors import RequestError, WeightsError, did_you_mean
from fromnoise.specs import ModelSpec
from fromnoise.weights.digests import SHORT, digest_of
from fromnoise.weights.folders import within
from fromnoise.weights.stored import Stored, open_weights
from fromnoise.weights.supply import pieces_of
from fromnoise.weights.wording import shown
from fromnoise.weights.writers import Slot, write_safetensors

EmbeddingLayout = Literal["kohya", "diffusers"]
EMBEDDING_LAYOUTS: Final[tuple[str, ...]] = get_args(EmbeddingLayout)

ALONE: Final = "emb_params"  # kohya; AUTOMATIC1111 and ComfyUI take a lone tensor whatever its name
A1111: Final = "string_to_param."
TOKENS: Final = "string_to_token."  # beside it, in the files of rinongal's program: the word's id
SEVERAL: Final = {  # of models with several text encoders: which one each is for
    "clip_l": 0,
    "clip_g": 1,
    "text_encoders_0": 0,
    "text_encoders_1": 1,
}
WORD: Final = "fromnoise_word"  # in the metadata of ours that name the tensor by the word
NAMELESS: Final = ("learned_embeds", "embedding", "embeddings")  # files that are called alike by everybody
MOST: Final = 128  # vectors a word; a text has room for 75 tokens


@dataclass(frozen=True, eq=False)
class Embedding:
    """A word and its vectors, which stand in a text's place of tokens; `Pipeline.with_embeddings` teaches it.

    Shapes: for each text encoder (n, width)
    """

    word: str
    vectors: tuple[Tensor, ...]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    digest: Callable[[], str] = str  # asks for the SHA-256 of its file

    @property
    def short_hash(self) -> str:
        """The part of its SHA-256 that people know it by; "" if its file has gone or changed."""
        return self.digest()[:SHORT]

    @property
    def count(self) -> int:
        """So many tokens it takes."""
        return len(self.vectors[0])

    def __repr__(self) -> str:
        widths = " and ".join(str(each.shape[1]) for each in self.vectors)
        return f"Embedding({self.word!r}, {self.count} vectors of {widths})"

    def fitted(self, spec: ModelSpec) -> tuple[Tensor, ...]:
        """One for each text encoder of a model.  Raises: WeightsError if it is made for others"""
        mine = [each.shape[1] for each in self.vectors]
        theirs = [text.width for text in spec.texts]
        if mine != theirs:
            both = " and ".join(map(str, mine)), " and ".join(map(str, theirs))
            problem = f"{shown(self.word)} is made for text encoders {both[0]} wide; {spec.name}'s: {both[1]}"
            raise WeightsError(problem, hint="give the model that it was made for")
        return self.vectors


def open_embedding(path: str | os.PathLike[str], word: str | None = None) -> Embedding:
    """Read an embedding of AUTOMATIC1111, diffusers or kohya, whatever it is kept in.

    `word`: what it is called in prompts; else the file's name, or that within it where all files are named so
    Raises: StorageError; WeightsError if it is none, or damaged
    """
    path = Path(path)
    with open_weights(path) as stored, within(stored.name):
        names = in_order(stored)
        vectors = tuple(_read(stored, name) for name in names)
        if len({len(each) for each in vectors}) > 1:
            raise WeightsError("its text encoders have different numbers of vectors")
        inner = names[0] if len(names) == 1 and names[0] != ALONE else ""
    if word is None:
        word = inner if path.stem in NAMELESS and not inner.startswith(A1111) and inner else path.stem
    return Embedding(word, vectors, stored.metadata, digest_of((path,)))


def in_order(stored: Stored) -> list[str]:
    """The tensors of an embedding, in the order of the text encoders.  Raises: WeightsError if it is none"""
    names = vectors_in(stored)
    flat = all(len(stored.shapes[name]) in (1, 2) and stored.dtypes[name].is_floating_point for name in names)
    if names and flat and all(name in SEVERAL for name in names):
        return sorted(names, key=SEVERAL.__getitem__)
    if len(names) == 1 and flat and may_be_word(stored, names[0]):
        return names
    problem = f"it is no embedding: {len(stored.shapes)} tensors, first {shown(next(iter(stored.shapes)))!r}"
    raise WeightsError(problem, hint="`fromnoise inspect FILE` says what it is")


def vectors_in(stored: Stored) -> list[str]:
    """The tensors that may be vectors of a word: ids of words are none."""
    return [name for name in stored.shapes if not name.startswith(TOKENS)]


def may_be_word(stored: Stored, name: str) -> bool:
    """Whether a tensor may be called by a word: with dots it is a layer's, unless the file says that word."""
    return "." not in name.removeprefix(A1111) or name == stored.metadata.get(WORD)


def _read(stored: Stored, name: str) -> Tensor:
    tensor = stored.read(name).float().clone()
    tensor = tensor[None] if tensor.ndim == 1 else tensor
    if not 1 <= len(tensor) <= MOST:
        raise WeightsError(f"{shown(name)!r} holds {len(tensor)} vectors; a text has room for {MOST} at most")
    if not tensor.isfinite().all():
        raise WeightsError(f"it is damaged: {shown(name)!r} holds NaN or infinity")
    return tensor


def save_embedding(
    embedding: Embedding, path: str | os.PathLike[str], layout: EmbeddingLayout = "kohya"
) -> None:
    """Write an embedding whole or not at all; `open_embedding` reads the same back.

    `layout`: "kohya" is read by AUTOMATIC1111, Forge and ComfyUI; "diffusers" names the tensor by the word,
    as `load_textual_inversion` expects. With two text encoders both write clip_l and clip_g
    Raises: StorageError; RequestError; WeightsError if it is not finite
    """
    if layout not in EMBEDDING_LAYOUTS:
        raise RequestError({"layout": f"{layout!r} is unknown; {did_you_mean(layout, EMBEDDING_LAYOUTS)}"})
    if not all(each.isfinite().all() for each in embedding.vectors):
        raise WeightsError(
            f"{embedding.word} holds numbers that are not finite", hint="lower the learning rate"
        )
    tensors = dict(zip(_names(embedding, layout), embedding.vectors, strict=True))
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}
    slots = [Slot(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    metadata = {**embedding.metadata, **({WORD: embedding.word} if embedding.word in tensors else {})}
    with replacing(Path(path)) as part, part.open("wb") as file:
        write_safetensors(file, slots, metadata, lambda slot: pieces_of(tensors[slot.name]))


def _names(embedding: Embedding, layout: str) -> Sequence[str]:
    if len(embedding.vectors) > 1:
        return list(SEVERAL)[: len(embedding.vectors)]
    return [embedding.word if layout == "diffusers" else ALONE]
