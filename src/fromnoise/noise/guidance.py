"""Following the prompt more closely, or keeping part of a picture: wrappers that make or change a `Denoise`.

They compose: guidance only at middling noise, and only inside a mask, is

    masked(source, mask)(interval(guided(denoiser, cond, uncond, 7.5), unguided(denoiser, cond), 0.3, 3.0))
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fromnoise.noise.denoiser import Conditioning, Denoiser
from fromnoise.noise.samplers.step import Denoise

Guidance = Callable[[Denoise[Tensor]], Denoise[Tensor]]


def unguided(denoiser: Denoiser, cond: Conditioning) -> Denoise[Tensor]:
    """Bind the text and follow it as trained: one row a picture."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return denoiser(x, _levels(x, sigma), cond)

    return denoise


def guided(
    denoiser: Denoiser, cond: Conditioning, uncond: Conditioning, scale: float, *, rescale: float = 0.0
) -> Denoise[Tensor]:
    """Bind the text. Scale 1 follows the prompt as trained; larger exaggerates it.

    At scale 1 only the conditional half is evaluated; else both, in one batch, unconditional rows first.
    Source: Ho & Salimans 2022, eq. 6 (arXiv:2207.12598); `rescale`: see `rescaled`
    """
    if scale == 1:
        return unguided(denoiser, cond)
    both = uncond.cat(cond)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        twice = torch.cat([x, x])
        x0_uncond, x0_cond = denoiser(twice, _levels(twice, sigma), both).chunk(2)
        return rescaled(torch.lerp(x0_uncond, x0_cond, scale), x0_cond, rescale)

    return denoise


def rescaled(x0: Tensor, x0_cond: Tensor, strength: float) -> Tensor:
    """Give guided latents back the contrast of the unguided ones, fully at strength 1, not at all at 0.

    Source: Lin et al. 2023, eq. 15-16 (arXiv:2305.08891), on x0, so that every prediction type agrees
    """
    if strength == 0:
        return x0
    each_picture = tuple(range(1, x0.ndim))
    contrast = x0_cond.std(each_picture, keepdim=True) / x0.std(each_picture, keepdim=True)
    return x0 * torch.lerp(torch.ones_like(contrast), contrast, strength)


def interval(inside: Denoise[Tensor], outside: Denoise[Tensor], low: float, high: float) -> Denoise[Tensor]:
    """Guide only where low < sigma <= high; with `unguided` outside, each step there costs half.

    Source: Kynkäänniemi et al. 2024 (arXiv:2404.07724)
    """

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return inside(x, sigma) if low < sigma <= high else outside(x, sigma)

    return denoise


def masked(source: Float[Tensor, "b c h w"], mask: Float[Tensor, "#b 1 h w"]) -> Guidance:
    """Repaint where the mask is 1, keep `source` where it is 0: there the clean answer is known.

    The last step ends on x0, so what is kept is kept exactly. Start from `source` with noise added.
    """

    def wrap(denoise: Denoise[Tensor]) -> Denoise[Tensor]:
        return lambda x, sigma: torch.lerp(source, denoise(x, sigma), mask)

    return wrap


def _levels(x: Tensor, sigma: float) -> Float[Tensor, " b"]:
    return torch.full((len(x),), sigma, dtype=torch.float32, device=x.device)  # bfloat16 would round sigma
