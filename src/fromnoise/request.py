"""What to draw, and what came of it: the words that the command line, the server and the PNG all speak."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from fromnoise.checks import (
    MAX_ADAPTERS,
    MAX_AESTHETIC,
    MAX_GUIDANCE,
    MAX_MERGE,
    MAX_ORIGINAL,
    MAX_REUSE,
    MAX_SCALE,
    MAX_STEPS,
    Check,
    implied_spacing,
    interval,
    name_by,
    number,
    optional,
    pair,
    seeds,
    side,
    text,
    whole,
    yes_or_no,
)
from fromnoise.errors import RequestError, did_you_mean
from fromnoise.names import find_sampler, find_spacing
from fromnoise.specs import Defaults

if TYPE_CHECKING:
    from PIL.Image import Image

SCHEMA: Final = 1  # of `GenerateRequest.to_json`; a reader refuses a larger one


@dataclass(frozen=True, slots=True)
class AdapterUse:
    """An adapter by name or path, how much of it, and the first digits of its SHA-256 if it must be that one.

    Raises: ValueError
    """

    name: str
    scale: float = 1.0
    hash: str = ""

    def __post_init__(self) -> None:
        if not text(self.name) or not self.name.isprintable():
            raise ValueError(f"{self.name!r} is no adapter's name")
        object.__setattr__(self, "scale", number(-MAX_SCALE, MAX_SCALE)(self.scale))
        text(self.hash)

    @classmethod
    def of(cls, value: Any) -> "AdapterUse":
        """Read "NAME", "NAME:SCALE", or a JSON object with these fields."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            name, _, last = value.rpartition(":")
            try:
                scale = float(last)
            except ValueError:  # a colon of the name's own, or none
                return cls(value)
            return cls(name, scale) if name else cls(value)
        if isinstance(value, Mapping):
            given = cast(Mapping[str, Any], value)
            if set(given) <= {"name", "scale", "hash"}:
                return cls(given.get("name", ""), given.get("scale", 1.0), given.get("hash", ""))
        raise ValueError(f"{value!r} is neither NAME, NAME:SCALE nor an object of name, scale and hash")

    def __str__(self) -> str:
        return f"{self.name}:{self.scale:g}"


def adapters(value: Any) -> tuple[AdapterUse, ...]:
    """Check a list of adapters."""
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise ValueError(f"{value!r} is not a list")
    used = tuple(map(AdapterUse.of, value))
    if len(used) > MAX_ADAPTERS:
        raise ValueError(f"{len(used)} are more than {MAX_ADAPTERS}")
    if len({use.name for use in used}) < len(used):
        raise ValueError("one is named twice; give it once, with the sum of its scales")
    return used


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
    "merge": number(0, MAX_MERGE),
    "reuse": whole(1, MAX_REUSE),
    "image_guidance": optional(number(0, MAX_GUIDANCE)),
    "refine_from": optional(number(0, 1)),
    "original_size": optional(pair(whole(1, MAX_ORIGINAL))),
    "crop": optional(pair(whole(0, MAX_ORIGINAL))),
    "aesthetic": optional(pair(number(0, MAX_AESTHETIC))),
    "zero_negative": yes_or_no,
    "adapters": optional(adapters),
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
    merge: float = 0.0  # this share of the finest places that look at each other does so as one with others
    reuse: int = 1  # the U-Net's deep part is calculated at every so many steps, and reused in between
    image_guidance: float | None = None  # models that edit: how closely to keep to the picture
    refine_from: float | None = None  # with a refiner: the share of the way down after which it takes over
    original_size: tuple[int, int] | None = None  # SDXL: width and height before the training's scaling ...
    crop: tuple[int, int] | None = None  # ... and how much was cut off at the left and at the top
    aesthetic: tuple[float, float] | None = None  # the refiner: marks out of 10 for prompt and negative
    zero_negative: bool = False  # an empty negative prompt is zeros, not the encoding of ""
    # LoRA and the like; None: what is attached to the pipeline
    adapters: tuple[AdapterUse, ...] | None = None

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
        return cls.from_json({"prompt": prompt, **spelled(named)})

    def but(self, **named: Any) -> Self:
        """The same with some fields changed, named as in `of`.  Raises: RequestError"""
        return replace(self, **_known(spelled(named)))

    def filled(self, defaults: Defaults) -> "FilledRequest":
        """The same request with nothing left open."""
        values = self._values()
        for name, value in asdict(defaults).items():
            if values.get(name, value) is None:
                values[name] = value
        return FilledRequest(**values)

    def _values(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def to_json(self) -> dict[str, Any]:
        """Plain strings, numbers and lists, with the schema's number; what was left open stays open."""
        values = {
            name: list(map(_plain, cast(tuple[Any, ...], value))) if isinstance(value, tuple) else value
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
        if "prompt" not in _known(given):
            raise RequestError({"prompt": "missing"})
        return cls(**given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerateRequest) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(tuple(self._values().values()))


def spelled(named: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords as fields: `seed` is one of `seeds`, and a sampler's name may bring its spacing along.

    Raises: RequestError
    """
    if {"seed", "seeds"} <= named.keys():
        raise RequestError({"seed": "give seed or seeds, not both"})
    values = {name: value for name, value in named.items() if name != "seed"}
    if "seed" in named:
        values["seeds"] = (named["seed"],)
    if values.get("spacing") is None and (brought := implied_spacing(values.get("sampler"))):
        values["spacing"] = brought
    return values


def _known(given: dict[str, Any]) -> dict[str, Any]:
    if strangers := [name for name in given if name not in CHECKS]:
        raise RequestError({name: f"no such field; {did_you_mean(name, [*CHECKS])}" for name in strangers})
    return given


def _plain(item: Any) -> Any:
    return asdict(item) if isinstance(item, AdapterUse) else item


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
    # beside the request: "image", "mask", "refiner", "vae", "embedding", those that made a difference
    given: tuple[str, ...] = ()
    enlarge: int = 1  # saved pictures are shown this many times larger
    loaded: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)  # see `Pipeline.loaded`
    # SHA-256 of files beside the model's, where known: "vae", "embedding WORD"
    hashes: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)

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
