"""From what a file is to what becomes of each of its tensors."""

from collections.abc import Iterator
from typing import Final

from fromnoise.errors import WeightsError
from fromnoise.specs import ModelSpec
from fromnoise.weights.identity import OURS, Identity
from fromnoise.weights.key_rules import (
    DECODER,
    ENCODER,
    UNET,
    diffusers_unet,
    diffusers_vae,
    hf_text,
    ldm_unet,
    ldm_vae,
    openclip_text,
)
from fromnoise.weights.layouts import averaged, ema_name, sift
from fromnoise.weights.model_converter import Plan, Recipe, Rule, plan
from fromnoise.weights.networks import Network, find_networks, text_places
from fromnoise.weights.stored import Stored
from fromnoise.weights.structure import Shapes, blank, read_unet, read_vae
from fromnoise.weights.wording import shown

ROOMS: Final = {"unet": (UNET,), "vae": (ENCODER, DECODER)}
ELSEWHERE: Final = "is in no network that draws"


def plan_for(stored: Stored, identity: Identity, ema: bool = False) -> Plan:
    """How each of our tensors ("texts.0.…", "unet.…", "encoder.…", "decoder.…") is made from the file's.

    Only the networks that are in the file are planned: a lone autoencoder gives a plan of a lone autoencoder.
    `ema`: read the running averages of the U-Net's weights.
    Raises: WeightsError if a network in the file has tensors that we have no place for, or has no averages
    """
    if identity.layout == OURS:
        recipes = {name: Recipe((name,)) for name in stored.shapes}
    else:
        networks, names = used(stored, identity.spec)
        rules = tuple(rules_of(stored, networks, identity.spec))
        if not rules:
            raise WeightsError(identity.obstacle or f"{stored.name} holds no network", hint=identity.hint)
        recipes = plan(names, rules, source=stored.name)
    return _averages(recipes, stored) if ema else recipes


def left_out(stored: Stored, identity: Identity) -> dict[str, str]:
    """The tensors that `plan_for` leaves in the file, each with the reason."""
    if identity.layout == OURS:
        return {}
    names, dropped = sift(stored.shapes)
    held = set(used(stored, identity.spec)[1])
    return dropped | {name: ELSEWHERE for name in names if name not in held}


def used(stored: Stored, spec: ModelSpec | None) -> tuple[tuple[Network, ...], list[str]]:
    """The networks of the file that are the model's, not another family's text encoder; their tensors."""
    found = find_networks(stored.shapes)
    places = text_places(found, spec)
    networks = tuple(network for network in found if network.room != "text" or network in places)
    names, _ = sift(stored.shapes)
    return networks, [name for name in names if any(network.holds(name) for network in networks)]


def shapes_of(recipes: Plan, what: str, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """What the recipes will make of tensors of these shapes, found without reading."""
    tensors = blank(what, shapes)
    return {target: tuple(recipe(tensors).shape) for target, recipe in recipes.items()}


def rules_of(stored: Stored, networks: tuple[Network, ...], spec: ModelSpec | None) -> Iterator[Rule]:
    """The tables for the networks of a file."""
    places = text_places(networks, spec)
    for network in networks:
        match network.room, network.dialect:
            case "unet", "ldm":
                yield from ldm_unet(network.place)
            case "unet", _:
                unet = spec.unet if spec else read_unet(stored.shapes, network.place)
                yield from diffusers_unet(unet.down, unet.up, network.place)
            case "vae", dialect:
                vae = spec.vae if spec else read_vae(stored.shapes, network.place)
                yield from (ldm_vae if dialect == "ldm" else diffusers_vae)(vae, network.place)
            case "text", dialect:
                rules = openclip_text if dialect == "openclip" else hf_text
                yield from rules(network.place, f"texts.{places[network]}")


def _averages(recipes: Plan, stored: Stored) -> Plan:
    """The same plan, with every tensor of the U-Net read from its running average."""
    sources = [
        name for target, recipe in recipes.items() if target.startswith(f"{UNET}.") for name in recipe.sources
    ]
    lost = [name for name in sources if ema_name(name) not in stored.shapes]
    if lost or not sources:
        what = f"{len(lost)} of {len(sources)}" if len(lost) < len(sources) else "the"
        problem = f"{stored.name} holds no running average (EMA) of {what} tensors of its U-Net"
        first = f"first: {shown(lost[0])!r}; " if lost else ""
        raise WeightsError(problem, hint=f"{first}load it without averages")
    return averaged(recipes, stored.shapes)
