"""The families of Stable Diffusion, told apart by the structure of their U-Nets."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from fromnoise.specs import REFINER, SD15, SD21, SD21_BASE, SDXL, Depths, ModelSpec, UNetSpec

BASES: Final[Mapping[str, ModelSpec]] = {"sd1": SD15, "sd2": SD21, "sdxl": SDXL, "refiner": REFINER}
TITLES: Final[Mapping[str, str]] = {
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "SDXL",
    "refiner": "the SDXL refiner",
}
UNCLIP_WIDTHS: Final = (1536, 2048)  # of SD 2.1 unCLIP l and h: an image's embedding, and how noisy it is

INPAINT, EDIT, DEPTH, UPSCALER = 9, 8, 5, 7  # channels that a U-Net is shown

# The well-known names of pruned structures: (down, mid, up).
PRUNED: Final[Mapping[tuple[Depths, int | None, Depths], str]] = {
    # Source: Kim et al. 2023 (arXiv:2305.15798)
    (((1,), (1,), (1,), (0,)), 1, ((0, 0), (1, 1), (1, 1), (1, 1))): "BK-SDM base",
    (((1,), (1,), (1,), (0,)), None, ((0, 0), (1, 1), (1, 1), (1, 1))): "BK-SDM small",
    (((1,), (1,), (1,)), None, ((1, 1), (1, 1), (1, 1))): "BK-SDM tiny",
    # Source: Song et al. 2024 (arXiv:2403.16627)
    (((0,), (1,), (1,)), None, ((1, 1), (1, 1), (0, 0))): "SDXS",
    # Source: Gupta et al. 2024 (arXiv:2401.02677)
    (((0, 0), (2, 2), (4, 4)), 0, ((4, 4, 10), (2, 1, 1), (0, 0, 0))): "SSD-1B",
    (((0, 0), (1, 1), (2, 2)), 0, ((2, 2, 2), (1, 1, 1), (0, 0, 0))): "Segmind Vega",
    # Source: Lee et al. 2023 (arXiv:2312.04005)
    (((0,), (2,), (5,)), None, ((5, 5), (2, 2), (0, 0))): "KOALA 700M",
    (((0,), (2,), (6,)), 6, ((6, 6), (2, 2), (0, 0))): "KOALA 1B",
}


def family_of(unet: UNetSpec) -> str:
    """The family whose texts this U-Net reads; "" if none does."""
    for family, base in BASES.items():
        pooled = UNCLIP_WIDTHS if family == "sd2" else ()
        if (
            unet.context_width == base.unet.context_width
            and unet.pooled_width in (base.unet.pooled_width, *pooled)
            and unet.out_channels == base.unet.out_channels
        ):
            return family
    return ""


def structure_of(unet: UNetSpec, family: str) -> str:
    """ "" for the family's own structure; else the name under which a pruned one is known, or "pruned"."""
    base = BASES[family].unet
    own = (base.down, base.mid, base.up)
    found = (unet.down, unet.mid, unet.up)
    if found == own and unet.multipliers == base.multipliers:
        return ""
    return PRUNED.get(found, "pruned")


@dataclass(frozen=True, slots=True)
class Variant:
    """What sets a model apart from the others of its family."""

    name: str
    obstacle: str = ""  # why it cannot draw
    hint: str = ""


def variant_of(unet: UNetSpec, family: str) -> Variant:
    """What the U-Net is shown and told beside noise and text, and how it was pruned."""
    shown = _shown(unet, family)
    told = "lcm" if unet.guidance_width else ""
    names = [name for name in (structure_of(unet, family), told, shown.name) if name]
    return replace(shown, name=" ".join(names) or "base")


def _shown(unet: UNetSpec, family: str) -> Variant:
    latents = BASES[family].vae.latent_channels
    if family == "sd2" and unet.pooled_width in UNCLIP_WIDTHS:
        needs = "it needs the embedding of a picture, and a network that makes one is not built"
        return Variant("unclip", needs, f"draw with {TITLES[family]}'s base model")
    if family == "sd2" and unet.in_channels == DEPTH:
        needs = "it needs a map of depths, and a network that estimates one is not built"
        return Variant("depth", needs, f"draw with {TITLES[family]}'s base model")
    if unet.in_channels == INPAINT:
        return Variant("inpaint", hint="it draws best into a part of a picture, under a mask")
    if unet.in_channels == EDIT and family in ("sd1", "sdxl"):
        return Variant("instruct-pix2pix", hint="it changes a picture as the prompt says: give it one")
    if unet.in_channels == latents:
        return Variant("")
    more = unet.in_channels - latents
    needs = f"its U-Net is shown {unet.in_channels} channels, and what {more} of them mean is not known"
    return Variant(f"{unet.in_channels} channels", needs, f"draw with {TITLES[family]}'s base model")


def usual(family: str, variant: str) -> ModelSpec:
    """What such a model is where nothing else is known of it: SD 2.x comes in two kinds."""
    base = BASES[family]
    if family == "sd2" and variant not in ("base", "unclip"):  # the others grew out of the one of 512 pixels
        return replace(base, prediction="eps")
    return base


def named(spec: ModelSpec, family: str, variant: str) -> ModelSpec:
    """The name and the sizes that go with what has been found out."""
    base = BASES[family]
    if family == "sd2" and spec.prediction != "v":
        base = replace(base, name=SD21_BASE.name, defaults=SD21_BASE.defaults)
    suffix = "" if variant == "base" else f"-{variant.lower().replace(' ', '-')}"
    return replace(spec, name=base.name + suffix, defaults=base.defaults)
