"""The story: a prompt, and maybe a picture, become pictures."""

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor

from fromnoise.drawing.beside import Files, also_given, file_of, hashes
from fromnoise.drawing.canvas import Canvas
from fromnoise.drawing.course import BATCH, batches, follow, kept, refined, start
from fromnoise.drawing.finite import check_finite
from fromnoise.drawing.settling import check_refiner, given, kind_of, reads_of, settled
from fromnoise.engine.memory import kept_memory
from fromnoise.engine.placing import Placing, faster, whole
from fromnoise.engine.plan import AUTO, Load, Memory, MemoryPlan, plan
from fromnoise.engine.precision import name_of
from fromnoise.engine.room import lack_told
from fromnoise.engine.shortcuts import shortened
from fromnoise.engine.thrift import Thrift
from fromnoise.errors import NonFiniteError, RequestError
from fromnoise.events import Decoded, Denoised, Encoded, Event, Finished, Loaded
from fromnoise.images.pixels import fitted, to_pictures, to_pixels
from fromnoise.images.sketch import Sketch, shrunk
from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.encoder import Encoder
from fromnoise.nets.latents import scale_latents, unscale_latents
from fromnoise.noise.denoiser import NetworkDenoiser, Process
from fromnoise.noise.samplers import SAMPLERS, Denoise
from fromnoise.noise.schedule import Schedule
from fromnoise.noise.seeds import PerImageNoise
from fromnoise.reading import Facts, Reader, Reading
from fromnoise.request import AdapterUse, FilledRequest, GenerateRequest, GenerateResult, Picture
from fromnoise.specs import ModelSpec
from fromnoise.text.tokenizer import Tokenizer
from fromnoise.weights.adapters import Adapter
from fromnoise.weights.embeddings import Embedding, open_embedding
from fromnoise.weights.native import Parts
from fromnoise.weights.shelved import is_shelved
from fromnoise.weights.wardrobe import Wardrobe


