"""What a U-Net predicts, by asking it: shown nothing but noise, does it say so?

Where there is only noise, eps is what it sees, and v = a * eps - b * x0 is the picture that is not there.
With less noise v is noise too. So two questions tell the two apart, and tell both from a network that was
never trained, or that predicts x0. (A flow velocity looks like eps; no U-Net of these families predicts it.)
"""

from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor

from fromnoise.nets.diffusion import UNet
from fromnoise.specs import Prediction
from fromnoise.weights.families import INPAINT

# Time, and sqrt(1 - alpha_bar) there; a zero-terminal schedule is close to it at both.
LAST, LAST_NOISE = 999, 1.0
MIDDLE, MIDDLE_NOISE = 500, 0.851
MIDDLE_SIGNAL: Final = 0.526  # sqrt(alpha_bar): the share of the noise that a perfect v says there
SIDE, PICTURES, SEED, TOKENS = 16, 2, 0, 77
LATENTS: Final = 4  # channels of noise

SAYS, SILENT = 0.7, 0.3  # the share of the noise that counts as said, and as not said at all
SAYS_V: Final = MIDDLE_SIGNAL / 2


@dataclass(frozen=True, slots=True)
class Probe:
    """How much of the noise that it was shown a network says, from 0 to 1: at t = 999 and at t = 500."""

    last: float
    middle: float

    @property
    def prediction(self) -> Prediction | None:
        """eps, v, or None where the answers fit neither."""
        if self.last >= SAYS and self.middle >= SAYS:
            return "eps"
        if abs(self.last) <= SILENT and self.middle >= SAYS_V:
            return "v"
        return None

    def __str__(self) -> str:
        return f"of the noise, {self.last:.2f} is in the answer at t = {LAST}, {self.middle:.2f} at {MIDDLE}"


@torch.inference_mode()
def probe(unet: UNet, context: Tensor | None = None, pooled: Tensor | None = None) -> Probe:
    """Ask a U-Net for latents of 128 x 128 pixels, twice, on its own device and in its own type.

    Of numbers of 8 bits nothing can be calculated: a U-Net of those is asked in float32.

    `context`, `pooled`: of an empty prompt, one row; zeros if not given, which serve too.
    Shapes: (1, N, D), (1, P)
    """
    weight = next(unet.parameters())
    spec = unet.spec
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(PICTURES, LATENTS, SIDE, SIDE, generator=generator)
    noise = noise.to(weight.device, weight.dtype if weight.dtype.itemsize > 1 else torch.float32)
    if context is None:
        context = noise.new_zeros(1, TOKENS, spec.context_width)
    if pooled is None and spec.pooled_width:
        pooled = noise.new_zeros(1, spec.pooled_width)
    guidance = noise.new_zeros(PICTURES, spec.guidance_width) if spec.guidance_width else None

    def said(t: int, level: float) -> float:
        answer = unet(
            _shown(level * noise, spec.in_channels),
            torch.full((PICTURES,), float(t), device=weight.device),
            context.expand(PICTURES, -1, -1),
            None if pooled is None else pooled.expand(PICTURES, -1),
            guidance,
        )
        return _share(answer[:, :LATENTS], noise)

    return Probe(said(LAST, LAST_NOISE), said(MIDDLE, MIDDLE_NOISE))


def _shown(noisy: Tensor, channels: int) -> Tensor:
    """With what else the network is shown: nothing, and where it inpaints a mask over all of it."""
    beside = noisy.new_zeros(len(noisy), channels - LATENTS, *noisy.shape[2:])
    if channels == INPAINT:
        beside[:, 0] = 1
    return torch.cat([noisy, beside], dim=1)


def _share(answer: Tensor, noise: Tensor) -> float:
    """The answer projected on the noise, both without the mean of each channel."""
    answer, noise = (x.float() - x.float().mean((2, 3), keepdim=True) for x in (answer, noise))
    return cast(float, ((answer * noise).sum() / noise.square().sum()).item())
