"""How much memory drawing takes on a CPU, and what is done where it is short: decided before any is taken.

Weights that lie in a file (weights/shelved.py) are held once, in the form in which they calculate. Where even
that is too much, some are made anew for each use; where activations are, texts are read one at a time.
Peaks are those of the whole process; benchmarks/memory.py measures them beside these predictions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from re import fullmatch
from sys import maxsize
from typing import Final, Literal

import torch

from fromnoise.engine.memory import available
from fromnoise.engine.packing import can_pack
from fromnoise.engine.room import TEXTS, UNET_MAPS
from fromnoise.engine.winograd import KERNELS, SPREAD, is_large, is_wide
from fromnoise.engine.work import Ask, Work, decoder_work, unet_weights, unet_work
from fromnoise.errors import OutOfMemory, RequestError
from fromnoise.request import FilledRequest
from fromnoise.specs import ModelSpec

Memory = Literal["auto", "low"] | int
"""What is free, as little as possible, or so many bytes."""

AUTO, LOW = "auto", "low"
UNITS: Final = {"": 10**9, "g": 10**9, "gb": 10**9, "gib": 2**30, "m": 10**6, "mb": 10**6, "mib": 2**20}
GB: Final = 1e9

# Measured: benchmarks/memory.py
RUNTIME: Final = 370_000_000  # Python, torch, a vocabulary, and what oneDNN compiles for itself
VAE_MAPS: Final = 12.5  # of the autoencoder's first width and full size, with the holes between them
FEWER_MAPS: Final = 6.2  # where every large one is given back at once, which takes a little longer
SPARE: Final = 1.6  # what the U-Net's maps take, holes between them included
HOLES: Final = 1.12  # what packed weights take, holes between them included
BYTES: Final = 1.3  # of a number in int8, with what stays as it was
SUMS: Final = 25_000_000  # numbers that large convolutions multiply, a part of a map at a time
SMALLEST: Final = 64  # pixels: the shortest side that is proposed


@dataclass(frozen=True, slots=True)
class Load:
    """A model as memory sees it.

    `size`: bytes of a number; `packed`: of one that is packed; `shelved`: are weights in their file?
    """

    spec: ModelSpec
    size: int
    packed: float = 0.0  # 0: nothing is packed
    shelved: bool = True
    beside: int = 0  # numbers that an adapter changed
    late: "tuple[Load, ...]" = ()  # a refiner

    @classmethod
    def of(cls, spec: ModelSpec, dtype: torch.dtype, engine: str, shelved: bool) -> "Load":
        """As an engine packs it."""
        packed = {"plain": 0.0, "int8": BYTES}.get(engine, float(dtype.itemsize))
        return cls(spec, dtype.itemsize, packed if can_pack(dtype) else 0.0, shelved)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What is done to stay within a budget, and the most that each part of a drawing then takes.

    Units: bytes
    """

    sequential: bool  # texts one at a time, and large maps handed back at once: a few per cent longer
    kept: int  # of the U-Net's weights, from step to step; the others are packed for each use
    given: int  # of these, given up while a picture is decoded
    reading: int
    drawing: int
    decoding: int
    streams: int = 0  # of the U-Net's weights, at each step
    returns: bool = True  # can packed weights be given back, to be made again from the file?
    number: float = 1.0  # a packed weight
    spreads: bool = False  # kernels of large convolutions are kept as they are multiplied (winograd.py)
    is_large: bool = False  # are there such convolutions?

    @property
    def peak(self) -> int:
        """The most."""
        return max(self.reading, self.drawing, self.decoding)

    def count(self, size: int) -> int:
        """How many packed weights so many bytes are."""
        return int(size / self.number)

    def __str__(self) -> str:
        means = [f"{self.peak / GB:.1f} GB"]
        means += ["one text at a time"] if self.sequential else []
        if self.is_large and not self.spreads:
            means.append("kernels of large convolutions are made ready at each use")
        means += [f"{self.streams / GB:.1f} GB of weights anew at each step"] if self.streams else []
        return ", ".join(means)


def memory_of(text: str | int) -> Memory:
    """What somebody means by auto, low, 4, "4GB" or "900MB"; a bare number is GB, a whole one bytes.

    Raises: RequestError
    """
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    word = str(text).strip().lower()
    if word in (AUTO, LOW):
        return AUTO if word == AUTO else LOW
    found = None if isinstance(text, int) else fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", word)
    if found and found[2] in UNITS and float(found[1]) > 0:
        return int(float(found[1]) * UNITS[found[2]])
    raise RequestError({"memory": f"{text!r} is no amount"}, hint="give auto, low, or such as 4GB or 900MB")


