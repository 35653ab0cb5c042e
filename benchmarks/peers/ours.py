"""fromnoise: the one place where the harness says how our own networks are made fast."""

from functools import cached_property
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from benchmarks.peers.job import Found
from benchmarks.peers.networks import Networks
from benchmarks.peers.question import Decode, Predict
from fromnoise.engine.memory import kept_memory
from fromnoise.engine.transforms import hastened, quantized
from fromnoise.weights.model_loader import load_model
from fromnoise.weights.native import Parts

N = TypeVar("N", bound=nn.Module)


class Ours(Networks):
    """Our loader and our networks."""

    packages: ClassVar[tuple[str, ...]] = ("fromnoise", "torch")

    @cached_property
    def parts(self) -> Parts:
        """The plain networks, as `load` makes them."""
        return load_model(self.job.single, dtype=self.dtype, prediction="eps", shelved=True)

    def first(self) -> Found:
        """As in a drawing, which keeps the memory that it frees."""
        with kept_memory():
            return super().first()

    def measure(self) -> Found:
        """The same."""
        with kept_memory():
            return super().measure()

    def unet(self) -> Predict:
        """As the pipeline asks it."""
        network = self.fast(self.parts.unet)

        def predict(latents: Tensor, times: Tensor, context: Tensor) -> Tensor:
            return network(
                latents[:1].to(self.dtype), times[:1], context.to(self.dtype)
            )  # two texts, one picture

        return predict

    def decoder(self) -> Decode:
        """The same."""
        network = self.fast(self.parts.decoder)
        return lambda z: network(z.to(self.dtype))

    def fast(self, network: N) -> N:
        """As the pipeline makes it with engine "auto"."""
        return hastened(network)


class OurBytes(Ours):
    """The same with engine "int8"."""

    def fast(self, network: N) -> N:
        """Its large products of bytes."""
        return quantized(network)
