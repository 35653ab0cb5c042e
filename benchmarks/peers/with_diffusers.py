"""diffusers on torch: as it comes, and compiled."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmarks.peers.networks import Networks
from benchmarks.peers.question import Decode, Predict


class Diffusers(Networks):
    """As it comes, channels last."""

    packages: ClassVar[tuple[str, ...]] = ("torch", "diffusers")

    def unet(self) -> Predict:
        """Their class, their loader, their choice of attention."""
        from diffusers import UNet2DConditionModel

        unet: Any = UNet2DConditionModel.from_pretrained(
            self.job.folder, subfolder="unet", torch_dtype=self.dtype
        )
        run = self.faster(unet.eval().to(memory_format=torch.channels_last))

        def predict(latents: Tensor, times: Tensor, context: Tensor) -> Tensor:
            inputs = latents.to(self.dtype, memory_format=torch.channels_last)
            return run(inputs, times, context.to(self.dtype), return_dict=False)[0]

        return predict

    def decoder(self) -> Decode:
        """The decoder's half of their autoencoder."""
        from diffusers import AutoencoderKL

        vae: Any = AutoencoderKL.from_pretrained(self.job.folder, subfolder="vae", torch_dtype=self.dtype)
        run = self.faster(DecoderHalf(vae.eval()).to(memory_format=torch.channels_last))
        return lambda z: run(z.to(self.dtype, memory_format=torch.channels_last))

    def faster(self, network: nn.Module) -> nn.Module:
        """Nothing more here."""
        return network


class Compiled(Diffusers):
    """By torch.compile, its weights frozen into the compiled program."""

    def faster(self, network: nn.Module) -> nn.Module:
        """Their compiler's strongest form for a CPU that takes no tuning by hand."""
        import torch._inductor.config as inductor

        inductor.freezing = True
        return torch.compile(network)  # pyright: ignore


class DecoderHalf(nn.Module):
    """Latents to pixels as one module."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.enter, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, z: Tensor) -> Tensor:
        """Shapes: (1, 4, h, w) -> (1, 3, 8 h, 8 w)"""
        return self.decoder(self.enter(z))
