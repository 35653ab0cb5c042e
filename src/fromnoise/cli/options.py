"""The options that say how to draw, under our names and under those that other programs use."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import randbits
from typing import Any, Final, TypeVar

import click

from fromnoise.checks import MAX_PICTURES
from fromnoise.errors import RequestError
from fromnoise.names import PRESET_NAMES, SAMPLER_NAMES, SPACING_NAMES
from fromnoise.request import CHECKS, AdapterUse, GenerateRequest

F = TypeVar("F", bound=Callable[..., Any])

SEED_BITS: Final = 32  # of a seed we choose: short enough to type
MAX_ENLARGE: Final = 16
UNITS: Final = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}  # of a duration, in seconds

MODELS_VARIABLE: Final = "FROMNOISE_MODELS"  # folders, with a colon (on Windows a semicolon) between them

# what AUTOMATIC1111, diffusers, stable-diffusion.cpp and mflux call our options
SYNONYMS: Final[Mapping[str, str]] = {
    "cfg": "guidance",
    "cfg-scale": "guidance",
    "guidance-scale": "guidance",
    "num-inference-steps": "steps",
    "sampling-method": "sampler",
    "scheduler": "spacing",
    "schedule": "spacing",
    "negative-prompt": "negative",
    "init-image": "image",
    "mask-image": "mask",
    "image-guidance-scale": "image-guidance",
    "denoising-start": "refine-from",
    "refiner-switch-at": "refine-from",
    "denoising-strength": "strength",
    "batch-count": "count",
    "batch-size": "batch",
    "repeats": "count",
    "output": "out",
    "upscale": "enlarge",
    "token-merging-ratio": "merge",
    "tome-ratio": "merge",
    "cache-interval": "reuse",
}


def size(text: str) -> tuple[int, int]:
    """Width and height, such as 128x96."""
    if found := re.fullmatch(r"(\d+)[xX*×](\d+)", text.strip()):
        return int(found[1]), int(found[2])
    raise click.BadParameter(f"{text!r} is not WIDTHxHEIGHT, such as 128x96")


def duration(text: str) -> float:
    """Seconds: 30, 30s, 1.5min, 2m."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)", text.strip().lower())
    seconds = float(found[1]) * UNITS.get(found[2], 0) if found else 0.0
    if not seconds:
        raise click.BadParameter(f"{text!r} is no time, such as 30s or 2min")
    return seconds


def seeds(text: str) -> tuple[int, ...]:
    """One whole number, or several with commas between them."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a whole number, or several with commas") from None


def adapter(text: str) -> AdapterUse:
    """An adapter and how much of it, such as detail:0.8."""
    try:
        return AdapterUse.of(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def embedding(text: str) -> tuple[str | None, Path]:
    """A file of a word, and maybe what it is to be called: style=file.safetensors."""
    word, sign, file = text.rpartition("=")
    if not file or (sign and not word):
        raise click.BadParameter(f"{text!r} is neither FILE nor WORD=FILE")
    return (word, Path(file)) if sign and not Path(text).exists() else (None, Path(text))


def any_given(_: click.Context, __: click.Parameter, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """What was given, or None: left open."""
    return values or None


def whole_option(
    *names: str, low: int, high: int | None = None, default: int | None = None, help: str
) -> Callable[[F], F]:
    """An option that takes a whole number."""
    kind = click.IntRange(low, high)
    return click.option(*names, type=kind, metavar="N", default=default, show_default=True, help=help)


def completing(names: Sequence[str]) -> Callable[..., list[str]]:
    """For the shell only: the request knows more spellings, so it does the checking."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


FILE = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)

models_dir_option = click.option(
    "--models-dir",
    type=FOLDER,
    multiple=True,
    metavar="DIR",
    help=f"Look for names here too; other folders: {MODELS_VARIABLE}.",
)

