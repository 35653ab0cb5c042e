"""A family of models is data: what each network looks like, and the numbers that belong to its weights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from math import cos, pi
from reprlib import repr as brief
from types import UnionType
from typing import Any, Final, Literal, Self, cast, get_args, get_origin, get_type_hints

from fromnoise.errors import SpecError

Prediction = Literal["eps", "v", "x0", "flow", "edm"]
ScheduleKind = Literal["scaled_linear", "linear", "cosine", "flow", "edm"]
Activation = Literal["quick_gelu", "gelu"]
Depths = tuple[tuple[int, ...], ...]  # per level, per ResnetBlock: how many transformer layers follow it

# More than any network has: what a file asks for beyond is refused before anything of that size is built.
LARGEST_NUMBER: Final = 10_000_000  # vocabularies have a few 100,000
MOST_LAYERS: Final = 1_000  # of all text encoders together, or of all transformers of a U-Net
MOST_BLOCKS: Final = 200  # ResnetBlocks of a U-Net, or of an autoencoder
MOST_LEVELS: Final = 16

COSINE_OFFSET, COSINE_MAX_BETA = 0.008, 0.999  # of `cosine_betas`


class Spec:
    """Specs travel as JSON inside the weights they describe; reading one back checks every field."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if odd := [number for number in _numbers(value) if not abs(number) <= LARGEST_NUMBER]:
                raise SpecError(f"{type(self).__name__}: {name} is {brief(odd[0])}, which no model has")

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        assert is_dataclass(self)
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Rebuild from `to_json`.  Raises: SpecError for unknown, missing or unfitting fields."""
        if not isinstance(data, Mapping):
            raise SpecError(f"{cls.__name__} is {brief(data)}, not a JSON object")
        said = cast(Mapping[str, Any], data)
        hints = get_type_hints(cls)
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]  # every Spec is a dataclass
        if strangers := sorted(set(said) - known):
            message = f"{cls.__name__} has no field {brief(strangers[0])}"
            raise SpecError(message, hint="was it made by a newer fromnoise?")
        values = {name: _rebuild(cls.__name__, name, hints[name], value) for name, value in said.items()}
        try:
            return cls(**values)
        except TypeError as error:
            raise SpecError(f"{cls.__name__} is incomplete: {error}") from error


def _rebuild(owner: str, name: str, kind: Any, value: Any) -> Any:
    if isinstance(kind, UnionType):  # always `X | None`
        return None if value is None else _rebuild(owner, name, get_args(kind)[0], value)
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        items = cast(Sequence[Any], value)
        return tuple(_rebuild(owner, name, get_args(kind)[0], item) for item in items)
    if _is_spec(kind) and isinstance(value, Mapping):
        return kind.from_json(value)
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    fits = value in choices or type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        wanted = " or ".join(map(repr, choices)) or kind.__name__
        raise SpecError(f"{owner}: {name} is {brief(value)}, not {wanted}")
    return value


def _is_spec(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Spec)


def _numbers(value: Any) -> Iterator[float]:
    """Those of a field, however deep it is."""
    if isinstance(value, tuple):
        for inner in cast(tuple[Any, ...], value):
            yield from _numbers(inner)
    elif isinstance(value, int | float):
        yield value


def _within(what: str, count: int, most: int) -> None:
    if not 0 <= count <= most:
        raise SpecError(f"the number of {what} is {count:,}, not 0 to {most:,}")


def _divides(what: str, whole: int, name: str, by: int) -> None:
    if by < 1 or whole < 1 or whole % by:
        raise SpecError(f"{what} {whole} does not divide by {name} {by}")


@dataclass(frozen=True, kw_only=True)
class ClipSpec(Spec):
    """A CLIP text transformer, and which of its states the U-Net reads."""

    vocab: int = 49408
    context: int = 77
    width: int = 768
    heads: int = 12
    layers: int = 12
    activation: Activation = "quick_gelu"
    end: int = 49407  # the token whose state stands for the whole text
    pad: int = 49407
    hidden: int = -1  # the layer whose output conditions the U-Net: -1 the last, -2 the one before
    final_norm: bool = True  # is the final LayerNorm applied to that state?
    projection: int | None = None  # width of the pooled vector, if there is one

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("layers", self.layers, MOST_LAYERS)
        _divides("width", self.width, "heads", self.heads)
        if not -self.layers <= self.hidden <= -1:
            raise SpecError(f"hidden {self.hidden} is none of the layers {-self.layers} (first) to -1 (last)")
        if not (0 <= self.end < self.vocab and 0 <= self.pad < self.vocab):
            raise SpecError(f"end {self.end} or pad {self.pad} is outside the vocabulary of {self.vocab}")


@dataclass(frozen=True, kw_only=True)
class ImageTowerSpec(Spec):
    """The vision transformer that trains a text tower: only `fromnoise train clip` and the score use it."""

    size: int = 64
    patch: int = 8
    width: int = 160
    heads: int = 5
    layers: int = 5
    projection: int = 192

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("layers", self.layers, MOST_LAYERS)
        _divides("width", self.width, "heads", self.heads)
        _divides("size", self.size, "patch", self.patch)


@dataclass(frozen=True, kw_only=True)
class OracleSpec(Spec):
    """The checker of the procedural world: how many classes it tells apart ("nothing" included)."""

    kinds: int
    colours: int
    settings: int
    times: int
    weathers: int = 0  # 0: it does not tell
    styles: int = 0
    textures: int = 0
    width: int = 32
    groups: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        _divides("width", self.width, "groups", self.groups)


@dataclass(frozen=True, kw_only=True)
class VaeSpec(Spec):
    """The autoencoder between pixels and latents. It owns the numbers that scale its latents."""

    base_width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2  # ResnetBlocks a level in the encoder; the decoder has one more
    latent_channels: int = 4
    patch: int = 1  # squares of patch x patch pixels enter and leave as channels: cheap first levels
    groups: int = 32
    mid_attention: bool = True
    # Source: 1 / std of the latents; Rombach et al. 2022, app. D (arXiv:2112.10752)
    latent_scale: float = 0.18215
    latent_mean: tuple[float, ...] = ()  # where measured, per channel: z -> (z - mean) * scale / std
    latent_std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("levels", len(self.multipliers), MOST_LEVELS)
        _within("blocks", len(self.multipliers) * (2 * self.blocks + 1), MOST_BLOCKS)
        for width in self.widths:
            _divides("width", width, "groups", self.groups)
        for name, numbers in (("latent_mean", self.latent_mean), ("latent_std", self.latent_std)):
            if len(numbers) not in (0, self.latent_channels):
                raise SpecError(f"{name} has {len(numbers)} numbers for {self.latent_channels} channels")

    @property
    def widths(self) -> list[int]:
        """Channels of each level, finest first."""
        return [self.base_width * m for m in self.multipliers]

    @property
    def factor(self) -> int:
        """How many pixels one latent spans along each side."""
        return self.patch * 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True, kw_only=True)
class UNetSpec(Spec):
    """The denoising U-Net. `down[i][j]`: the number of transformer layers after ResnetBlock j of level i."""

    in_channels: int = 4
    out_channels: int = 4
    base_width: int = 320
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    down: Depths = ((1, 1), (1, 1), (1, 1), (0, 0))
    mid: int | None = 1  # between two ResnetBlocks; 0: a ResnetBlock alone; None: no middle at all
    up: Depths = ((0, 0, 0), (1, 1, 1), (1, 1, 1), (1, 1, 1))  # in the order they run: coarsest level first
    groups: int = 32
    heads: int | None = 8  # the same number everywhere (SD 1.x) ...
    head_width: int | None = None  # ... or the same width everywhere (SD 2.x, SDXL)
    context_width: int = 768
    linear_projection: bool = False  # SD 1.x enters its transformers by 1x1 convolutions
    pooled_width: int | None = None  # SDXL: width of the extra vector added to the time embedding
    guidance_width: int | None = None  # LCM: the guidance scale is an input

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_size()
        if not len(self.multipliers) == len(self.down) == len(self.up):
            levels = f"{len(self.down)} levels down and {len(self.up)} up"
            raise SpecError(f"{len(self.multipliers)} widths for {levels}")
        for level, (down, up) in enumerate(zip(self.down, reversed(self.up), strict=True)):
            if len(up) != len(down) + 1:  # one for each block down, and one for how the level began
                wanted = f"needs {len(down) + 1} up, not {len(up)}"
                raise SpecError(f"level {level} of the U-Net has {len(down)} blocks down, so it {wanted}")
            _divides("width", self.widths[level], "groups", self.groups)
            if any((*down, *up)):
                self.heads_for(self.widths[level])
        if self.mid:
            self.heads_for(self.widths[-1])

    def _check_size(self) -> None:
        depths = [depth for level in (*self.down, *self.up) for depth in level]
        _within("levels", len(self.multipliers), MOST_LEVELS)
        _within("blocks", len(depths), MOST_BLOCKS)
        for depth in (*depths, self.mid or 0):
            _within("layers in a transformer", depth, MOST_LAYERS)
        _within("layers", sum(depths) + (self.mid or 0), MOST_LAYERS)

    @property
    def widths(self) -> list[int]:
        """Channels of each level, finest first."""
        return [self.base_width * m for m in self.multipliers]

    def heads_for(self, width: int) -> int:
        """The number of attention heads in a block of this width.  Raises: SpecError"""
        if self.heads is not None and self.head_width is None:
            _divides("width", width, "heads", self.heads)
            return self.heads
        if self.head_width is not None and self.heads is None:
            _divides("width", width, "head_width", self.head_width)
            return width // self.head_width
        raise SpecError(f"give either heads or head_width, not {self.heads} and {self.head_width}")


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec(Spec):
    """How noise was added in training."""

    kind: ScheduleKind = "scaled_linear"
    steps: int = 1000
    # Source: Stable Diffusion's training configuration, Rombach et al. 2022
    beta_start: float = 0.00085
    beta_end: float = 0.012
    zero_terminal: bool = False  # Lin et al. 2023 (arXiv:2305.08891)
    shift: float = 1.0  # flow only: Esser et al. 2024, eq. 23 (arXiv:2403.03206)
    # edm only. Source: Karras et al. 2022, table 1 (arXiv:2206.00364)
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5  # the standard deviation of the latents, in the U-Net's units


def cosine_betas(steps: int) -> list[float]:
    """What a cosine schedule adds of noise at each time.

    Source: Nichol & Dhariwal 2021, sec. 3.2 (arXiv:2102.09672)
    """

    def alpha_bar(i: int) -> float:
        return cos((i / steps + COSINE_OFFSET) / (1 + COSINE_OFFSET) * pi / 2) ** 2

    return [min(1 - alpha_bar(i + 1) / alpha_bar(i), COSINE_MAX_BETA) for i in range(steps)]


@dataclass(frozen=True, kw_only=True)
class Defaults(Spec):
    """What a request that leaves a field open gets from this model."""

    width: int = 512
    height: int = 512
    steps: int = 30
    guidance: float = 7.5
    sampler: str = "dpmpp_2m"
    spacing: str = "karras"
    enlarge: int = 1  # saved pictures are shown this many times larger


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """Everything about a family except its weights."""

    name: str
    texts: tuple[ClipSpec, ...] = (ClipSpec(),)
    vae: VaeSpec = field(default_factory=VaeSpec)
    unet: UNetSpec = field(default_factory=UNetSpec)
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    prediction: Prediction = "eps"
    defaults: Defaults = field(default_factory=Defaults)

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("layers of its text encoders", sum(text.layers for text in self.texts), MOST_LAYERS)


SD15 = ModelSpec(name="sd15")

OPENCLIP_H = ClipSpec(
    width=1024, heads=16, layers=24, activation="gelu", pad=0, hidden=-2, final_norm=True, projection=1024
)
SD21 = ModelSpec(
    name="sd21",
    texts=(OPENCLIP_H,),
    unet=UNetSpec(heads=None, head_width=64, context_width=1024, linear_projection=True),
    prediction="v",
    defaults=Defaults(width=768, height=768),
)

SD21_BASE = replace(SD21, name="sd21-base", prediction="eps", defaults=Defaults())

OPENCLIP_BIGG = ClipSpec(
    width=1280, heads=20, layers=32, activation="gelu", pad=0, hidden=-2, final_norm=False, projection=1280
)
SDXL = ModelSpec(
    name="sdxl",
    texts=(ClipSpec(hidden=-2, final_norm=False), OPENCLIP_BIGG),
    vae=VaeSpec(latent_scale=0.13025),
    unet=UNetSpec(
        multipliers=(1, 2, 4),
        down=((0, 0), (2, 2), (10, 10)),
        mid=10,
        up=((10, 10, 10), (2, 2, 2), (0, 0, 0)),
        heads=None,
        head_width=64,
        context_width=2048,
        linear_projection=True,
        pooled_width=2816,
    ),
    defaults=Defaults(width=1024, height=1024),
)

REFINER = replace(
    SDXL,
    name="sdxl-refiner",
    texts=(OPENCLIP_BIGG,),
    unet=UNetSpec(
        base_width=384,
        down=((0, 0), (4, 4), (4, 4), (0, 0)),
        mid=4,
        up=((0, 0, 0), (4, 4, 4), (4, 4, 4), (0, 0, 0)),
        heads=None,
        head_width=64,
        context_width=1280,
        linear_projection=True,
        pooled_width=2560,
    ),
)

# The same code paths as SD 1.x in a few million parameters: what the tests run on.
TINY = ModelSpec(
    name="tiny",
    texts=(ClipSpec(vocab=1024, context=77, width=32, heads=2, layers=2, end=1023, pad=1023),),
    vae=VaeSpec(base_width=8, groups=4),
    unet=UNetSpec(base_width=16, groups=4, heads=2, context_width=32),
    defaults=Defaults(width=64, height=64, steps=4),
)

FAMILIES = {spec.name: spec for spec in (SD15, SD21_BASE, SD21, SDXL, REFINER, TINY)}
