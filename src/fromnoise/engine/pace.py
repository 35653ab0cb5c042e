"""How long a request will take, said before it is drawn: what must be calculated, and how fast that goes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Final

import torch

from fromnoise.engine.placing import faster
from fromnoise.engine.rates import Rates
from fromnoise.engine.reuse import Rhythm
from fromnoise.engine.trials import decoder_trial, unet_trial
from fromnoise.engine.work import Ask, Work, decoder_work, encoder_work, text_work, unet_weights, unet_work
from fromnoise.noise.descent import asked_at, entered_at, level_at, taken_over_at
from fromnoise.noise.schedule import schedule_from
from fromnoise.request import FilledRequest, GenerateRequest
from fromnoise.specs import ModelSpec, UNetSpec

CPU: Final = torch.device("cpu")
SHORT: Final = 0.25  # seconds: what takes less is tried, for the counting is rough with small networks
READING: Final = 9.6  # times a byte's packing, for each weight: read, widened, into cleared memory. Measured
TEXTS: Final = 2  # the prompt and the negative prompt are always read, together


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds, from where the model is loaded."""

    first: float  # until the first step is done: reading, arranging the weights, one step
    step: float  # each of the steps, on average over the way
    decode: float  # one picture, or one batch
    total: float  # all the pictures


def predicted_seconds(
    spec: ModelSpec,
    request: GenerateRequest,
    *,
    engine: str = "auto",
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
    refiner: ModelSpec | None = None,
    batch: int = 1,
) -> Forecast:
    """How long drawing will take on this machine, after a short look at how fast that is.

    `request`: as the pipeline settles it (`Pipeline.settled`); `batch`: pictures that are drawn at a time
    """
    return Clock(spec, dtype, engine, device, refiner, batch).forecast(request)


