"""Anybody's file or folder to a model's parts: everything is checked before anything is read."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import accumulate
from os import PathLike
from threading import Lock
from typing import Any, Final
from weakref import finalize

import torch
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.specs import Prediction
from fromnoise.weights.detect import detect
from fromnoise.weights.digests import digest_of
from fromnoise.weights.families import TITLES
from fromnoise.weights.identity import MODEL, OURS, Identity
from fromnoise.weights.layouts import sift
from fromnoise.weights.model_converter import Plan, Recipe, keep
from fromnoise.weights.native import HEADER, Parts, compare, load_native, read_header, skeleton
from fromnoise.weights.networks import Network, find_networks
from fromnoise.weights.planning import plan_for, shapes_of
from fromnoise.weights.probing import asked, is_doubtful
from fromnoise.weights.shelved import Shelved
from fromnoise.weights.stored import Stored, open_weights
from fromnoise.weights.supply import Supply
from fromnoise.weights.tokenizers import read_tokenizers
from fromnoise.weights.wording import shown

ALIGNED: Final = 64  # numbers: tensors begin at multiples of this, as the processor likes them
SHELVED: Final = 2**14  # numbers: smaller tensors are not worth a second reading
SEPARATE: Final = "separate_vae."  # before the names of another file's autoencoder


def load_weights(
    path: str | PathLike[str],
    *,
    device: torch.device,
    dtype: torch.dtype,
    prediction: Prediction | None = None,
    ema: bool = False,
    vae: str | PathLike[str] | None = None,
    variant: str | None = None,
    shelved: bool = False,
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
        compare(_titled(stored, identity), shapes_of(recipes, whole.name, whole.shapes), parts)
        supply = Supply(files=files)
        supply.add(stored)
        if separate:
            supply.add(separate, SEPARATE)
        reader = Reader(whole, supply, device, dtype, shelved and device.type == "cpu")
        reader.fill(parts, recipes)
        if is_doubtful(whole, identity):
            identity = asked(whole, identity, parts.unet)
            parts = replace(parts, spec=identity.spec, about={**parts.about, **_about(identity)})
        if reader.shelved:  # the files stay open as long as a tensor is in them
            finalize(reader, files.pop_all().close).atexit = False
    return parts


def _skeleton(stored: Stored, identity: Identity, separate: Stored | None) -> Parts:
    spec, digest = identity.spec, digest_of(stored.files)
    if spec is None or identity.obstacle or identity.kind != MODEL:
        problem = identity.obstacle or f"it is no model, but this: {identity.kind}"
        blind = spec is not None and not _autoencoders(stored)
        hint = f"{identity.hint}; --vae FILE gives it an autoencoder" if blind else identity.hint
        raise WeightsError(f"{_titled(stored, identity)} cannot draw: {problem}", hint=hint)
    if identity.layout == OURS:
        header = read_header(stored.name, stored.metadata)
        return skeleton(stored.name, spec, header["tokenizers"], header["about"], digest)
    about = {"file": stored.name, **_about(identity), **({"vae": separate.name} if separate else {})}
    return skeleton(stored.name, spec, read_tokenizers(stored, spec), about, digest)


def _titled(stored: Stored, identity: Identity) -> str:
    """The file's name, and which family it is of, as far as that is known."""
    family = TITLES.get(identity.family, "")
    return f"{stored.name} ({family})" if family else stored.name


