"""Sizes of about one area and many shapes: a picture goes where least of it is cut off.

Source: NovelAI 2022, "Improvements on Stable Diffusion", aspect ratio bucketing; kohya's sd-scripts
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isqrt, log
from typing import Final, Self

from fromnoise.errors import RequestError
from fromnoise.specs import ModelSpec
from fromnoise.train.pictures.decoding import Box
from fromnoise.train.pictures.examples import Example, Size

STRETCH: Final = 2  # the longest side is this many times the square's, and the shortest its inverse
STEPS: Final = 8  # of a square's side: so finely are shapes told apart ...
LARGEST_STEP: Final = 64  # pixels: ... as finely as kohya at least


@dataclass(frozen=True, slots=True)
class Buckets:
    """The sizes that pictures are brought to, from the tallest to the widest; the square has most pixels."""

    sizes: tuple[Size, ...]

    @classmethod
    def around(cls, side: int, step: int) -> Self:
        """Those near a square of `side` pixels, in multiples of `step`.  Raises: RequestError"""
        if step < 1 or side < step or side % step:
            near = max(1, round(side / max(step, 1))) * step
            raise RequestError({"size": f"{side} is not a positive multiple of {step}; try {near}"})
        widths = range(-(-side // STRETCH // step) * step, STRETCH * side + 1, step)
        found = {(width, side**2 // width // step * step) for width in widths}
        sizes = {size for w, h in found if h for size in ((w, h), (h, w))}
        return cls(tuple(sorted(sizes, key=lambda size: (size[0] / size[1], size[0]))))

    @classmethod
    def of(cls, spec: ModelSpec, side: int | None = None) -> Self:
        """Those that a model draws. `side`: of the square; else that of the model's usual area

        Raises: RequestError if the side is no multiple of what one latent spans
        """
        grid = spec.vae.factor
        usual = isqrt(spec.defaults.width * spec.defaults.height) // grid * grid
        side = usual if side is None else side
        if side % grid:
            near = max(grid, round(side / grid) * grid)
            raise RequestError({"size": f"{side} is not a multiple of {grid}; try {near}"})
        steps = (step for step in range(grid, LARGEST_STEP + 1, grid) if side % step == 0)
        return cls.around(side, max((step for step in steps if step * STEPS <= side), default=grid))

    def nearest(self, size: Size) -> Size:
        """The one whose shape is most like this size's, the larger of two that are alike."""
        shape = log(size[0] / size[1])
        return min(self.sizes, key=lambda s: (abs(log(s[0] / s[1]) - shape), -s[0] * s[1]))


def box_in(size: Size, bucket: Size, at: tuple[float, float]) -> Box:
    """The largest part of a picture that has a bucket's shape: scaled to the bucket, nothing is distorted.

    `at`: where, between 0 (left, top) and 1 (right, bottom)
    """
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    width, height = min(bucket[0] / scale, size[0]), min(bucket[1] / scale, size[1])
    left, top = at[0] * (size[0] - width), at[1] * (size[1] - height)
    return left, top, min(left + width, size[0]), min(top + height, size[1])


@dataclass(frozen=True, slots=True)
class Row:
    """One bucket, and what falls into it."""

    size: Size
    pictures: int
    kept: float  # share of the pictures' areas that is not cut off
    enlarged: int  # pictures that are smaller than the bucket


def bucket_table(examples: Iterable[Example], buckets: Buckets) -> Iterator[Row]:
    """How pictures fall into buckets; those that stay empty are left out."""
    found: dict[Size, list[Size]] = {}
    for example in examples:
        found.setdefault(buckets.nearest(example.size), []).append(example.size)
    for bucket in buckets.sizes:
        if sizes := found.get(bucket):
            kept = sum(_kept(size, bucket) for size in sizes) / len(sizes)
            enlarged = sum(size[0] < bucket[0] or size[1] < bucket[1] for size in sizes)
            yield Row(bucket, len(sizes), kept, enlarged)


def _kept(size: Size, bucket: Size) -> float:
    left, top, right, bottom = box_in(size, bucket, (0.0, 0.0))
    return (right - left) * (bottom - top) / (size[0] * size[1])