@dataclass(slots=True)
class Clock:
    """Forecasts for one model; what it has seen of the machine serves for all of them."""

    spec: ModelSpec
    dtype: torch.dtype
    engine: str = "auto"
    device: torch.device = CPU
    refiner: ModelSpec | None = None
    batch: int = 1
    streams: int = 0  # bytes of the U-Net's weights that are packed for each use (`MemoryPlan.streams`)
    rates: Rates = field(init=False)
    known: dict[tuple[UNetSpec, Ask], float] = field(default_factory=dict[tuple[UNetSpec, Ask], float])
    decoded: dict[tuple[int, int, int], float] = field(default_factory=dict[tuple[int, int, int], float])

    def __post_init__(self) -> None:
        self.rates = Rates(self.dtype, partial(faster, engine=self.engine, placing=None), self.device)

    def forecast(self, request: GenerateRequest) -> Forecast:
        """How long this request will take."""
        full = request.filled(self.spec.defaults)
        if full.strength == 0:  # the picture is given back as it is
            return Forecast(0.0, 0.0, 0.0, 0.0)
        size = full.height // self.spec.vae.factor, full.width // self.spec.vae.factor
        asked = Counter(questions(full, self.spec, self.refiner, min(self.batch, len(full.seeds))))
        answers = {ask: self._answer(*ask) + self._packing_anew(*ask) for ask in asked}
        steps = len(levels(full, self.spec)) - 1
        way = sum(answers[ask] * count for ask, count in asked.items())
        decode = self._decode(*size, min(self.batch, len(full.seeds)))
        before = self.seconds(self._read(full, size)) + self._packing()
        batches = -(-len(full.seeds) // self.batch)
        first = before + next(iter(answers.values()))
        return Forecast(first, way / steps, decode, before + batches * (way + decode))

    def _answer(self, unet: UNetSpec, ask: Ask) -> float:
        if (unet, ask) not in self.known:
            counted = self.seconds(unet_work(unet, ask))
            plain = replace(ask, merge=0.0, deep=True)
            if plain != ask and self._is_short(counted):  # the counting says which share a shortcut leaves
                counted *= self._answer(unet, plain) / self.seconds(unet_work(unet, plain))
            elif self._is_short(counted):
                counted = unet_trial(self.rates, unet, ask)
            self.known[unet, ask] = counted
        return self.known[unet, ask]

    def _decode(self, height: int, width: int, pictures: int) -> float:
        asked = height, width, pictures
        if asked not in self.decoded:
            counted = self.seconds(decoder_work(self.spec.vae, *asked))
            if self._is_short(counted):
                counted = decoder_trial(self.rates, self.spec.vae, *asked)
            self.decoded[asked] = counted
        return self.decoded[asked]

    def _is_short(self, seconds: float) -> bool:
        return seconds < SHORT and self.device == CPU  # a card's networks are compiled: no short look

    def seconds(self, work: Iterator[Work]) -> float:
        """How long this work takes."""
        listed = list(work)
        self.rates.look(listed)
        return self.rates.seconds(listed)

    def _read(self, request: FilledRequest, size: tuple[int, int]) -> Iterator[Work]:
        """What is done once: the text, and the pictures that are given."""
        yield from chain(*(text_work(text, TEXTS) for model in self._models() for text in model.texts))
        starts = request.strength not in (None, 1)
        reads = self.spec.unet.in_channels != self.spec.vae.latent_channels
        for _ in range(starts + reads):
            yield from encoder_work(self.spec.vae, *size)

    def _packing(self) -> float:
        """Arranging the weights for the processor, when they are first used, if they are to stay."""
        size = self.dtype.itemsize * sum(unet_weights(model.unet) for model in self._models())
        return self._arranged(max(0, size - self.streams))

    def _packing_anew(self, unet: UNetSpec, ask: Ask) -> float:
        """Arranging those that do not stay: of a reused deep part, none."""
        if unet is not self.spec.unet:
            return 0.0
        return self._arranged(self.streams) * unet_weights(unet, ask) / unet_weights(unet)

    def _arranged(self, size: int) -> float:
        """Reading so many bytes of weights from their file, and arranging them."""
        return READING * size / self.dtype.itemsize * self.rates.packing

    def _models(self) -> list[ModelSpec]:
        return [self.spec, *([self.refiner] if self.refiner else [])]


def levels(request: FilledRequest, spec: ModelSpec) -> list[float]:
    """The way down that a request asks for."""
    schedule = schedule_from(spec.schedule)
    sigmas = schedule.sigmas(request.steps, request.spacing)
    if request.strength is None:
        return sigmas
    return entered_at(level_at(schedule, request.strength), sigmas)


def questions(
    request: FilledRequest, spec: ModelSpec, refiner: ModelSpec | None, pictures: int
) -> Iterator[tuple[UNetSpec, Ask]]:
    """What the networks are asked on the way down for one batch of pictures, in order."""
    height, width = request.height // spec.vae.factor, request.width // spec.vae.factor
    rhythms = {id(model): Rhythm(request.reuse) for model in (spec, refiner)}
    handover = -1.0
    if refiner is not None and request.refine_from is not None:
        handover = taken_over_at(schedule_from(refiner.schedule), request.refine_from)
    for sigma in asked_at(request.sampler, levels(request, spec)):
        model = refiner if refiner is not None and sigma < handover else spec
        texts = texts_at(request, model, sigma)
        deep = rhythms[id(model)].is_due(texts)
        tokens = model.texts[0].context
        yield model.unet, Ask(height, width, pictures, texts, tokens, request.merge, deep)


def texts_at(request: FilledRequest, spec: ModelSpec, sigma: float) -> int:
    """How many texts a picture is drawn with at this noise level: as `drawing.course.follow` asks."""
    outside = request.guidance_interval is not None and not (
        request.guidance_interval[0] < sigma <= request.guidance_interval[1]
    )
    if outside or spec.unet.guidance_width:
        return 1
    if request.image_guidance is not None:
        return 1 if request.guidance == request.image_guidance == 1 else 3
    return 1 if request.guidance == 1 else 2
