"""What learns from one's own pictures: a whole U-Net, a low rank beside its layers, or a word's vectors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from fromnoise.errors import RequestError
from fromnoise.nets.low_rank import ATTENTION, CONVOLUTION, TRANSFORMER, LowRank, with_low_rank
from fromnoise.noise.denoiser import Conditioning
from fromnoise.pipeline import Pipeline
from fromnoise.reading import Facts, Reader
from fromnoise.train.own.wishes import Wishes
from fromnoise.train.pictures import FrozenText
from fromnoise.train.pictures.live_text import LiveText
from fromnoise.train.state import generator
from fromnoise.train.unet import start_quietly
from fromnoise.weights.embeddings import MOST

Read = Callable[[Sequence[str], Sequence[Facts]], Conditioning]

LAYERS: Final[Mapping[str, tuple[str, ...]]] = {
    "attention": ATTENTION,
    "transformer": TRANSFORMER,
    "all": (*TRANSFORMER, *CONVOLUTION),
}
ENDS: Final = 2  # of a text's tokens: its start and its end
BEGUN: Final = 31  # what the generators are for
SPREAD: Final = 0.01  # of the average length of a token's vector: so much do a word's vectors differ at first


@dataclass(frozen=True)
class Learner:
    """What is trained: the pipeline that holds it, its parameters, and how captions are read."""

    pipe: Pipeline
    modules: nn.Module
    read: Read

    @property
    def count(self) -> int:
        """How many numbers learn."""
        return sum(parameter.numel() for parameter in self.modules.parameters())


def unet_learner(pipe: Pipeline, wishes: Wishes) -> Learner:
    """The whole U-Net, from where it is or from nothing."""
    unet = pipe.unet
    if wishes.from_scratch:
        torch.manual_seed(wishes.seed)
        fresh = start_quietly(type(unet)(unet.spec))
        unet.load_state_dict(fresh.state_dict(), assign=True)
    for parameter in unet.parameters():  # never in a mapped file
        parameter.data = parameter.data.clone()
    unet.requires_grad_(True).train()
    return Learner(pipe, unet, FrozenText(pipe.reader))


def lora_learner(pipe: Pipeline, wishes: Wishes) -> Learner:
    """Corrections of low rank in the U-Net, and in the text encoders if asked for."""
    chance = generator(wishes.seed, BEGUN)
    alpha = wishes.strength
    made = {
        f"unet.{name}": layer
        for name, layer in with_low_rank(
            pipe.unet, wishes.rank, alpha=alpha, which=LAYERS[wishes.layers], generator=chance
        ).items()
    }
    if wishes.text:
        for place, encoder in enumerate(pipe.text_encoders):
            layers = with_low_rank(
                encoder, wishes.rank, alpha=alpha, which=(*ATTENTION, "fc1", "fc2"), generator=chance
            )
            made |= {f"texts.{place}.{name}": layer for name, layer in layers.items()}
    read: Read = LiveText(pipe.reader) if wishes.text else FrozenText(pipe.reader)
    return Learner(pipe, Factors(made), read)


class Factors(nn.Module):
    """All that learns in some `LowRank` layers."""

    def __init__(self, layers: Mapping[str, LowRank]) -> None:
        super().__init__()
        for name, layer in layers.items():
            layer.layer.requires_grad_(False)
            pair = nn.ModuleDict({"down": layer.down, "up": layer.up})
            self.add_module(name.replace(".", "/"), pair)


def embedding_learner(pipe: Pipeline, wishes: Wishes) -> Learner:
    """The vectors of one new word.  Raises: RequestError for what cannot be a word, or fits into no text"""
    room = min(MOST, *(text.context - ENDS for text in pipe.spec.texts))
    if wishes.vectors > room:
        raise RequestError({"vectors": f"{wishes.vectors} are more than a text has room for, {room}"})
    word = Word(pipe.reader, wishes)
    pipe.unet.requires_grad_(False)
    taught = replace(pipe, reader=pipe.reader.taught({wishes.word: word.vectors}))
    return Learner(taught, word, LiveText(taught.reader))


class Word(nn.Module):
    """A word's vectors, one set for each text encoder.  Shapes: (vectors, width)

    Source: Gal et al. 2022 (arXiv:2208.01618); they begin as those of a coarse word for the same
    """

    def __init__(self, reader: Reader, wishes: Wishes) -> None:
        super().__init__()
        chance = generator(wishes.seed, BEGUN)
        self.each = nn.ParameterList(
            nn.Parameter(self._begin(tokenizer.encode(wishes.init), encoder.tokens.weight, wishes, chance))
            for tokenizer, encoder in zip(reader.tokenizers, reader.encoders, strict=True)
        )

    @property
    def vectors(self) -> tuple[Tensor, ...]:
        """One for each text encoder."""
        return tuple(self.each)

    def _begin(self, ids: list[int], known: Tensor, wishes: Wishes, chance: torch.Generator) -> Tensor:
        if wishes.init and not ids:
            raise RequestError({"init": f"{wishes.init!r} holds no word to begin with"})
        known = known.detach().float()
        start = (known[ids] if ids else known).mean(0)
        apart = torch.randn(wishes.vectors, known.shape[1], generator=chance)
        return start + SPREAD * known.std() * apart
