"""A model as training sees it: its networks, how it reads, and how noise is added."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch

from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.encoder import Encoder
from fromnoise.noise.denoiser import Process
from fromnoise.noise.schedule import Schedule
from fromnoise.reading import Reader
from fromnoise.specs import ModelSpec
from fromnoise.text import Tokenizer


class Model(Protocol):
    """What has these parts, as a pipeline does."""

    @property
    def spec(self) -> ModelSpec:
        """Its architecture."""
        ...

    @property
    def reader(self) -> Reader:
        """Tokenizers and text encoders."""
        ...

    @property
    def unet(self) -> UNet:
        """The network that draws."""
        ...

    @property
    def encoder(self) -> Encoder:
        """Pixels to latents."""
        ...

    @property
    def decoder(self) -> Decoder:
        """Latents to pixels."""
        ...

    @property
    def process(self) -> Process:
        """How noise is added, and what the network says of it."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """What its file tells."""
        ...

    @property
    def model_hash(self) -> str:
        """The SHA-256 of its file."""
        ...


@dataclass(frozen=True, eq=False)
class Student:
    """A model that learns: its plain networks are changed in place."""

    spec: ModelSpec
    reader: Reader
    unet: UNet
    encoder: Encoder
    decoder: Decoder
    process: Process
    about: Mapping[str, Any]
    model_hash: str

    @classmethod
    def of(cls, model: Model) -> Self:
        """The same networks, not copies."""
        parts = (model.spec, model.reader, model.unet, model.encoder, model.decoder)
        return cls(*parts, model.process, model.about, model.model_hash)

    @property
    def tokenizers(self) -> tuple[Tokenizer, ...]:
        """One for each text encoder."""
        return self.reader.tokenizers

    @property
    def text_encoders(self) -> tuple[TextTransformer, ...]:
        """What reads the captions."""
        return self.reader.encoders

    @property
    def schedule(self) -> Schedule:
        """How noise is added."""
        return self.process.schedule

    @property
    def device(self) -> torch.device:
        """Where the U-Net is."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type that the U-Net's numbers are of."""
        return next(self.unet.parameters()).dtype
