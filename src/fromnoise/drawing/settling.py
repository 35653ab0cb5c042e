"""Closing what a request leaves open, and refusing what does not fit the model."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final, Literal

from fromnoise.errors import RequestError, SpecError
from fromnoise.images.masks import to_mask
from fromnoise.images.pixels import size_like
from fromnoise.names import UNSTEADY
from fromnoise.request import FilledRequest, GenerateRequest, Picture
from fromnoise.specs import ModelSpec, VaeSpec

Kind = Literal["plain", "inpaint", "edit"]
"""What a U-Net reads beside the noisy latents: nothing, a mask and what it leaves, or a whole picture."""

DEFAULT_STRENGTH: Final = 0.75  # of the noise put on a picture to start from
IMAGE_GUIDANCE: Final = 1.5  # Source: Brooks et al. 2023, sec. 3.2.1 (arXiv:2211.09800)
REFINE_FROM: Final = 0.8  # Source: the share of SDXL's time axis that its refiner was trained on

SIZES: Final = "this model is not told about sizes; SDXL's are"
UNREAD: Final[Mapping[str, str]] = {  # why a field is refused, where the model has no use for it
    "negative": "this model was distilled with its guidance, and reads no negative prompt",
    "image_guidance": "only models that change pictures read it",
    "refine_from": "there is no refiner to take over",
    "original_size": SIZES,
    "crop": SIZES,
    "aesthetic": "only SDXL's refiner is told what a picture is worth",
}


# As AUTOMATIC1111 asks for adapters: a name, how much of it, and maybe more that only it has words for.
IN_PROMPT: Final = re.compile(r"<(?:lora|lyco):([^<>:]+)(?=[:>])(:[+-]?[\d.]+)?[^<>]*>")


def kind_of(spec: ModelSpec) -> Kind:
    """What this model's U-Net reads.  Raises: SpecError if it is nothing that we have"""
    latents, wanted = spec.vae.latent_channels, spec.unet.in_channels
    kinds: dict[int, Kind] = {latents: "plain", 2 * latents + 1: "inpaint", 2 * latents: "edit"}
    if wanted not in kinds:
        known = ", ".join(f"{channels} ({kind})" for channels, kind in kinds.items())
        raise SpecError(f"the U-Net reads {wanted} channels; we can show it {known}")
    return kinds[wanted]


def reads_of(spec: ModelSpec, told: Collection[str]) -> set[str]:
    """Those fields of `UNREAD` that a model has a use for; `told`: those that its prompt's reader has."""
    reads = set(told) - ({"negative"} if spec.unet.guidance_width else set[str]())
    return reads | {"image_guidance"} if kind_of(spec) == "edit" else reads


def settled(
    request: GenerateRequest,
    spec: ModelSpec,
    picture: Picture | None,
    mask: Picture | None,
    reads: Collection[str],
) -> FilledRequest:
    """Close what a request leaves open; `reads` names those fields of `UNREAD` that are of use.

    Raises: RequestError for what does not fit the model, or does not fit together
    """
    kind, defaults = kind_of(spec), spec.defaults
    _check(request, kind, picture, mask, reads)
    if picture is not None:
        if request.strength is None:
            request = replace(request, strength=1.0 if _is_shown(kind, mask) else DEFAULT_STRENGTH)
        if request.width is None and request.height is None:
            width, height = size_like(picture, defaults.width * defaults.height)
            request = replace(request, width=width, height=height)
    for name, value in (("image_guidance", IMAGE_GUIDANCE), ("refine_from", REFINE_FROM)):
        if name in reads and getattr(request, name) is None:
            request = replace(request, **{name: value})
    full, factor = request.filled(defaults), spec.vae.factor
    if problems := {
        name: f"{pixels} is not a multiple of {factor}, which this model needs"
        for name, pixels in (("width", full.width), ("height", full.height))
        if pixels % factor
    }:
        raise RequestError(problems)
    _check_guidance(full, spec)
    _check_shortcuts(full, spec)
    if mask is not None:
        to_mask(mask, full.width, full.height)  # for its complaint, before anything is drawn
    return full


def _check_guidance(request: FilledRequest, spec: ModelSpec) -> None:
    """Raises: RequestError for what a model that was distilled with its guidance has no use for"""
    if request.guidance_rescale and spec.unet.guidance_width:
        problem = "this model was distilled with its guidance, and gives nothing to rescale"
        raise RequestError({"guidance_rescale": problem}, hint="leave it out")


def reads_negative(request: FilledRequest) -> bool:
    """Is the network asked what it makes of the negative prompt, if the model reads one at all?"""
    return request.guidance != 1 or request.image_guidance not in (None, 1)


def _check_shortcuts(request: FilledRequest, spec: ModelSpec) -> None:
    """Raises: RequestError for those that make no sense with this model or this sampler"""
    problems: dict[str, str] = {}
    if request.merge and not any(any(depths) for depths in spec.unet.down):
        problems["merge"] = "this model has no attention on its way down, so there is nothing to merge"
    if request.reuse > 1 and request.sampler in UNSTEADY:
        problems["reuse"] = UNSTEADY[request.sampler]
    if problems:
        raise RequestError(problems, hint="leave it out" if "merge" in problems else "try sampler dpmpp_2m")


def given(
    request: FilledRequest, spec: ModelSpec, picture: Picture | None, mask: Picture | None
) -> tuple[str, ...]:
    """What a drawing depends on beside its request: "image", "mask"."""
    is_used = request.strength != 1 or mask is not None or _is_shown(kind_of(spec), mask)
    image = ("image",) if picture is not None and is_used else ()
    return image if mask is None else (*image, "mask")


def _is_shown(kind: Kind, mask: Picture | None) -> bool:
    """Does the network see the picture, or what the mask leaves of it, at every step?"""
    return kind == "edit" or (kind == "inpaint" and mask is not None)


def check_refiner(model: ModelSpec, refiner: ModelSpec) -> None:
    """Raises: RequestError if the refiner cannot go on where the model stops."""
    if kind_of(refiner) != "plain":
        raise RequestError(
            {"refiner": f"{refiner.name} reads a picture beside the noise, which it cannot get"}
        )
    if _latents(model.vae) != _latents(refiner.vae):
        raise RequestError({"refiner": f"{refiner.name} has other latents than {model.name}"})


def _latents(vae: VaeSpec) -> tuple[object, ...]:
    return vae.factor, vae.latent_channels, vae.latent_scale, vae.latent_mean, vae.latent_std


def _check(
    request: GenerateRequest,
    kind: Kind,
    picture: Picture | None,
    mask: Picture | None,
    reads: Collection[str],
) -> None:
    unread = {
        name: why
        for name, why in UNREAD.items()
        if name not in reads and getattr(request, name) not in ("", None)
    }
    if unread:
        raise RequestError(unread)
    for name in ("prompt", "negative"):
        if tag := IN_PROMPT.search(getattr(request, name)):
            problem = f"{tag[0]!r} is not read here: the model would take it for words"
            raise RequestError(
                {name: problem}, hint=f"name it beside the prompt: --lora {tag[1]}{tag[2] or ''}"
            )
    if picture is not None:
        return
    if kind == "edit":
        problem = "this model changes pictures, and there is none"
        raise RequestError({"picture": problem}, hint="give one; on the command line: --image FILE")
    if mask is not None:
        problem = "there is no picture for it to lie on"
        raise RequestError({"mask": problem}, hint="give the picture; on the command line: --image FILE")
    if request.strength not in (None, 1):
        problem = f"{request.strength:g} of a picture, but there is no picture to start from"
        raise RequestError({"strength": problem})