@dataclass(frozen=True, eq=False, repr=False)
class Pipeline:
    """A model that draws, in one thread at a time. Its parts are plain modules, open to inspection."""

    spec: ModelSpec
    reader: Reader
    unet: UNet
    encoder: Encoder
    decoder: Decoder
    process: Process
    wardrobe: Wardrobe  # the adapters: `attach`, `detach`
    engine: str = "auto"
    placing: Placing | None = None  # on a graphics card
    memory: Memory = AUTO  # that drawing on a CPU may take
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    digest: Callable[[], str] = str  # asks for `model_hash`
    # what `load` was asked for and would not do by itself: prediction, ema, variant, dtype, engine
    loaded: Mapping[str, Any] = field(default_factory=dict[str, Any])
    files: Files = field(default_factory=dict[str, Callable[[], str]])
    load_seconds: float = 0.0
    batch: int | None = 1  # pictures at a time: 1, and the bytes of each depend on its own seed alone

    @classmethod
    def of(cls, parts: Parts, engine: str = "auto", placing: Placing | None = None) -> "Pipeline":
        """Make a pipeline from a model's parts; in batches unless it is on a CPU.  Raises: SpecError"""
        spec, placing = parts.spec, placing or whole(parts.unet)
        kind_of(spec)  # refuses what we cannot draw with
        tokenizers = tuple(map(Tokenizer.from_json, parts.tokenizers))
        return cls(
            spec=spec,
            reader=Reader.of(spec, tokenizers, parts.texts),
            unet=parts.unet,
            encoder=parts.encoder,
            decoder=parts.decoder,
            process=Process.of(spec),
            wardrobe=Wardrobe(spec, dict(parts.modules()), parts.digest),
            engine=engine,
            placing=placing,
            about=parts.about,
            digest=parts.digest,
            batch=1 if placing is None and next(parts.unet.parameters()).device.type == "cpu" else None,
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

    @property
    def model_hash(self) -> str:
        """The SHA-256 of the model's file, computed when first asked for; "" if it is not known."""
        return self.digest()

    @property
    def adapters(self) -> tuple[AdapterUse, ...]:
        """Those attached: what a request gets that names none."""
        return self.wardrobe.attached

    def attach(self, adapter: Adapter | str | os.PathLike[str], scale: float = 1.0) -> AdapterUse:
        """Put an adapter on (itself, a file, or a name), or change its scale; several add up.

        Raises: RequestError, StorageError; WeightsError if it is made for another model
        """
        return self.wardrobe.attach(adapter, scale)

    def detach(self, name: str | None = None) -> None:
        """Take the adapter of this name off, or all: every weight is the very one from before."""
        self.wardrobe.detach(name)

    def with_embeddings(self, *embeddings: Embedding | str | os.PathLike[str]) -> "Pipeline":
        """This very model, and in its prompts these words (textual inversion): files, or what they hold.

        Raises: RequestError, StorageError; WeightsError if one is made for another model
        """
        opened = [e if isinstance(e, Embedding) else open_embedding(e) for e in embeddings]
        words = {each.word: each.fitted(self.spec) for each in opened}
        if len(words) < len(opened):
            hint = "rename one: --embedding WORD=FILE"
            raise RequestError({"embeddings": "two are called alike"}, hint=hint)
        files = {file_of(each.word): each.digest for each in opened}
        return replace(self, reader=self.reader.taught(words), files={**self.files, **files})

    @property
    def learnt_words(self) -> set[str]:
        """What embeddings and attached adapters were taught in training here."""
        worn = (word for adapter, _ in self.wardrobe.networks.on for word in adapter.words)
        return {*worn, *(word.lower() for word in self.reader.taught_words)}

    def __repr__(self) -> str:
        return f"Pipeline({self.spec.name!r} on {self.device}, {name_of(self.dtype)})"

    # --- drawing ---

    def __call__(
        self,
        prompt: str | GenerateRequest,
        *,
        picture: Picture | None = None,
        mask: Picture | None = None,
        refiner: "Pipeline | None" = None,
        **fields: Any,
    ) -> GenerateResult:
        """Draw: `pipe("a red house", seed=1, steps=20)`, or `pipe(result.request)` to draw it again.

        Raises: RequestError; see `GenerateRequest.of`
        """
        if isinstance(prompt, GenerateRequest):
            return self.generate(prompt.but(**fields), picture, mask, refiner)
        return self.generate(GenerateRequest.of(prompt, **fields), picture, mask, refiner)

    def generate(
        self,
        request: GenerateRequest,
        picture: Picture | None = None,
        mask: Picture | None = None,
        refiner: "Pipeline | None" = None,
    ) -> GenerateResult:
        """Draw, and tell nothing on the way: the last event of `stream`."""
        *_, last = self.stream(request, picture, mask, refiner)
        return cast(Finished, last).result

    @torch.inference_mode()  # a decorator: safe around yield, a `with` block is not
    def stream(
        self,
        request: GenerateRequest,
        picture: Picture | None = None,
        mask: Picture | None = None,
        refiner: "Pipeline | None" = None,
    ) -> Generator[Event]:
        """Draw, told one event at a time. Stop iterating to cancel.

        `picture`: to start from; `mask`: draw only where it is white; `refiner`: does the last steps
        Raises: RequestError, NonFiniteError, OutOfMemory
        """
        began = perf_counter()
        full = self.settled(request, picture, mask, refiner)
        together = min(self.at_once(full), len(full.seeds))
        thrift = Thrift(
            self.planned(full, picture, refiner),
            lambda: (self._fast_unet, self._fast_decoder, refiner and refiner._fast_unet),
        )
        note = self.placing.note if self.placing else ""
        yield Loaded(self.spec.name, str(self.device), name_of(self.dtype), self.load_seconds, note)
        hint = self.placing.hint(len(full.seeds)) if self.placing else "draw smaller"
        try:
            with lack_told(full, self.device, hint), kept_memory(), thrift.drawing():
                pictures = yield from self._draw(full, picture, mask, refiner, thrift, began)
        finally:
            self.wardrobe.wear(None)
        said = self.reader.said(full.prompt, full.negative)
        yield Finished(
            GenerateResult(
                pictures,
                full,
                seconds=perf_counter() - began,
                model=self.spec.name,
                model_hash=self.model_hash,
                refiner=refiner.spec.name if refiner else "",
                refiner_hash=refiner.model_hash if refiner else "",
                given=given(full, self.spec, picture, mask) + also_given(self.files, said, refiner),
                enlarge=self.spec.defaults.enlarge,
                loaded=self.loaded if together == 1 else {**self.loaded, "batch": together},
                hashes=hashes(self.files, said),
            )
        )

    def _draw(
        self,
        request: FilledRequest,
        picture: Picture | None,
        mask: Picture | None,
        refiner: "Pipeline | None",
        thrift: Thrift,
        began: float,
    ) -> Generator[Event, None, tuple[Picture, ...]]:
        if picture is not None and request.strength == 0:
            whole = fitted(picture, request.width, request.height)
            return tuple(replace(whole, seed=seed) for seed in request.seeds)
        self.wardrobe.wear(request.adapters)
        if self.placing is not None:
            work = self.placing.work(self.spec, request, (self.unet, self.decoder))
            self.placing.expect(min(self.at_once(request), len(request.seeds)) * work)
        reading = self.read(request)
        yield Encoded(
            tokens=reading.tokens,
            window=reading.window,
            cut=reading.cut,
            negative_cut=reading.negative_cut,
            strangers=self.reader.strangers(request.prompt, self.about.get("words", ()), self.learnt_words),
            seconds=perf_counter() - began,
        )
        with thrift.painting():
            canvas = Canvas.of(request, picture, mask, self.spec, self._to_latents)
        late = None if refiner is None else partial(refiner._follow, request, refiner.read(request), thrift)
        drawn: tuple[Picture, ...] = ()
        for seeds in batches(request.seeds, self.at_once(request)):
            self.wardrobe.wear(request.adapters)  # the caller may have drawn something else between events
            thrift.follow()
            noise = PerImageNoise(seeds)
            x, sigmas = start(request, canvas, self.process, noise.draw(self._blank(request, len(seeds))))
            denoise = self._follow(request, reading, thrift, len(seeds), canvas.beside)
            schedule = refiner and refiner.schedule
            denoise = kept(canvas, refined(request, schedule, denoise, late and late(len(seeds))))
            for step in SAMPLERS[request.sampler](denoise, x, sigmas, noise=noise):
                x = step.x
                check_finite(step, seeds, len(sigmas) - 1, self.dtype)
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
                self.wardrobe.wear(request.adapters)
                thrift.follow()
            with thrift.painting():
                done = canvas.finished(self.decode(x, seeds))
            yield Decoded(len(drawn), done, perf_counter() - began)
            drawn += done
        return drawn

    def settled(
        self,
        request: GenerateRequest,
        picture: Picture | None = None,
        mask: Picture | None = None,
        refiner: "Pipeline | None" = None,
    ) -> FilledRequest:
        """The request as it would be drawn, with nothing left open.

        Raises: RequestError; StorageError, WeightsError if an adapter cannot be had
        """
        request = self.wardrobe.filled(request)
        if refiner is None:
            return settled(request, self.spec, picture, mask, self.reads)
        check_refiner(self.spec, refiner.spec)
        if refiner.device != self.device:
            raise RequestError({"refiner": f"it is on {refiner.device}, the model on {self.device}"})
        if refiner.adapters:
            problem = "it has adapters attached, which a request cannot tell"
            raise RequestError({"refiner": problem}, hint="detach them")
        return settled(request, self.spec, picture, mask, self.reads | refiner.reads | {"refine_from"})

    @property
    def reads(self) -> set[str]:
        """Those fields of a request that some models have no use for, and this one has."""
        return reads_of(self.spec, self.reader.reads)

    def read(self, request: FilledRequest) -> Reading:
        """Both prompts, and what the model is told about the picture, to what the U-Net reads."""
        return self.reader(
            request.prompt, request.negative, Facts.of(request), zero_negative=request.zero_negative
        )

    def planned(
        self, request: FilledRequest, picture: Picture | None = None, refiner: "Pipeline | None" = None
    ) -> MemoryPlan | None:
        """What drawing takes of a CPU's memory, if any, and what is done.  Raises: OutOfMemory"""
        if self.device.type != "cpu" or request.strength == 0:
            return None
        pipes = [self, *([refiner] if refiner else [])]
        load, *late = (Load.of(pipe.spec, pipe.dtype, pipe.engine, is_shelved(pipe.unet)) for pipe in pipes)
        load = replace(load, beside=self.wardrobe.changed(request.adapters), late=tuple(late))
        at_once = min(self.at_once(request), len(request.seeds))
        return plan(load, request, self.memory, picture=picture is not None, at_once=at_once)

    def _follow(
        self, request: FilledRequest, said: Reading, thrift: Thrift, count: int, beside: Tensor | None = None
    ) -> Denoise[Tensor]:
        """The network with its text bound, guided as the request says."""
        unet = thrift.asked(partial(shortened, self._fast_unet, request, self.spec.vae.factor))
        denoiser = NetworkDenoiser(unet, self.process, self.dtype)
        cond, uncond = (replace(cond, beside=beside).expand(count) for cond in (said.cond, said.uncond))
        return follow(request, self.spec, denoiser, cond, uncond)

    def _blank(self, request: FilledRequest, count: int) -> Tensor:
        """Latents of the request's size, which hold nothing yet."""
        sides = (side // self.spec.vae.factor for side in (request.height, request.width))
        return torch.empty(count, self.spec.vae.latent_channels, *sides, device=self.device)

    @cached_property
    def _fast_unet(self) -> UNet:
        return faster(self.unet, self.engine, self.placing)

    @cached_property
    def _fast_decoder(self) -> Decoder:
        return faster(self.decoder, self.engine, self.placing)

    def at_once(self, request: FilledRequest) -> int:
        """How many pictures are drawn in one batch: as many as were asked for, or fit on a card."""
        if self.placing is None:
            return self.batch or BATCH
        fits = self.placing.at_once(self.placing.work(self.spec, request, (self.unet, self.decoder)))
        return min(self.batch or fits, fits)

    # --- the parts, one at a time ---

    @property
    def device(self) -> torch.device:
        """Where the U-Net draws."""
        return self.placing.card.device if self.placing else next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type that the U-Net calculates in."""
        return next(self.unet.parameters()).dtype

    @torch.inference_mode()
    def encode(self, picture: Picture) -> Tensor:
        """A picture to its most likely latent, in the U-Net's units."""
        return scale_latents(self.spec.vae, self._to_latents(to_pixels(picture)))

    def _to_latents(self, pixels: Tensor) -> Tensor:
        """Pixels to their most likely latent, in the autoencoder's own units."""
        pixels = pixels.to(self.device, next(self.encoder.parameters()).dtype)
        return self.encoder(pixels).mean.float()

    @torch.inference_mode()
    def decode(self, latents: Tensor, seeds: Sequence[int]) -> tuple[Picture, ...]:
        """Latents in the U-Net's units to pictures.  Raises: NonFiniteError"""
        dtype = next(self.decoder.parameters()).dtype
        pixels = self._fast_decoder(unscale_latents(self.spec.vae, latents).to(dtype))
        if not pixels.isfinite().all():
            raise NonFiniteError("the decoder's pixels are not finite", hint="try dtype float32")
        return to_pictures(pixels, seeds)

    @torch.inference_mode()
    def preview(self, latents: Tensor, seeds: Sequence[int]) -> tuple[Picture, ...]:
        """A quick look: by the line fitted for this model, or the decoder on a small version."""
        if self._sketch is not None:
            return to_pictures(self._sketch(latents, self.spec.vae.factor), seeds)
        return self.decode(shrunk(latents), seeds)

    @cached_property
    def _sketch(self) -> Sketch | None:
        line = self.about.get("sketch")
        return line and Sketch.from_json(line, self.spec.vae.latent_channels)
