"""Anybody's file or folder to a model's parts: everything is checked before anything is read."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from os import PathLike
from typing import Any, Final

import torch
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.specs import Prediction
from fromnoise.weights.detect import detect
from fromnoise.weights.digests import digest_of
from fromnoise.weights.identity import MODEL, OURS, Identity
from fromnoise.weights.model_converter import Plan, Recipe, keep
from fromnoise.weights.native import HEADER, Parts, compare, load_native, read_header, skeleton
from fromnoise.weights.networks import Network, find_networks
from fromnoise.weights.planning import plan_for
from fromnoise.weights.probe import probe
from fromnoise.weights.stored import Stored, open_weights
from fromnoise.weights.supply import Supply
from fromnoise.weights.tokenizers import read_tokenizers
from fromnoise.weights.wording import shown

ALIGNED: Final = 64  # numbers: tensors begin at multiples of this, as the processor likes them
SEPARATE: Final = "separate_vae."  # before the names of another file's autoencoder
# SD 2.x comes in two kinds that only its numbers tell apart, so its U-Net is asked: 13 s of a processor.
# Others almost always predict eps, and are believed to, unless the file or the user says something else.
TWO_KINDS: Final = "sd2"


def load_weights(
    path: str | PathLike[str],
    *,
    device: torch.device,
    dtype: torch.dtype,
    prediction: Prediction | None = None,
    ema: bool = False,
    vae: str | PathLike[str] | None = None,
    variant: str | None = None,
) -> Parts:
    """Make a model's parts; `load_model` says what may be asked for.

    Raises: StorageError; WeightsError if it is no model that we can build, or damaged
    """
    with ExitStack() as files:
        stored = files.enter_context(open_weights(path, variant=variant))
        if HEADER in stored.metadata and not (prediction or ema or vae):
            return load_native(path, device=device, dtype=dtype)
        separate = None if vae is None else files.enter_context(open_weights(vae))
        whole = with_vae(stored, separate) if separate else stored
        identity = detect(whole, prediction=prediction)
        parts = _skeleton(whole, identity, separate)
        recipes = plan_for(whole, identity, ema)
        compare(stored.name, _shapes(whole, recipes), parts)
        supply = Supply(files=files)
        supply.add(stored)
        if separate:
            supply.add(separate, SEPARATE)
        Reader(whole, supply, device, dtype).fill(parts, recipes)
        if identity.family == TWO_KINDS and "prediction" in identity.undecided:
            identity = detect(whole, probed=probe(parts.unet))
            parts = replace(parts, spec=identity.spec, about={**parts.about, **_about(identity)})
    return parts


def _skeleton(stored: Stored, identity: Identity, separate: Stored | None) -> Parts:
    spec, digest = identity.spec, digest_of(stored.files)
    if spec is None or identity.obstacle or identity.kind != MODEL:
        problem = identity.obstacle or f"it is no model, but this: {identity.kind}"
        blind = spec is not None and not _autoencoders(stored)
        hint = f"{identity.hint}; --vae FILE gives it an autoencoder" if blind else identity.hint
        raise WeightsError(f"{stored.name} cannot draw: {problem}", hint=hint)
    if identity.layout == OURS:
        header = read_header(stored.name, stored.metadata)
        return skeleton(stored.name, spec, header["tokenizers"], header["about"], digest)
    about = {"file": stored.name, **_about(identity), **({"vae": separate.name} if separate else {})}
    return skeleton(stored.name, spec, read_tokenizers(stored, spec), about, digest)


def _about(identity: Identity) -> dict[str, Any]:
    return {
        "family": identity.family,
        "variant": identity.variant,
        "layout": identity.layout,
        "findings": [asdict(finding) for finding in identity.findings],
    }


def _shapes(stored: Stored, recipes: Plan) -> dict[str, tuple[int, ...]]:
    """What the recipes will make, found without reading."""
    blank = {name: torch.empty(shape, device="meta") for name, shape in stored.shapes.items()}
    return {target: tuple(recipe(blank).shape) for target, recipe in recipes.items()}


# --- an autoencoder of its own ---


def with_vae(stored: Stored, separate: Stored) -> Stored:
    """The model as if it held the autoencoder of another file in place of its own.

    Raises: WeightsError if that file does not hold exactly one, or if either is a model made by fromnoise
    """
    for each in (stored, separate):
        if HEADER in each.metadata:
            problem = f"{each.name} was made by fromnoise: its autoencoder and its U-Net stay together"
            raise WeightsError(problem, hint="leave out the separate VAE")
    own, others = _autoencoders(stored), _autoencoders(separate)
    if len(others) != 1:
        problem = f"{separate.name} holds {len(others) or 'no'} autoencoders, where one is needed"
        raise WeightsError(problem, hint="`fromnoise inspect FILE` says what it is")
    origins = {name: (stored, name) for name in stored.shapes if not any(vae.holds(name) for vae in own)}
    origins |= {SEPARATE + name: (separate, name) for name in separate.shapes if others[0].holds(name)}

    def fetch(name: str) -> Tensor:
        origin, inner = origins[name]
        return origin.read(inner)

    return replace(
        stored,
        shapes={name: origin.shapes[inner] for name, (origin, inner) in origins.items()},
        dtypes={name: origin.dtypes[inner] for name, (origin, inner) in origins.items()},
        fetch=fetch,
    )


def _autoencoders(stored: Stored) -> list[Network]:
    return [network for network in find_networks(stored.shapes) if network.room == "vae"]


# --- the numbers ---


@dataclass(frozen=True, slots=True)
class Reader:
    """How the numbers of a file become tensors that are ready to be used.

    Where the file holds what is wanted, they are the file, mapped: 2 GB are there at once, the system may
    give the memory to others, and several processes share it. The price: who cuts the file short while it is
    in use (replacing it is fine) ends the program. What must be converted is read, not mapped, or the file's
    pages would count as memory too; it is also looked at, which costs little beside the conversion. Mapped
    numbers are not: `fromnoise inspect` looks at all, and drawing stops at the first that is not finite.
    """

    stored: Stored
    supply: Supply
    device: torch.device
    dtype: torch.dtype

    def fill(self, parts: Parts, recipes: Plan) -> None:
        """Give every network its tensors."""
        for name, module in parts.modules():
            places = self._places(module.state_dict())
            state = {key: self._made(recipes[f"{name}.{key}"], place) for key, place in places.items()}
            module.load_state_dict(state, strict=True, assign=True)
            module.eval().requires_grad_(False)

    def _places(self, blank: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Where converted tensors go: into one piece of memory, which is given back whole with the network.

        The system's allocator would keep much of what many small pieces leave behind.
        """
        if self.device.type != "cpu":
            return dict(blank)
        sizes = [-(-tensor.numel() // ALIGNED) * ALIGNED for tensor in blank.values()]
        ends = list(accumulate(sizes, initial=0))
        memory = torch.empty(ends[-1], dtype=self.dtype)
        return {
            key: memory[start : start + tensor.numel()].view(tensor.shape)
            for start, (key, tensor) in zip(ends, blank.items(), strict=False)
        }

    def _made(self, recipe: Recipe, place: Tensor) -> Tensor:
        kinds = {self.stored.dtypes[name] for name in recipe.sources}
        if odd := [kind for kind in kinds if not kind.is_floating_point]:
            what = f"{shown(recipe.sources[0])} as {_short(odd[0])}"
            problem = f"{self.stored.name} holds {what}: quantized weights are not read"
            raise WeightsError(problem, hint="get the model as float16")
        if self.device.type == "cpu" and kinds == {self.dtype}:
            made = recipe({name: self.stored.read(name) for name in recipe.sources})
            return made if made.data_ptr() % made.element_size() == 0 else made.clone()
        if place.is_meta:
            made = recipe({name: self.supply.tensor(name) for name in recipe.sources})
            made = made.to(self.device, self.dtype)
        elif recipe.make is keep:
            made = self._copied(recipe.sources[0], place)
        else:
            made = place.copy_(recipe({name: self.supply.tensor(name) for name in recipe.sources}))
        self._check(recipe, made)
        return made

    def _copied(self, name: str, place: Tensor) -> Tensor:
        """One tensor in another type, piece by piece."""
        flat, at = place.view(-1), 0
        for piece in self.supply.pieces(name):
            part = torch.frombuffer(piece, dtype=self.supply.slots[name].dtype)
            flat[at : at + len(part)] = part
            at += len(part)
        return place

    def _check(self, recipe: Recipe, made: Tensor) -> None:
        if made.sum(dtype=torch.float32).isfinite() or made.isfinite().all():  # a large sum may overflow
            return
        name, first = self.stored.name, shown(recipe.sources[0])
        if all(self.supply.tensor(source).float().isfinite().all() for source in recipe.sources):
            problem = f"{first} in {name} holds numbers that do not fit into {_short(self.dtype)}"
            raise WeightsError(problem, hint="use bfloat16 or float32")
        problem = f"{name} is damaged: {first} holds NaN or infinity"
        raise WeightsError(problem, hint="`fromnoise inspect FILE` names every such tensor")


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
