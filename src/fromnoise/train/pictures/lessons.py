"""Batches for a network that learns from a folder of pictures: latents, captions, and sizes."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from fromnoise.errors import RequestError
from fromnoise.nets.encoder import LatentGaussian
from fromnoise.nets.latents import scale_latents
from fromnoise.reading import Facts
from fromnoise.specs import ModelSpec
from fromnoise.text import Tokenizer
from fromnoise.train.pictures.examples import Example, Size
from fromnoise.train.pictures.latent_cache import LatentCache
from fromnoise.train.pictures.phrasing import Phrasing
from fromnoise.train.pictures.timetable import Timetable
from fromnoise.train.state import generator

DRAWN = 15  # what the generators are for


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one step learns from: pictures of one size.

    Shapes: latents (B, C, h, w) in the U-Net's units
    """

    latents: Tensor
    captions: tuple[str, ...]
    facts: tuple[Facts, ...]  # what SDXL is told of each picture
    share: float  # of a full batch: weight the loss with it, and every picture counts alike


class Lessons:
    """All lessons of a training. Each is a function of the seed and the step alone."""

    def __init__(
        self,
        examples: Iterable[Example],
        cache: LatentCache,
        spec: ModelSpec,
        tokenizers: Sequence[Tokenizer],
        *,
        batch: int,
        seed: int,
        phrasing: Phrasing = Phrasing(),  # noqa: B008 - frozen
        held_out: int = 0,
    ) -> None:
        """`held_out`: pictures that are only looked at; names decide which, so they stay when others come.

        Raises: RequestError if none is left to train on
        """
        self.cache, self.spec, self.tokenizers = cache, spec, tuple(tokenizers)
        self.seed, self.phrasing, self.batch = seed, phrasing, batch
        usable = sorted((e for e in examples if e in cache), key=lambda e: sha256(_bytes(e.name)).digest())
        if not usable:
            raise RequestError(
                {"pictures": "none of them could be decoded"}, hint="see the census for reasons"
            )
        check_held_out(held_out, len(usable))
        self.held_out, self.examples = usable[:held_out], sorted(usable[held_out:], key=lambda e: e.name)
        self.timetable = Timetable(_groups(self.examples, cache), batch, seed)

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every picture was seen, as often as it is to be repeated."""
        return self.timetable.steps

    def digest(self) -> str:
        """Of all that lessons are made of: if it differs at a resume, pictures or captions have changed."""
        phrasing = [self.phrasing.dropout, self.phrasing.shuffle, self.phrasing.keep]
        rows = [[e.name, self.cache.key(e), e.captions, e.repeats] for e in self.examples]
        return sha256(json.dumps([self.seed, self.batch, phrasing, rows]).encode()).hexdigest()

    def at(self, step: int) -> Lesson:
        """What a step (0, 1, …) learns from."""
        examples = [self.examples[place] for place in self.timetable.at(step)]
        captions = self.phrasing([example.captions for example in examples], self.seed, step)
        return self._lesson(examples, captions, generator(self.seed, DRAWN, step))

    def held_out_lessons(self) -> Iterator[Lesson]:
        """The pictures held out, with their first captions, always with the same noise."""
        for number, places in enumerate(_groups(self.held_out, self.cache)):
            for at in range(0, len(places), self.batch):
                examples = [self.held_out[place] for place in places[at : at + self.batch]]
                chance = generator(self.seed, DRAWN, -1, number, at)
                yield self._lesson(examples, [example.captions[0] for example in examples], chance)

    def too_long(self) -> list[str]:
        """The names of those pictures whose captions are longer than the window: their ends go unread."""
        texts = list(zip(self.tokenizers, self.spec.texts, strict=True))
        return [
            example.name
            for example in self.examples
            if any(any(t(example.captions, context=text.context).cut) for t, text in texts)
        ]

    def _lesson(self, examples: Sequence[Example], captions: list[str], chance: torch.Generator) -> Lesson:
        rows = [self.cache.gaussian(example) for example in examples]
        latent = LatentGaussian(
            torch.cat([row.mean for row in rows]), torch.cat([row.log_variance for row in rows])
        )
        drawn = latent.sample(torch.randn(latent.mean.shape, generator=chance))
        return Lesson(
            latents=scale_latents(self.spec.vae, drawn),
            captions=tuple(captions),
            facts=tuple(self._facts(example) for example in examples),
            share=len(examples) / self.batch,
        )

    def _facts(self, example: Example) -> Facts:
        """Source: Podell et al. 2023, sec. 2.2 (arXiv:2307.01952)."""
        bucket, (left, top, right, bottom) = self.cache.bucket(example), self.cache.box(example)
        across, down = bucket[0] / (right - left), bucket[1] / (bottom - top)
        return Facts(size=bucket, original_size=example.size, crop=(round(left * across), round(top * down)))


def check_held_out(held_out: int, usable: int) -> None:
    """Raises: RequestError if none is left to train on"""
    if not 0 <= held_out < usable:
        problem = f"{held_out} of {usable} are to be held out, so none is left to train on"
        raise RequestError({"pictures": problem}, hint="add pictures, or hold out fewer")


def _groups(examples: Sequence[Example], cache: LatentCache) -> list[list[int]]:
    """The places of each bucket's pictures, as often as they are to be repeated."""
    groups: dict[Size, list[int]] = {}
    for place, example in enumerate(examples):
        groups.setdefault(cache.bucket(example), []).extend([place] * example.repeats)
    return [groups[bucket] for bucket in sorted(groups)]


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