REQUEST_OPTIONS = (
    click.option("--seed", type=seeds, multiple=True, metavar="N[,N…]", help="A picture each; else random."),
    click.option("--steps", type=int, metavar="N", help="How often to take some noise away: 1 to 1000."),
    click.option("--guidance", type=float, metavar="G", help="1 = as trained; more exaggerates the prompt."),
    click.option("--negative", metavar="TEXT", help="What the picture should not show."),
    click.option("--size", type=size, metavar="WxH", help="In pixels, multiples of 8."),
    click.option("-W", "--width", type=int, metavar="N", help="One side of it."),
    click.option("-H", "--height", type=int, metavar="N", help="The other side."),
    click.option(
        "--sampler", metavar="NAME", help=", ".join(SAMPLER_NAMES), shell_complete=completing(SAMPLER_NAMES)
    ),
    click.option(
        "--spacing", metavar="NAME", help=", ".join(SPACING_NAMES), shell_complete=completing(SPACING_NAMES)
    ),
    click.option("-i", "--image", type=FILE, metavar="FILE", help="A picture to start from."),
    click.option("--strength", type=float, metavar="S", help="0 keeps that picture, 1 ignores it."),
    click.option("--mask", type=FILE, metavar="FILE", help="Draw only where this picture is white."),
    click.option("--guidance-rescale", type=float, metavar="R", help="0 to 1; tames a large guidance."),
    click.option(
        "--guidance-interval",
        type=(float, float),
        metavar="LOW HIGH",
        help="Guide at these sigmas only.",
    ),
    click.option(
        "--merge", type=float, metavar="R", help="Sooner: merge this share of alike places, 0 to 0.75."
    ),
    click.option("--reuse", type=int, metavar="N", help="Sooner: the coarse part at every Nth step only."),
    click.option(
        "--preset",
        type=click.Choice(PRESET_NAMES),
        help="Sooner, in what is left open: solver, steps, shortcuts.",
    ),
    click.option(
        "--budget",
        type=duration,
        metavar="TIME",
        help="Choose all that so that it fits: 30s, 2min.",
    ),
    click.option(
        "--image-guidance", type=float, metavar="G", help="Of models that edit: more keeps more; else 1.5."
    ),
    click.option("--refiner", metavar="PATH|NAME", help="Another model, which does the last steps."),
    click.option(
        "--refine-from", type=float, metavar="F", help="After this share of the noise: 0 to 1; else 0.8."
    ),
    click.option(
        "--original-size", type=(int, int), metavar="W H", help="SDXL: draw as if scaled from this size."
    ),
    click.option("--crop", type=(int, int), metavar="X Y", help="SDXL: draw as if cropped here; else 0 0."),
    click.option(
        "--aesthetic",
        type=(float, float),
        metavar="P N",
        help="SDXL's refiner: marks for prompt and negative; else 6 2.5.",
    ),
    click.option(
        "--zero-negative",
        is_flag=True,
        default=None,
        help="An empty negative is zeros, as in diffusers' SDXL.",
    ),
    click.option(
        "--lora",
        "adapters",
        type=adapter,
        multiple=True,
        callback=any_given,
        metavar="PATH|NAME[:SCALE]",
        help="Change the model by this adapter: LoRA, LoHa, LoKr; again for more.",
    ),
    click.option(
        "--embedding",
        type=embedding,
        multiple=True,
        callback=any_given,
        metavar="[WORD=]FILE",
        help="Teach the prompt a word (textual inversion), by its file's name; again for more.",
    ),
)
MODEL_OPTIONS = (
    click.option("--model", metavar="PATH|NAME", help="A file, a folder or a name; else the embedded model."),
    models_dir_option,
    click.option("--prediction", metavar="P", help="What the model says, if its file does not: eps, v …"),
    click.option("--ema", is_flag=True, default=None, help="Take the running averages of its weights."),
    click.option("--vae", metavar="PATH|NAME", help="Take the autoencoder from this file or folder."),
    click.option("--variant", metavar="NAME", help="Of a diffusers folder with several: fp16 …"),
)
OUTPUT_OPTIONS = (
    click.option(
        "-o", "--out", type=FILE, metavar="FILE", help="A .png, with or without {seed}, or a folder."
    ),
    click.option("--force", is_flag=True, help="Replace a file of that name; else the new one is numbered."),
    click.option(
        "--enlarge",
        type=click.IntRange(1, MAX_ENLARGE),
        metavar="N",
        help="Save N times larger.",
    ),
    click.option("--device", metavar="NAME", help="cpu, cuda, mps or auto; else cpu."),
    click.option("--dtype", metavar="NAME", help="float32, bfloat16, float16 or auto."),
    click.option(
        "--engine",
        metavar="NAME",
        help="auto, plain, int8: sooner on a CPU, but a little different; compiled: for CUDA.",
    ),
    click.option("--memory", metavar="AMOUNT", help="Of the CPU: low, such as 4GB, or auto: what is free."),
    click.option(
        "--offload",
        metavar="KIND",
        help="Of CUDA: what waits in the CPU's memory: none, model, blocks or auto.",
    ),
    whole_option(
        "--batch",
        low=1,
        high=MAX_PICTURES,
        help="Pictures at a time: a CPU takes 1, which keeps the bytes of each its own; more is sooner.",
    ),
    whole_option("--threads", low=1, help="CPU threads to use."),
    click.option("--json", "as_json", is_flag=True, help="Print a JSON object per picture, not its path."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but warnings and errors."),
    click.option("--dry-run", is_flag=True, help="Print settings, seconds and GB as JSON; draw nothing."),
)
MODEL_FIELDS: Final = ("model", "prediction", "ema", "vae", "variant")
PLACE_FIELDS: Final = ("device", "dtype", "engine", "memory", "offload")  # where and how it draws
REQUEST_FIELDS: Final = tuple(name for name in CHECKS if name not in ("prompt", "seeds"))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says of how to draw; None is left open."""

    seed: tuple[tuple[int, ...], ...]
    steps: int | None
    guidance: float | None
    negative: str | None
    size: tuple[int, int] | None
    width: int | None
    height: int | None
    sampler: str | None
    spacing: str | None
    image: Path | None
    strength: float | None
    guidance_rescale: float | None
    guidance_interval: tuple[float, float] | None
    merge: float | None
    reuse: int | None
    preset: str | None
    budget: float | None
    mask: Path | None
    image_guidance: float | None
    refiner: str | None
    refine_from: float | None
    original_size: tuple[int, int] | None
    crop: tuple[int, int] | None
    aesthetic: tuple[float, float] | None
    zero_negative: bool | None
    adapters: tuple[AdapterUse, ...] | None
    embedding: tuple[tuple[str | None, Path], ...] | None
    out: Path | None
    force: bool
    enlarge: int | None
    model: str | None
    models_dir: tuple[Path, ...]
    prediction: str | None
    ema: bool | None
    vae: str | None
    variant: str | None
    device: str | None
    dtype: str | None
    engine: str | None
    memory: str | None
    offload: str | None
    batch: int | None
    threads: int | None
    as_json: bool
    quiet: bool
    dry_run: bool
    count: int | None = None

    def __post_init__(self) -> None:
        if self.size and (self.width, self.height) not in ((None, None), self.size):  # a copy has both
            raise RequestError({"size": "give --size, or --width and --height, not both"})
        if self.size:
            object.__setattr__(self, "width", self.size[0])
            object.__setattr__(self, "height", self.size[1])

    def fields(self) -> dict[str, Any]:
        """The fields of a request that were given."""
        values = {name: getattr(self, name) for name in REQUEST_FIELDS}
        return {name: value for name, value in values.items() if value is not None}

    def seeds(self) -> tuple[int, ...]:
        """The seeds that were given, or counted up from one, which may be random.  Raises: RequestError"""
        given = tuple(seed for several in self.seed for seed in several)
        if self.count is None:
            return given or (randbits(SEED_BITS),)
        if len(given) > 1:
            raise RequestError({"count": f"{len(given)} seeds make as many pictures already; leave out -n"})
        first = given[0] if given else randbits(SEED_BITS)
        return tuple(range(first, first + self.count))

    def repeating(self, request: GenerateRequest, seed: int) -> dict[str, Any]:
        """The options of the command that draws one picture of this request again."""
        names = ("image", "mask", "refiner", "enlarge", *MODEL_FIELDS, *PLACE_FIELDS)
        default = GenerateRequest(prompt="")
        fields = {name: getattr(request, name) for name in REQUEST_FIELDS if name != "adapters"}
        changed = {name: v for name, v in fields.items() if v != getattr(default, name)}
        changed["lora"] = list(map(str, self.adapters or ()))  # by the names that were typed
        changed["embedding"] = [
            f"{word}={file}" if word else str(file) for word, file in self.embedding or ()
        ]
        return {"seed": seed, **changed, **{name: getattr(self, name) for name in names}}


def drawing_options(command: F) -> F:
    """Give a command everything that `Asked` holds, but the count."""
    for option in reversed((*REQUEST_OPTIONS, *MODEL_OPTIONS, *OUTPUT_OPTIONS)):
        command = option(command)
    return command


def ours(name: str) -> str:
    """Our name for an option; click asks it for every name it meets."""
    return SYNONYMS.get(name, name)
