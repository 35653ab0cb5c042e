"""What a file is: from the names and shapes of its tensors, and from what it says of itself. No guessing."""

import json
from collections.abc import Sequence
from dataclasses import replace

from fromnoise.errors import FromNoiseError, SpecError, WeightsError
from fromnoise.specs import ClipSpec, ModelSpec, Prediction
from fromnoise.weights.families import BASES, Variant, family_of, named, usual, variant_of
from fromnoise.weights.folder_facts import declared_family, text_like, unet_like, vae_like
from fromnoise.weights.identity import DIFFUSERS, LDM, MODEL, OURS, Finding, Identity
from fromnoise.weights.layouts import LAYOUTS, sift
from fromnoise.weights.lone import identify_part, identify_stranger
from fromnoise.weights.native import CHECKER, FOR_CHECKERS, HEADER, IS_CHECKER
from fromnoise.weights.networks import Network, find_networks, text_places
from fromnoise.weights.prediction import settle
from fromnoise.weights.probe import Probe
from fromnoise.weights.quantized import INSTEAD, find_quantized
from fromnoise.weights.remarks import remarks, text_name
from fromnoise.weights.stored import Stored
from fromnoise.weights.strangers import SUPPORTED
from fromnoise.weights.structure import read_clip, read_unet, read_vae, unet_context

__all__ = ["Finding", "Identity", "detect"]


def detect(stored: Stored, *, prediction: Prediction | None = None, probed: Probe | None = None) -> Identity:
    """What a file or folder is, with what proves it.

    `prediction` is the user's word, which wins; `probed` what a probe of its U-Net said, which comes last.
    Names and shapes decide; no numbers are read but those of a few marker tensors.
    """
    if HEADER in stored.metadata:
        return _ours(stored, prediction)
    networks = find_networks(stored.shapes)
    if stranger := identify_stranger(stored, networks):
        return stranger
    if not any(network.room == "unet" for network in networks):
        return identify_part(stored, networks)
    return _model(stored, networks, prediction, probed)


def _ours(stored: Stored, prediction: Prediction | None) -> Identity:
    try:
        header = json.loads(stored.metadata[HEADER])
        if CHECKER in header:
            return Identity("checker", "", "", OURS, None, obstacle=IS_CHECKER, hint=FOR_CHECKERS)
        spec = ModelSpec.from_json(header["spec"])
    except (FromNoiseError, ValueError, KeyError, TypeError) as error:
        problem = f"its header describes no model that can be built: {error}"
        return Identity(MODEL, "", "", OURS, None, obstacle=problem, hint="copy or download it again")
    said = Finding("prediction", spec.prediction, "the spec in its header")
    if prediction:
        said, spec = Finding("prediction", prediction, "asked for"), replace(spec, prediction=prediction)
    return Identity(MODEL, "", spec.name, OURS, spec, (said,))


# --- a model, or a part of one with a U-Net ---


class UnknownFamily(WeightsError):
    """The U-Net can be read, and is none that we know."""


def _model(
    stored: Stored, networks: Sequence[Network], prediction: Prediction | None, probed: Probe | None
) -> Identity:
    unets, vaes = ([n for n in networks if n.room == room] for room in ("unet", "vae"))
    family = _family_by_width(stored, unets[0])
    layout = _layout(networks, unets[0])
    kind = MODEL if len(networks) > 1 else "U-Net"
    try:
        held = [name for name in stored.shapes if any(network.holds(name) for network in networks)]
        if problem := find_quantized(stored, sift(held)[0]):
            raise WeightsError(problem, hint=INSTEAD)
        if len(unets) > 1 or len(vaes) > 1:
            raise WeightsError(f"it holds {len(unets)} U-Nets and {len(vaes)} autoencoders: which to take?")
        family, spec, variant = _structure(stored, networks, unets[0])
        spec, findings = settle(stored, spec, family, prediction=prediction, probed=probed)
    except UnknownFamily as error:
        return Identity(kind, "", "", layout, None, obstacle=error.message, hint=error.hint)
    except (WeightsError, SpecError) as error:
        return Identity(kind, family, "", layout, None, obstacle=error.message, hint=error.hint)
    spec = named(spec, family, variant.name)
    findings += tuple(remarks(stored, networks, spec))
    obstacle, hint = _obstacle(networks, spec, variant)
    return Identity(kind, family, variant.name, layout, spec, findings, obstacle, hint)


def _structure(stored: Stored, networks: Sequence[Network], unet: Network) -> tuple[str, ModelSpec, Variant]:
    shapes, configs = stored.shapes, stored.configs
    near = BASES.get(_family_by_width(stored, unet))
    unet_spec = read_unet(shapes, unet.place, like=unet_like(configs, near.unet if near else None))
    found, declared = family_of(unet_spec), declared_family(configs)
    family = found or declared
    if not family:
        width, pooled = unet_spec.context_width, unet_spec.pooled_width
        beside = f" and a vector of {pooled}" if pooled else ""
        problem = f"its U-Net is of no known family: it reads texts {width} wide{beside}"
        raise UnknownFamily(problem, hint=SUPPORTED)
    variant = variant_of(unet_spec, family)
    base = usual(family, variant.name)
    texts = list(base.texts)
    for network, place in text_places(networks, base if found else None).items():
        if place < len(texts):
            like = text_like(configs.get(network.place, {}), texts[place], network.width)
            texts[place] = read_clip(shapes, network.place, like=like)
    vae = next((network for network in networks if network.room == "vae"), None)
    vae_spec = read_vae(shapes, vae.place, like=vae_like(configs, base.vae)) if vae else base.vae
    return family, replace(base, unet=unet_spec, vae=vae_spec, texts=tuple(texts)), variant


def _family_by_width(stored: Stored, unet: Network) -> str:
    """The family whose texts are as wide as those that the U-Net reads; "" if there is none."""
    width = unet_context(stored.shapes, unet.place)
    return next((family for family, base in BASES.items() if base.unet.context_width == width), "")


def _layout(networks: Sequence[Network], unet: Network) -> str:
    """By the U-Net: the autoencoder may be another file's, and the text encoders' names are in several."""
    if unet.dialect == "diffusers":
        return DIFFUSERS
    texts = {network.place for network in networks if network.room == "text"}
    return next((LDM + name for name, layout in LAYOUTS.items() if set(layout) == texts), "")


def _obstacle(networks: Sequence[Network], spec: ModelSpec, variant: Variant) -> tuple[str, str]:
    """Why it cannot draw, and what to do; or no reason, and what is good to know."""
    lacks = [f"a text encoder ({text_name(text.width)})" for text in _lost_texts(networks, spec)]
    if not any(network.room == "vae" for network in networks):
        lacks.append("an autoencoder")
    if variant.obstacle:
        return variant.obstacle, variant.hint
    if lacks:
        *others, last = lacks
        listed = f"{', '.join(others)} and {last}" if others else last
        return f"it lacks {listed}", "get the complete model, or one that has the rest"
    return "", variant.hint


def _lost_texts(networks: Sequence[Network], spec: ModelSpec) -> list[ClipSpec]:
    there = text_places(networks, spec).values()
    return [text for place, text in enumerate(spec.texts) if place not in there]
