"""OpenVINO: diffusers' networks, converted once for one size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn

from benchmarks.peers.job import BF16, FP32
from benchmarks.peers.networks import Networks
from benchmarks.peers.question import Decode, Predict, questions
from benchmarks.peers.with_diffusers import DecoderHalf

NAME: Final = "openvino"
UNET, DECODER = "unet.xml", "decoder.xml"
HINTS: Final = {BF16: "bf16", FP32: "f32"}


class OpenVino(Networks):
    """Weights lie on the disk in float16, as they were; its compiled form is cached where the job says."""

    packages: ClassVar[tuple[str, ...]] = ("openvino", "diffusers", "torch")

    @property
    def home(self) -> Path:
        """Where the converted networks are."""
        return self.job.converted(NAME)

    def prepare(self) -> None:
        """Convert both networks, unless that was done."""
        self.home.mkdir(parents=True, exist_ok=True)
        ask = next(questions(self.job.size))
        if not (self.home / UNET).exists():
            self._convert(UNET, self._their_unet, (ask.latents, ask.times, ask.context))
        if not (self.home / DECODER).exists():
            self._convert(DECODER, self._their_decoder, (ask.latents[:1],))

    def _convert(self, name: str, build: Callable[[], nn.Module], inputs: tuple[Tensor, ...]) -> None:
        import openvino

        with torch.no_grad():
            model = openvino.convert_model(
                build(), example_input=inputs, input=[tuple(tensor.shape) for tensor in inputs]
            )
        part = self.home / f"part-{name}"
        openvino.save_model(model, part, compress_to_fp16=True)
        part.with_suffix(".bin").rename((self.home / name).with_suffix(".bin"))
        part.rename(self.home / name)

    def _their_unet(self) -> nn.Module:
        from diffusers import UNet2DConditionModel

        return First(UNet2DConditionModel.from_pretrained(self.job.folder, subfolder="unet").float().eval())

    def _their_decoder(self) -> nn.Module:
        from diffusers import AutoencoderKL

        return DecoderHalf(AutoencoderKL.from_pretrained(self.job.folder, subfolder="vae").float().eval())

    def unet(self) -> Predict:
        """Its own compiler, with static shapes."""
        run = self._compiled(UNET)
        return lambda latents, times, context: run(latents, times, context)

    def decoder(self) -> Decode:
        """The same."""
        run = self._compiled(DECODER)
        return lambda z: run(z)

    def _compiled(self, name: str) -> Callable[..., Tensor]:
        import openvino

        options = {
            "INFERENCE_PRECISION_HINT": HINTS[self.job.number],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(self.job.threads),
            "CACHE_DIR": str(self.job.compiled),
        }
        network: Any = openvino.Core().compile_model(self.home / name, "CPU", options)
        return lambda *inputs: torch.from_numpy(network([tensor.numpy() for tensor in inputs])[0])


class First(nn.Module):
    """A network of diffusers that answers with a tensor."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, latents: Tensor, times: Tensor, context: Tensor) -> Tensor:
        """Shapes: as `Predict`"""
        return self.network(latents, times, context, return_dict=False)[0]
