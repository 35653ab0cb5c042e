"""What the networks of a model calculate for one call, counted from their specs alone, part by part.

tests/engine/test_work.py compares the sums with what torch counts in the networks themselves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final, Literal

from fromnoise.engine.merging import CELL, finest
from fromnoise.engine.reuse import SHALLOW
from fromnoise.specs import ClipSpec, UNetSpec, VaeSpec

Kind = Literal["conv", "upsample", "linear", "attention", "norm"]

MOVES: Final = 6  # times that merging and its undoing pass over all tokens
EXPANSION: Final = 4  # of the inner width of every feed-forward part


@dataclass(frozen=True, slots=True)
class Work:
    """One operation.

    `width`: the narrower of its channels, those of a head for attention; `length`: places of the map, keys
    of attention, rows of a linear layer. Units: flops of a norm: numbers read; weights: numbers
    """

    kind: Kind
    flops: float
    width: int
    length: int
    weights: int = 0


def conv(rows: int, c_in: int, c_out: int, places: int, kernel: int = 3) -> Work:
    """A convolution to a map of so many places."""
    weights = kernel**2 * c_in * c_out
    return Work("conv", 2 * rows * places * weights, min(c_in, c_out), places, weights)


def upsample(rows: int, c: int, places: int) -> Work:
    """A convolution of a map doubled to so many places: some engines calculate less than it says."""
    return replace(conv(rows, c, c, places), kind="upsample")


def linear(rows: int, c_in: int, c_out: int) -> Work:
    """A linear layer."""
    return Work("linear", 2 * rows * c_in * c_out, min(c_in, c_out), rows, c_in * c_out)


def norm(rows: int, channels: int, places: int) -> Work:
    """A normalisation, and what goes with it: an activation, a sum."""
    return Work("norm", rows * channels * places, channels, places)


def gathering(rows: int, queries: int, keys: int, width: int, heads: int) -> Work:
    """The two products within attention."""
    return Work("attention", 4 * rows * queries * keys * width, width // heads, keys)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to a U-Net: how large the latents are, how many, and what shortcuts it takes."""

    height: int
    width: int
    pictures: int = 1
    texts: int = 1  # a picture
    tokens: int = 77  # a text
    merge: float = 0.0
    deep: bool = True  # else only the stages that are calculated at every step


