"""The story: a prompt, and maybe a picture, become pictures."""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from time import perf_counter
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.errors import NonFiniteError, OutOfMemory, RequestError, did_you_mean
from fromnoise.events import Decoded, Denoised, Encoded, Event, Finished, Loaded
from fromnoise.images.pixels import fitted, size_like, to_pictures, to_pixels
from fromnoise.images.sketch import Sketch
from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.encoder import Encoder
from fromnoise.nets.latents import scale_latents, unscale_latents
from fromnoise.noise.denoiser import NetworkDenoiser, Process
from fromnoise.noise.guidance import guided, interval, unguided
from fromnoise.noise.samplers import SAMPLERS, Denoise, Step
from fromnoise.noise.schedule import Schedule
from fromnoise.noise.seeds import PerImageNoise
from fromnoise.reading import Reader, Reading
from fromnoise.request import FilledRequest, GenerateRequest, GenerateResult, Picture
from fromnoise.specs import ModelSpec
from fromnoise.text.tokenizer import Tokenizer
from fromnoise.weights.model_loader import find_device, find_dtype, load_model
from fromnoise.weights.native import Parts

DEFAULT_STRENGTH: Final = 0.75  # of the noise put on a picture to start from
BATCH: Final = 4  # pictures at a time, where they need not be exact
SKETCH_SIDE: Final = 32  # latents: previews without a fitted line are decoded no larger than this

ENGINES: Final = ("auto", "plain")


def load(
    path_or_name: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    engine: str = "auto",
) -> "Pipeline":
    """Make a pipeline from a model file; from None, out of the model that comes with fromnoise.

    Units:  dtype "auto" is float32 on a CPU, float16 elsewhere; device "auto" is a GPU if there is one
    Raises: RequestError, StorageError, WeightsError
    """
    began = perf_counter()
    if engine not in ENGINES:
        raise RequestError({"engine": f"{engine!r} is unknown; {did_you_mean(engine, ENGINES)}"})
    place = find_device(device)
    parts = load_model(path_or_name, device=place, dtype=find_dtype(dtype, place))
    pipeline = Pipeline.of(parts)
    return replace(pipeline, load_seconds=perf_counter() - began)


