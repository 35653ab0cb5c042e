"""What to draw, and what came of it: the words that the command line, the server and the PNG all speak."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from fromnoise.errors import RequestError, did_you_mean
from fromnoise.names import find_sampler, find_spacing
from fromnoise.specs import Defaults

if TYPE_CHECKING:
    from PIL.Image import Image

SCHEMA: Final = 1  # of `GenerateRequest.to_json`; a reader refuses a larger one

SIDE_STEP: Final = 8  # pixels that one latent spans along each side
MAX_SIDE: Final = 4096
MAX_STEPS: Final = 1000  # there are no more noise levels in training
MAX_GUIDANCE: Final = 100.0
MAX_SIGMA: Final = 1e9
MAX_ORIGINAL: Final = 65_535  # pixels
MAX_AESTHETIC: Final = 10.0
MAX_SEED: Final = 2**64 - 1
MAX_PICTURES: Final = 1024
MAX_TEXT: Final = 20_000  # characters; a text transformer reads about 300

Check = Callable[[Any], Any]


def whole(low: int, high: int) -> Check:
    """Check for a whole number."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{value!r} is not a whole number")
        if not low <= (exact := int(value)) <= high:
            raise ValueError(f"{exact} is outside {low}..{high}")
        return exact

    return check


def number(low: float, high: float) -> Check:
    """Check for a finite number."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(f"{value!r} is not a number")
        if not low <= (exact := float(value)) <= high:  # NaN is nowhere
            raise ValueError(f"{exact:g} is outside {low:g}..{high:g}")
        return exact

    return check


def side(value: Any) -> int:
    """Check a width or height, in pixels."""
    pixels: int = whole(SIDE_STEP, MAX_SIDE)(value)
    if pixels % SIDE_STEP:
        near = round(pixels / SIDE_STEP) * SIDE_STEP
        raise ValueError(f"{pixels} is not a multiple of {SIDE_STEP}; try {near}")
    return pixels


def text(value: Any) -> str:
    """Check for Unicode text of bearable length."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    if len(value) > MAX_TEXT:
        raise ValueError(f"{len(value)} characters are more than {MAX_TEXT}")
    if half := next((c for c in value if "\ud800" <= c <= "\udfff"), None):
        raise ValueError(f"U+{ord(half):04X} is half a character; write it as UTF-8")
    return value


def name_by(find: Callable[[str], str]) -> Check:
    """Check for a known name; other programs' spellings become ours."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a name")
        try:
            return find(value)
        except RequestError as error:
            raise ValueError(*error.problems.values()) from error

    return check


def implied_spacing(sampler: Any) -> str | None:
    """The spacing that a sampler's name brings along, if it does."""
    with suppress(RequestError):
        return find_sampler(sampler)[1] if isinstance(sampler, str) else None
    return None


def seeds(value: Any) -> tuple[int, ...]:
    """Check the seeds, one for each picture."""
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise ValueError(f"{value!r} is not a list; give one seed per picture")
    checked = tuple(map(whole(0, MAX_SEED), value))
    if not 1 <= len(checked) <= MAX_PICTURES:
        raise ValueError(f"{len(checked)} seeds are outside 1..{MAX_PICTURES}; give one per picture")
    return checked


def pair(check: Check) -> Check:
    """Check two values of a kind."""

    def check_both(value: Any) -> tuple[Any, Any]:
        if isinstance(value, str | bytes) or not hasattr(value, "__iter__") or len(tuple(value)) != 2:
            raise ValueError(f"{value!r} is not a pair")
        first, second = map(check, value)
        return first, second

    return check_both


def interval(value: Any) -> tuple[float, float]:
    """Check a range of noise levels."""
    low, high = pair(number(0, MAX_SIGMA))(value)
    if low >= high:
        raise ValueError(f"{low:g} is not below {high:g}")
    return low, high


def yes_or_no(value: Any) -> bool:
    """Check for True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither True nor False")
    return value


def optional(check: Check) -> Check:
    """Let None through: the model's default."""
    return lambda value: None if value is None else check(value)