def _about(identity: Identity) -> dict[str, Any]:
    return {
        "family": identity.family,
        "variant": identity.variant,
        "layout": identity.layout,
        "findings": [asdict(finding) for finding in identity.findings],
    }


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
    names, _ = sift(separate.shapes)  # the place of a lone one is everywhere
    origins |= {SEPARATE + name: (separate, name) for name in names if others[0].holds(name)}

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


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Reader:
    """How the numbers of a file become tensors that are ready to be used.

    Where the file holds what is wanted, they are the file, mapped: 2 GB are there at once, the system may
    give the memory to others, and several processes share it. The price: who cuts the file short while it is
    in use (replacing it is fine) ends the program. What must be converted is read, not mapped, or the file's
    pages would count as memory too; it is also looked at, which costs little beside the conversion. Mapped
    numbers are not: `fromnoise inspect` looks at all, and drawing stops at the first that is not finite.
    `shelved`: large tensors are neither, but stay in the file and are read and looked at for each use.
    """

    stored: Stored
    supply: Supply
    device: torch.device
    dtype: torch.dtype
    shelved: bool = False
    lock: Lock = field(default_factory=Lock)  # a supply is not for several threads at once

    def fill(self, parts: Parts, recipes: Plan) -> None:
        """Give every network its tensors."""
        for name, module in parts.modules():
            blank = module.state_dict()
            made = {
                key: self._shelf(recipes[f"{name}.{key}"], tensor.shape)
                for key, tensor in blank.items()
                if self.shelved and tensor.numel() >= SHELVED
            }
            places = self._places({key: tensor for key, tensor in blank.items() if key not in made})
            made |= {key: self._made(recipes[f"{name}.{key}"], place) for key, place in places.items()}
            module.load_state_dict(made, strict=True, assign=True)
            module.eval().requires_grad_(False)

    def _shelf(self, recipe: Recipe, shape: torch.Size) -> Tensor:
        self._refuse_quantized(recipe)
        return Shelved(partial(self._fetched, recipe, shape), shape, self.dtype)

    def _fetched(self, recipe: Recipe, shape: torch.Size) -> Tensor:
        with self.lock:
            return self._converted(recipe, torch.empty(shape, dtype=self.dtype))

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
        kinds = self._refuse_quantized(recipe)
        if self.device.type == "cpu" and kinds == {self.dtype} and not self.shelved:
            made = recipe({name: self.stored.read(name) for name in recipe.sources})
            return made if made.data_ptr() % made.element_size() == 0 else made.clone()
        return self._converted(recipe, place)

    def _converted(self, recipe: Recipe, place: Tensor) -> Tensor:
        if place.is_meta:
            made = recipe({name: self.supply.tensor(name) for name in recipe.sources})
            made = made.to(self.device, self.dtype)
        elif recipe.make is keep:
            made = self._copied(recipe.sources[0], place)
        else:
            made = place.copy_(recipe({name: self.supply.tensor(name) for name in recipe.sources}))
        self._check(recipe, made)
        return made

    def _refuse_quantized(self, recipe: Recipe) -> set[torch.dtype]:
        """The types in which the file holds it.  Raises: WeightsError"""
        kinds = {self.stored.dtypes[name] for name in recipe.sources}
        if odd := [kind for kind in kinds if not kind.is_floating_point]:
            what = f"{shown(recipe.sources[0])} as {_short(odd[0])}"
            problem = f"{self.stored.name} holds {what}: quantized weights are not read"
            raise WeightsError(problem, hint="get the model as float16")
        return kinds

    def _copied(self, name: str, place: Tensor) -> Tensor:
        """One tensor in another type, piece by piece."""
        flat, at = place.view(-1), 0
        for piece in self.supply.pieces(name):
            part = torch.frombuffer(piece, dtype=self.supply.slots[name].dtype)
            flat[at : at + len(part)] = part
            at += len(part)
        return place

    def _check(self, recipe: Recipe, made: Tensor) -> None:
        if not made.numel() or all(bound.isfinite() for bound in made.aminmax()):  # NaN wins both
            return
        name, first = self.stored.name, shown(recipe.sources[0])
        if all(self.supply.tensor(source).float().isfinite().all() for source in recipe.sources):
            problem = f"{first} in {name} holds numbers that do not fit into {_short(self.dtype)}"
            raise WeightsError(problem, hint="use bfloat16 or float32")
        problem = f"{name} is damaged: {first} holds NaN or infinity"
        raise WeightsError(problem, hint="`fromnoise inspect FILE` names every such tensor")


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