@dataclass(slots=True)
class _UNet:
    """Walks a U-Net as it runs; `rows` grows where the first text is read."""

    spec: UNetSpec
    ask: Ask
    rows: int

    def places(self, level: int) -> int:
        side = 2**level
        return ceil(self.ask.height / side) * ceil(self.ask.width / side)

    def resnet(self, level: int, c_in: int, c_out: int) -> Iterator[Work]:
        yield from resnet(self.rows, c_in, c_out, self.places(level))
        yield linear(self.rows, 4 * self.spec.base_width, c_out)

    def transformer(self, level: int, c: int, depth: int) -> Iterator[Work]:
        places, heads = self.places(level), self.spec.heads_for(c)
        gone = self.gone(level)
        yield norm(self.rows, c, places)
        yield self.projection(c, places)
        for _ in range(depth):
            yield norm(self.rows, c, places)
            if gone:
                targets = places // CELL**2  # about: odd sides have fewer
                yield linear(self.rows * (places - targets), c, targets)
                for _ in range(MOVES):
                    yield norm(self.rows, c, places)
            yield from self_attention(self.rows, places - gone, c, heads)
            self.rows = self.ask.pictures * self.ask.texts
            yield norm(self.rows, c, places)
            yield from cross_attention(self.rows, places, c, heads, self.ask.tokens, self.spec.context_width)
            yield norm(self.rows, c, places)
            yield linear(self.rows * places, c, 2 * EXPANSION * c)
            yield linear(self.rows * places, EXPANSION * c, c)
        yield self.projection(c, places)

    def projection(self, c: int, places: int) -> Work:
        is_linear = self.spec.linear_projection
        return linear(self.rows * places, c, c) if is_linear else conv(self.rows, c, c, places, 1)

    def gone(self, level: int) -> int:
        if level != finest(self.spec) or not self.ask.merge:
            return 0
        places = self.places(level)
        return min(int(self.ask.merge * places), places - places // CELL**2)

    def pair(self, level: int, c_in: int, c_out: int, depth: int) -> list[Iterator[Work]]:
        after = [self.transformer(level, c_out, depth)] if depth else []
        return [self.resnet(level, c_in, c_out), *after]

    def down(self) -> list[list[Iterator[Work]]]:
        spec, widths = self.spec, self.spec.widths
        stages = [[self.one(spec.in_channels, widths[0], 0)]]
        c = widths[0]
        for level, (width, depths) in enumerate(zip(widths, spec.down, strict=True)):
            for depth in depths:
                stages.append(self.pair(level, c, width, depth))
                c = width
            if level + 1 < len(widths):
                stages.append([self.one(c, c, level + 1)])
        return stages

    def mid(self) -> list[Iterator[Work]]:
        spec, c, level = self.spec, self.spec.widths[-1], len(self.spec.widths) - 1
        if spec.mid is None:
            return []
        return self.pair(level, c, c, spec.mid) + ([self.resnet(level, c, c)] if spec.mid else [])

    def up(self) -> list[list[Iterator[Work]]]:
        widths = self.spec.widths
        skips = [widths[0]]
        for level, (width, depths) in enumerate(zip(widths, self.spec.down, strict=True)):
            skips += [width] * (len(depths) + (level + 1 < len(widths)))
        stages, c = list[list[Iterator[Work]]](), widths[-1]
        for level, width, depths in zip(
            reversed(range(len(widths))), reversed(widths), self.spec.up, strict=True
        ):
            for k, depth in enumerate(depths):
                parts = self.pair(level, c + skips.pop(), width, depth)
                c = width
                if level > 0 and k + 1 == len(depths):
                    parts.append(self.doubled(c, level - 1))
                stages.append(parts)
        return stages

    def doubled(self, c: int, level: int) -> Iterator[Work]:
        yield upsample(self.rows, c, self.places(level))

    def one(self, c_in: int, c_out: int, level: int) -> Iterator[Work]:
        yield conv(self.rows, c_in, c_out, self.places(level))


def unet_work(spec: UNetSpec, ask: Ask) -> Iterator[Work]:
    """What a U-Net calculates to answer one question, in the order in which it does."""
    texts = ask.pictures * ask.texts
    walk = _UNet(spec, ask, texts if spec.pooled_width else ask.pictures)
    down, up = walk.down(), walk.up()
    yield from embedding(texts if spec.pooled_width else ask.pictures, spec)
    yield from _run(down if ask.deep else down[:SHALLOW])
    if ask.deep:
        yield from _run([walk.mid()])
    walk.rows = texts  # also where the deep part was calculated before
    yield from _run(up if ask.deep else up[-SHALLOW:])
    places = walk.places(0)
    yield norm(texts, spec.widths[0], places)
    yield conv(texts, spec.widths[0], spec.out_channels, places)


def embedding(rows: int, spec: UNetSpec) -> Iterator[Work]:
    """Time, and what is told beside it."""
    out = 4 * spec.base_width
    for width in filter(None, (spec.base_width, spec.pooled_width)):
        yield linear(rows, width, out)
        yield linear(rows, out, out)


def _run(stages: Sequence[Sequence[Iterator[Work]]]) -> Iterator[Work]:
    for parts in stages:
        for part in parts:
            yield from part


def resnet(rows: int, c_in: int, c_out: int, places: int) -> Iterator[Work]:
    """Two convolutions beside a skip path."""
    yield norm(rows, c_in, places)
    yield conv(rows, c_in, c_out, places)
    yield norm(rows, c_out, places)
    yield conv(rows, c_out, c_out, places)
    if c_in != c_out:
        yield conv(rows, c_in, c_out, places, 1)


def self_attention(rows: int, places: int, c: int, heads: int) -> Iterator[Work]:
    """Every place looks at every other."""
    for _ in range(4):
        yield linear(rows * places, c, c)
    yield gathering(rows, places, places, c, heads)


def cross_attention(
    rows: int, places: int, c: int, heads: int, tokens: int, context_width: int
) -> Iterator[Work]:
    """Every place looks at the text."""
    for _ in range(2):
        yield linear(rows * places, c, c)
        yield linear(rows * tokens, context_width, c)
    yield gathering(rows, places, tokens, c, heads)


def unet_weights(spec: UNetSpec, ask: Ask | None = None) -> int:
    """Numbers of the weights that an answer needs; they are the same at every size."""
    return sum(work.weights for work in unet_work(spec, ask or Ask(8, 8)))


def decoder_work(spec: VaeSpec, height: int, width: int, rows: int = 1) -> Iterator[Work]:
    """What the decoder calculates for latents of this size."""
    places, widths = height * width, spec.widths
    yield conv(rows, spec.latent_channels, spec.latent_channels, places, 1)
    yield conv(rows, spec.latent_channels, widths[-1], places)
    yield from _middle(spec, rows, places)
    c = widths[-1]
    for level, wide in reversed(list(enumerate(widths))):
        for _ in range(spec.blocks + 1):
            yield from resnet(rows, c, wide, places)
            c = wide
        if level > 0:
            places *= 4
            yield upsample(rows, c, places)
    yield norm(rows, c, places)
    yield conv(rows, c, 3 * spec.patch**2, places)


def encoder_work(spec: VaeSpec, height: int, width: int) -> Iterator[Work]:
    """What the encoder calculates for a picture whose latents have this size."""
    widths = spec.widths
    places = height * width * 4 ** (len(widths) - 1)
    yield conv(1, 3 * spec.patch**2, widths[0], places)
    c = widths[0]
    for level, wide in enumerate(widths):
        for _ in range(spec.blocks):
            yield from resnet(1, c, wide, places)
            c = wide
        if level + 1 < len(widths):
            places //= 4
            yield conv(1, c, c, places)
    yield from _middle(spec, 1, places)
    yield norm(1, c, places)
    yield conv(1, c, 2 * spec.latent_channels, places)
    yield conv(1, 2 * spec.latent_channels, 2 * spec.latent_channels, places, 1)


def _middle(spec: VaeSpec, rows: int, places: int) -> Iterator[Work]:
    c = spec.widths[-1]
    for _ in range(2):
        yield from resnet(rows, c, c, places)
    if spec.mid_attention:
        yield norm(rows, c, places)
        yield from self_attention(rows, places, c, 1)


def text_work(spec: ClipSpec, rows: int = 2) -> Iterator[Work]:
    """What a text encoder calculates for so many texts."""
    n, c = spec.context, spec.width
    for _ in range(spec.layers):
        yield norm(rows, c, n)
        yield from self_attention(rows, n, c, spec.heads)
        yield norm(rows, c, n)
        yield linear(rows * n, c, EXPANSION * c)
        yield linear(rows * n, EXPANSION * c, c)
    yield norm(rows, c, n)
    if spec.projection:
        yield linear(rows, c, spec.projection)
