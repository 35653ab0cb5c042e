"""Following the prompt more closely, or keeping part of a picture: wrappers that make or change a `Denoise`.

They compose: guidance only at middling noise, and only inside a mask, is

    masked(source, mask)(interval(guided(denoiser, cond, uncond, 7.5), unguided(denoiser, cond), 0.3, 3.0))
"""

from collections.abc import Callable
from dataclasses import replace
from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from fromnoise.noise.denoiser import Conditioning, Denoiser
from fromnoise.noise.samplers.step import Denoise

LONGEST_PERIOD = 10_000  # of `scale_features`

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


def edited(
    denoiser: Denoiser,
    cond: Conditioning,
    uncond: Conditioning,
    scale: float,
    picture_scale: float,
    *,
    rescale: float = 0.0,
) -> Denoise[Tensor]:
    """Bind the text and a picture to be changed; `picture_scale` says how closely to keep to that picture.

    Both conditionings carry the picture beside. Three rows are evaluated, but one where both scales are 1.
    Source: Brooks et al. 2023, eq. 3 (arXiv:2211.09800); `rescale`: see `rescaled`
    """
    if scale == picture_scale == 1:
        return unguided(denoiser, cond)
    assert uncond.beside is not None, "there is no picture beside the latents"
    blind = replace(uncond, beside=torch.zeros_like(uncond.beside))
    rows = blind.cat(uncond).cat(cond)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        thrice = torch.cat([x, x, x])
        x0_blind, x0_picture, x0_both = denoiser(thrice, _levels(thrice, sigma), rows).chunk(3)
        x0 = x0_blind + picture_scale * (x0_picture - x0_blind) + scale * (x0_both - x0_picture)
        return rescaled(x0, x0_both, rescale)

    return denoise


def told(denoiser: Denoiser, cond: Conditioning, scale: float, width: int) -> Denoise[Tensor]:
    """Bind the text for a network distilled with its guidance: the scale is an input, one row a picture.

    Source: Luo et al. 2023, sec. 4.2 (arXiv:2310.04378)
    """
    features = scale_features(scale, width).to(cond.context)
    return unguided(denoiser, replace(cond, guidance=features.expand(len(cond.context), -1)))


def scale_features(scale: float, width: int) -> Float[Tensor, "1 w"]:
    """Sines and cosines of a guidance scale at `width / 2` frequencies, in float32.

    Units:  the scale as everywhere here, 1 follows the prompt as trained; the papers' omega is one less
    Source: as the times in Vaswani et al. 2017, sec. 3.5 (arXiv:1706.03762), of 1000 * omega
    """
    half = width // 2
    # in the published code's order: the angles are so large that another one rounds them differently
    frequencies = torch.exp(torch.arange(half) * -(torch.tensor(log(LONGEST_PERIOD)) / (half - 1)))
    angles = (torch.tensor([[scale - 1.0]]) * 1000.0) * frequencies
    return torch.cat([angles.sin(), angles.cos(), angles.new_zeros(1, width % 2)], dim=-1)


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


def handed_over(first: Denoise[Tensor], second: Denoise[Tensor], level: float) -> Denoise[Tensor]:
    """One network while there is much noise, another from where sigma is below `level`.

    Source: "ensemble of expert denoisers", Balaji et al. 2022, sec. 3 (arXiv:2211.01324)
    """
    return lambda x, sigma: first(x, sigma) if sigma >= level else second(x, sigma)


def masked(source: Float[Tensor, "b c h w"], mask: Float[Tensor, "#b 1 h w"]) -> Guidance:
    """Repaint where the mask is 1, keep `source` where it is 0: there the clean answer is known.

    The last step ends on x0, so what is kept is kept exactly. Start from `source` with noise added.
    """

    def wrap(denoise: Denoise[Tensor]) -> Denoise[Tensor]:
        return lambda x, sigma: torch.lerp(source, denoise(x, sigma), mask)

    return wrap


def _levels(x: Tensor, sigma: float) -> Float[Tensor, " b"]:
    return torch.full((len(x),), sigma, dtype=torch.float32, device=x.device)  # bfloat16 would round sigma