CHECKS: Final[Mapping[str, Check]] = {
    "prompt": text,
    "negative": text,
    "width": optional(side),
    "height": optional(side),
    "steps": optional(whole(1, MAX_STEPS)),
    "guidance": optional(number(0, MAX_GUIDANCE)),
    "sampler": optional(name_by(lambda name: find_sampler(name)[0])),
    "spacing": optional(name_by(find_spacing)),
    "seeds": seeds,
    "strength": optional(number(0, 1)),
    "guidance_rescale": number(0, 1),
    "guidance_interval": optional(interval),
    "image_guidance": optional(number(0, MAX_GUIDANCE)),
    "refine_from": optional(number(0, 1)),
    "original_size": optional(pair(whole(1, MAX_ORIGINAL))),
    "crop": optional(pair(whole(0, MAX_ORIGINAL))),
    "aesthetic": optional(pair(number(0, MAX_AESTHETIC))),
    "zero_negative": yes_or_no,
}


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """What to draw. Fields left at None take the model's default.

    Units:  width and height in pixels; guidance 1 follows the prompt as trained, larger exaggerates it
    Raises: RequestError that names every wrong field
    """

    prompt: str
    negative: str = ""
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    spacing: str | None = None
    seeds: tuple[int, ...] = (0,)  # one picture per seed
    strength: float | None = None  # with a picture to start from: 0 returns it, 1 ignores it
    guidance_rescale: float = 0.0
    guidance_interval: tuple[float, float] | None = None  # guide only where sigma is in it: (low, high]
    image_guidance: float | None = None  # models that edit: how closely to keep to the picture
    refine_from: float | None = None  # with a refiner: the share of the way down after which it takes over
    original_size: tuple[int, int] | None = None  # SDXL: width and height before the training's scaling ...
    crop: tuple[int, int] | None = None  # ... and how much was cut off at the left and at the top
    aesthetic: tuple[float, float] | None = None  # the refiner: marks out of 10 for prompt and negative
    zero_negative: bool = False  # an empty negative prompt is zeros, not the encoding of ""

    def __post_init__(self) -> None:
        if self.spacing is None:  # "DPM++ 2M Karras" names both
            object.__setattr__(self, "spacing", implied_spacing(self.sampler))
        problems: dict[str, str] = {}
        for name, check in CHECKS.items():
            try:
                object.__setattr__(self, name, check(getattr(self, name)))
            except ValueError as problem:
                problems[name] = str(problem)
        if problems:
            raise RequestError(problems)

    @classmethod
    def of(cls, prompt: str, **named: Any) -> Self:
        """Make one from keywords; `seed=7` is short for `seeds=(7,)`.  Raises: RequestError"""
        if {"seed", "seeds"} <= named.keys():
            raise RequestError({"seed": "give seed or seeds, not both"})
        if "seed" in named:
            named["seeds"] = (named.pop("seed"),)
        return cls.from_json({"prompt": prompt, **named})

    def filled(self, defaults: Defaults) -> "FilledRequest":
        """The same request with nothing left open."""
        values = self._values()
        for name, value in asdict(defaults).items():
            if values.get(name, value) is None:
                values[name] = value
        return FilledRequest(**values)

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to_json(self) -> dict[str, Any]:
        """Plain strings, numbers and lists, with the schema's number; what was left open stays open."""
        values = {
            name: list(cast(tuple[Any, ...], value)) if isinstance(value, tuple) else value
            for name, value in self._values().items()
        }
        return {"schema": SCHEMA, **values}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Rebuild from `to_json`.  Raises: RequestError for unknown fields and newer schemas."""
        if not isinstance(data, Mapping):
            raise RequestError(f"a request is a JSON object, not {data!r:.60}")
        given = {str(name): value for name, value in cast(Mapping[Any, Any], data).items()}
        if (schema := given.pop("schema", SCHEMA)) != SCHEMA:
            raise RequestError({"schema": f"{schema!r} is not {SCHEMA}"}, hint="update fromnoise to read it")
        if strangers := [name for name in given if name not in CHECKS]:
            raise RequestError(
                {name: f"no such field; {did_you_mean(name, [*CHECKS])}" for name in strangers}
            )
        if "prompt" not in given:
            raise RequestError({"prompt": "missing"})
        return cls(**given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerateRequest) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(tuple(self._values().values()))


class FilledRequest(GenerateRequest):
    """A request with nothing left open; make one with `GenerateRequest.filled`."""

    width: int
    height: int
    steps: int
    guidance: float
    sampler: str
    spacing: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Plain pixels: three bytes (red, green, blue) each, row by row from the top."""

    width: int
    height: int
    rgb: bytes
    seed: int = 0  # a picture that was read has none

    def __post_init__(self) -> None:
        if len(self.rgb) != 3 * self.width * self.height:
            size = f"{self.width}x{self.height}"
            raise RequestError({"picture": f"{len(self.rgb)} bytes are not {size} pixels of three bytes"})


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """The pictures, and exactly what is needed to make them again: `pipe(result.request)`."""

    pictures: tuple[Picture, ...]
    request: FilledRequest
    seconds: float
    model: str = ""
    model_hash: str = ""  # SHA-256 of the weights file, where it is known
    refiner: str = ""
    refiner_hash: str = ""
    given: tuple[
        str, ...
    ] = ()  # beside the request: "image", "mask", "refiner", those that made a difference
    enlarge: int = 1  # saved pictures are shown this many times larger

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture."""
        return tuple(picture.seed for picture in self.pictures)

    @property
    def images(self) -> "tuple[Image, ...]":
        """The pictures as PIL images, in the size they were drawn."""
        from fromnoise.images.pixels import to_image

        return tuple(map(to_image, self.pictures))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> tuple[Path, ...]:
        """Write every picture as a PNG that carries its request, and say where.

        A name that is taken gets a number, unless `overwrite`; `{seed}` in it stands for the picture's seed.
        Raises: StorageError, RequestError if the name does not end in .png
        """
        from fromnoise.images.metadata import save_result

        return save_result(self, Path(path), overwrite=overwrite)

    def _repr_png_(self) -> bytes:
        from fromnoise.images.metadata import encode_png

        return encode_png(self, self.pictures[0])