def plan(
    load: Load, request: FilledRequest, memory: Memory, *, picture: bool = False, at_once: int = 1
) -> MemoryPlan:
    """The least that must be done for a request to fit, if so many pictures are drawn at a time.

    `picture`: one is encoded first
    Raises: OutOfMemory that names the need, the budget and the nearest size that fits
    """
    free = available() if isinstance(memory, str) else memory
    budget = maxsize if free is None else free
    need = Need(load, request, at_once, picture)
    plans = need.plans(budget, low=memory == LOW)
    fits = next((each for each in plans if each.peak <= budget), None)
    if fits is None:
        raise need.refusal(budget)
    return fits


@dataclass(frozen=True, slots=True)
class Need:
    """What a drawing needs.  `at_once`: pictures at a time; `encodes`: is one encoded first?"""

    load: Load
    request: FilledRequest
    at_once: int
    encodes: bool

    def plans(self, budget: int, *, low: bool) -> Iterator[MemoryPlan]:
        """From the fastest to the smallest; if `low`, the smallest alone."""
        if not low:
            yield self.plan(_unet(self.load), sequential=False, spreads=True)
            yield self.plan(_unet(self.load), sequential=False)
            yield self.plan(_unet(self.load), sequential=True)
        if not low and self.load.shelved:
            yield self.plan(max(0, int((budget - self.least.drawing) / HOLES)), sequential=True)
        yield self.least

    @property
    def least(self) -> MemoryPlan:
        """The smallest plan."""
        return self.plan(0 if self.load.shelved else _unet(self.load), sequential=True)

    def refusal(self, budget: int) -> OutOfMemory:
        """Why a request is not drawn, and what would be."""
        request, several = self.request, f", {self.at_once} at a time," if self.at_once > 1 else ""
        need = f"{request.width}x{request.height} pixels{several} take {self.least.peak / GB:.2f} GB at least"
        return OutOfMemory(f"{need}, and there are {budget / GB:.2f} GB", hint=self.way_out(budget))

    def way_out(self, budget: int) -> str:
        """What to do instead."""
        for fewer in range(self.at_once - 1, 0, -1):
            if replace(self, at_once=fewer).least.peak <= budget:
                return f"{fewer} at a time fit" if fewer > 1 else "one at a time fits"
        for width, height in smaller(self.load.spec, self.request):
            asked = replace(self.request, width=width, height=height)
            if replace(self, request=asked, at_once=1).least.peak <= budget:
                return f"{width}x{height} fits"
        return "give it more memory, or take a smaller model"

    def plan(self, room: int, *, sequential: bool, spreads: bool = False) -> MemoryPlan:
        """With so many bytes of the U-Net's weights kept at most."""
        load, total, asked = self.load, _unet(self.load), self.asked(sequential)
        kept = min(room, total)
        unet, *late = (_large(each, unet_work(each.spec.unet, asked), asked) for each in self.loads)
        decoder = _large(load, decoder_work(load.spec.vae, asked.height, asked.width, self.at_once), asked)
        wide, wide_decoder = (_spread(load, large) if spreads else 0 for large in (unet, decoder))
        drawing = self.resident + int(HOLES * (kept + wide)) + self.activations(asked)
        late_sums = (_sums(*each, spreads=False) for each in zip(load.late, late, strict=True))
        drawing += max([_sums(load, unet, spreads=spreads), *late_sums])
        decoding = self.resident + int(_decoder(load.spec) * (load.packed or 1)) + wide_decoder
        decoding += self.at_once * self.maps(sequential) + _sums(load, decoder, spreads=spreads)
        held = int(HOLES * (kept + wide))
        given = min(kept, max(0, decoding + held - drawing)) if load.shelved else 0
        left = held - int(HOLES * given)  # also by an earlier drawing, while a picture is encoded
        encoding = self.resident + left + self.maps(sequential) if self.encodes else 0
        return MemoryPlan(
            sequential=sequential,
            kept=kept,
            given=given,
            reading=max(self.reading, encoding),
            drawing=drawing + (3 if room < total else 2) * self.largest,
            decoding=decoding + left,
            streams=total - kept,
            returns=load.shelved,
            number=load.packed or 1.0,
            spreads=spreads,
            is_large=bool(unet or decoder),
        )

    @property
    def loads(self) -> list[Load]:
        """The model, and a refiner if there is one."""
        return [self.load, *self.load.late]

    @property
    def resident(self) -> int:
        """What is there all the time: of a refiner, the packed weights too."""
        plain = sum(_all(each.spec) * each.size for each in self.loads if not each.shelved)
        packed = sum(map(_unet, self.load.late))
        return RUNTIME + self.load.size * self.load.beside + plain + int(HOLES * packed)

    @property
    def reading(self) -> int:
        """The texts."""
        words = max(text.vocab * text.width for each in self.loads for text in each.spec.texts)
        return self.resident + (2 * self.load.size * words if self.load.shelved else 0)

    @property
    def largest(self) -> int:
        """One of a U-Net's weights, while it is packed."""
        return max(
            each.size * work.weights for each in self.loads for work in unet_work(each.spec.unet, Ask(8, 8))
        )

    def activations(self, asked: Ask) -> int:
        """What a U-Net's layers hand on to each other."""
        places = asked.height * asked.width * asked.pictures * asked.texts
        width = max(each.size * each.spec.unet.base_width for each in self.loads)
        return int(SPARE * UNET_MAPS * width * places)

    def maps(self, sequential: bool) -> int:
        """Those of the autoencoder, for one picture."""
        vae = self.load.spec.vae
        places = (self.request.width // vae.patch) * (self.request.height // vae.patch)
        return int((FEWER_MAPS if sequential else VAE_MAPS) * self.load.size * vae.base_width * places)

    def asked(self, sequential: bool) -> Ask:
        """One question to the U-Net."""
        factor = self.load.spec.vae.factor
        texts = 1 if sequential else max(texts_of(each, self.request) for each in self.loads)
        return Ask(self.request.height // factor, self.request.width // factor, self.at_once, texts)


def smaller(spec: ModelSpec, request: FilledRequest) -> Iterator[tuple[int, int]]:
    """Sizes of about the same shape, from the largest down."""
    grid = max(spec.vae.factor, SMALLEST // 8)
    long, short = max(request.width, request.height), min(request.width, request.height)
    for side in range(long - grid, SMALLEST - 1, -grid):
        other = round(short * side / long / grid) * grid
        if other >= min(SMALLEST, short):
            yield (side, other) if request.width >= request.height else (other, side)


def texts_of(load: Load, request: FilledRequest) -> int:
    """How many texts a picture is drawn with at most."""
    if load.spec.unet.in_channels == 2 * load.spec.vae.latent_channels:
        return TEXTS + 1
    return 1 if request.guidance == 1 or load.spec.unet.guidance_width else TEXTS


def _large(load: Load, works: Iterable[Work], asked: Ask) -> list[Work]:
    """The convolutions that go by sums of pixels, as if all were 3x3 and left no pixel out."""
    if load.packed != load.size:
        return []
    scales = [2.0**level for level in range(1 - len(load.spec.unet.widths), len(load.spec.vae.widths))]
    sides = ((ceil(scale * asked.height), ceil(scale * asked.width)) for scale in scales)
    maps = {height * width: (height, width) for height, width in sides}
    convs = (work for work in works if work.kind in ("conv", "upsample"))
    return [conv for conv in convs if _is_large(conv, *maps[conv.length])]


def _is_large(conv: Work, height: int, width: int) -> bool:
    if conv.kind == "upsample" and height % 2 == width % 2 == 0:
        return False  # it is folded
    return is_wide(conv.width, conv.weights / 9 / conv.width) and is_large(height, width)


def _sums(load: Load, large: list[Work], *, spreads: bool) -> int:
    """What such convolutions hold beside their maps and what is kept of kernels, where there are any."""
    return (SUMS + (0 if spreads else KERNELS)) * load.size if large else 0


def _spread(load: Load, large: list[Work]) -> int:
    """What their kernels take beside the plain ones, where they are kept as they are multiplied."""
    return (SPREAD - 1) * load.size * sum(work.weights for work in large)


def weights_of(spec: ModelSpec) -> int:
    """Numbers of a U-Net's packed weights; an Upsample's 3x3 kernels take sixteen places instead of nine."""
    folded = sum(7 * width**2 for width in spec.unet.widths[1:])
    return folded + unet_weights(spec.unet)


def _unet(load: Load) -> int:
    return int(load.packed * weights_of(load.spec))


def _decoder(spec: ModelSpec) -> int:
    folded = sum(7 * width**2 for width in spec.vae.widths[1:])
    return folded + sum(work.weights for work in decoder_work(spec.vae, 8, 8))


def _all(spec: ModelSpec) -> int:
    """Numbers of the plain networks; the encoder has about as many as the decoder."""
    texts = sum(text.vocab * text.width + 12 * text.layers * text.width**2 for text in spec.texts)
    return unet_weights(spec.unet) + 2 * _decoder(spec) + texts