@dataclass(frozen=True, eq=False, repr=False)
class Pipeline:
    """A model that draws. Its parts are plain modules, open to inspection."""

    spec: ModelSpec
    reader: Reader
    unet: UNet
    encoder: Encoder
    decoder: Decoder
    process: Process
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    model_hash: str = ""
    load_seconds: float = 0.0
    exact: bool = True  # draw one picture at a time, so that its bytes depend on its own seed alone

    @classmethod
    def of(cls, parts: Parts) -> "Pipeline":
        """Make a pipeline from a model's parts; exact on a CPU, in batches elsewhere.  Raises: SpecError"""
        spec = parts.spec
        tokenizers = tuple(map(Tokenizer.from_json, parts.tokenizers))
        return cls(
            spec=spec,
            reader=Reader.of(spec, tokenizers, parts.texts),
            unet=parts.unet,
            encoder=parts.encoder,
            decoder=parts.decoder,
            process=Process.of(spec),
            about=parts.about,
            model_hash=parts.sha256,
            exact=next(parts.unet.parameters()).device.type == "cpu",
        )

    @property
    def tokenizers(self) -> tuple[Tokenizer, ...]:
        """One for each text encoder."""
        return self.reader.tokenizers

    @property
    def text_encoders(self) -> tuple[TextTransformer, ...]:
        """What reads the prompt."""
        return self.reader.encoders

    @property
    def schedule(self) -> Schedule:
        """How noise was added in training."""
        return self.process.schedule

    def __repr__(self) -> str:
        return f"Pipeline({self.spec.name!r} on {self.device}, {_short(self.dtype)})"

    # --- drawing ---

    def __call__(
        self, prompt: str | GenerateRequest, *, picture: Picture | None = None, **fields: Any
    ) -> GenerateResult:
        """Draw: `pipe("a red house", seed=1, steps=20)`, or `pipe(result.request)` to draw it again.

        Raises: RequestError; see `GenerateRequest.of`
        """
        if isinstance(prompt, GenerateRequest):
            return self.generate(replace(prompt, **fields), picture)
        return self.generate(GenerateRequest.of(prompt, **fields), picture)

    def generate(self, request: GenerateRequest, picture: Picture | None = None) -> GenerateResult:
        """Draw, and tell nothing on the way: the last event of `stream`."""
        *_, last = self.stream(request, picture)
        return cast(Finished, last).result

    @torch.inference_mode()  # a decorator: safe around yield, a `with` block is not
    def stream(self, request: GenerateRequest, picture: Picture | None = None) -> Generator[Event]:
        """Draw, told one event at a time. Stop iterating to cancel.

        Raises: RequestError, NonFiniteError, OutOfMemory
        """
        began = perf_counter()
        full, picture = self.settled(request, picture)
        yield Loaded(self.spec.name, str(self.device), _short(self.dtype), self.load_seconds)
        try:
            pictures = yield from self._draw(full, picture, began)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            size = f"{full.width}x{full.height}"
            raise OutOfMemory(f"{size} pixels do not fit on {self.device}", hint="draw smaller") from error
        yield Finished(
            GenerateResult(
                pictures,
                full,
                seconds=perf_counter() - began,
                model=self.spec.name,
                model_hash=self.model_hash,
                enlarge=self.spec.defaults.enlarge,
            )
        )

    def _draw(
        self, request: FilledRequest, picture: Picture | None, began: float
    ) -> Generator[Event, None, tuple[Picture, ...]]:
        if picture is not None and request.strength == 0:
            return tuple(replace(picture, seed=seed) for seed in request.seeds)
        reading = self.reader(request.prompt, request.negative)
        yield Encoded(
            tokens=reading.tokens,
            window=reading.window,
            cut=reading.cut,
            negative_cut=reading.negative_cut,
            strangers=self.reader.strangers(request.prompt, self.about.get("words", ())),
            seconds=perf_counter() - began,
        )

        source = None if picture is None or request.strength == 1 else self.encode(picture)
        drawn: tuple[Picture, ...] = ()
        for seeds in batches(request.seeds, 1 if self.exact else BATCH):
            noise = PerImageNoise(seeds)
            x, sigmas = self._start(request, source, noise, len(seeds))
            denoise = self._denoise(request, reading, len(seeds))
            for step in SAMPLERS[request.sampler](denoise, x, sigmas, noise=noise):
                x = step.x
                self._check(step, seeds, len(sigmas) - 1)
                yield Denoised(
                    step=step.index + 1,
                    of=len(sigmas) - 1,
                    first=len(drawn),
                    count=len(seeds),
                    pictures=len(request.seeds),
                    sigma=step.sigma_next,
                    seconds=perf_counter() - began,
                    previews=partial(self.preview, step.x0, seeds),
                )
            done = self.decode(x, seeds)
            yield Decoded(len(drawn), done, perf_counter() - began)
            drawn += done
        return drawn

    def settled(
        self, request: GenerateRequest, picture: Picture | None
    ) -> tuple[FilledRequest, Picture | None]:
        """Close what is open, and bring the picture to the request's size."""
        defaults = self.spec.defaults
        if picture is None:
            if request.strength not in (None, 1):
                problem = f"{request.strength:g} of a picture, but there is no picture to start from"
                raise RequestError({"strength": problem})
        else:
            if request.strength is None:
                request = replace(request, strength=DEFAULT_STRENGTH)
            if request.width is None and request.height is None:
                width, height = size_like(picture, defaults.width * defaults.height)
                request = replace(request, width=width, height=height)
        full = request.filled(defaults)
        factor = self.spec.vae.factor
        if problems := {
            name: f"{pixels} is not a multiple of {factor}, which this model needs"
            for name, pixels in (("width", full.width), ("height", full.height))
            if pixels % factor
        }:
            raise RequestError(problems)
        return full, picture and fitted(picture, full.width, full.height)

    def _start(
        self, request: FilledRequest, source: Tensor | None, noise: PerImageNoise, count: int
    ) -> tuple[Tensor, list[float]]:
        """Pure noise; or the source, with as much noise on it as the strength says."""
        sigmas = self.schedule.sigmas(request.steps, request.spacing)
        factor = self.spec.vae.factor
        shape = (count, self.spec.vae.latent_channels, request.height // factor, request.width // factor)
        eps = noise.draw(torch.empty(shape, device=self.device))
        if source is None or request.strength is None:
            return self.process.start(eps, sigmas[0]), sigmas
        time = torch.tensor([request.strength * self.schedule.times[-1]], dtype=torch.float64)
        level = float(self.schedule.sigma_of(self.schedule.shifted(time)))
        sigmas = entered_at(level, sigmas)
        return source + sigmas[0] * eps, sigmas

    def _denoise(self, request: FilledRequest, reading: Reading, count: int) -> Denoise[Tensor]:
        """The network with its text bound, guided as the request says."""
        denoiser = NetworkDenoiser(self.unet, self.process, self.dtype)
        cond, uncond = reading.cond.expand(count), reading.uncond.expand(count)
        denoise = guided(denoiser, cond, uncond, request.guidance, rescale=request.guidance_rescale)
        if request.guidance_interval is None:
            return denoise
        return interval(denoise, unguided(denoiser, cond), *request.guidance_interval)

    def _check(self, step: Step[Tensor], seeds: Sequence[int], of: int) -> None:
        fine = cast(list[bool], step.x.isfinite().flatten(1).all(dim=1).tolist())
        if not all(fine):
            where = f"step {step.index + 1} of {of} (sigma {step.sigma:.4g})"
            problem = f"the latents of seed {seeds[fine.index(False)]} are not finite after {where}"
            hint = "try dtype float32" if self.dtype != torch.float32 else "are the weights damaged?"
            raise NonFiniteError(problem, hint=hint)

    # --- the parts, one at a time ---

    @property
    def device(self) -> torch.device:
        """Where the U-Net is."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type that the U-Net calculates in."""
        return next(self.unet.parameters()).dtype

    @torch.inference_mode()
    def encode(self, picture: Picture) -> Tensor:
        """A picture to its most likely latent, in the U-Net's units."""
        pixels = to_pixels(picture).to(self.device, next(self.encoder.parameters()).dtype)
        return scale_latents(self.spec.vae, self.encoder(pixels).mean.float())

    @torch.inference_mode()
    def decode(self, latents: Tensor, seeds: Sequence[int]) -> tuple[Picture, ...]:
        """Latents in the U-Net's units to pictures.  Raises: NonFiniteError"""
        latents = unscale_latents(self.spec.vae, latents).to(next(self.decoder.parameters()).dtype)
        pixels = self.decoder(latents)
        if not pixels.isfinite().all():
            raise NonFiniteError("the decoder's pixels are not finite", hint="try dtype float32")
        return to_pictures(pixels, seeds)

    @torch.inference_mode()
    def preview(self, latents: Tensor, seeds: Sequence[int]) -> tuple[Picture, ...]:
        """A quick look: by the line fitted for this model, or the decoder on a small version."""
        if self._sketch is not None:
            return to_pictures(self._sketch(latents, self.spec.vae.factor), seeds)
        shrink = max(1.0, max(latents.shape[-2:]) / SKETCH_SIDE)
        size = [max(1, round(side / shrink)) for side in latents.shape[-2:]]
        return self.decode(F.interpolate(latents, size, mode="area"), seeds)

    @cached_property
    def _sketch(self) -> Sketch | None:
        fitted_line = self.about.get("sketch")
        return fitted_line and Sketch.from_json(fitted_line, self.spec.vae.latent_channels)


def batches(seeds: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Consecutive runs of at most `size` seeds."""
    return (seeds[at : at + size] for at in range(0, len(seeds), size))


def entered_at(level: float, sigmas: Sequence[float]) -> list[float]:
    """The rest of the way down from `level`, which takes the place of the rung nearest to it.

    Units: nearness in log(sigma), so that the first stride is half to one and a half of a usual one
    """
    level = min(level, sigmas[0])
    below = [sigma for sigma in sigmas if sigma < level]
    above = sigmas[len(sigmas) - len(below) - 1]
    if level**2 < above * below[0]:
        below = below[1:]
    return [level, *below]


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
