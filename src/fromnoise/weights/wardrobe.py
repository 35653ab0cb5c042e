"""Which adapters a model wears: those attached until they are taken off, or those of one request."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

from torch import nn

from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.request import AdapterUse, GenerateRequest
from fromnoise.specs import ModelSpec
from fromnoise.weights.adapter_terms import Terms
from fromnoise.weights.adapters import Adapter, open_adapter
from fromnoise.weights.attaching import OTHER_MODEL, Attached
from fromnoise.weights.catalogue import find_model
from fromnoise.weights.digests import SHORT
from fromnoise.weights.own_adapters import check_whole, known_as, own_adapter
from fromnoise.weights.wording import shown

Uses = tuple[AdapterUse, ...]


class Wardrobe:
    """A model's adapters by name; files are opened once, and found again by their hash."""

    def __init__(
        self, spec: ModelSpec, networks: Mapping[str, nn.Module], digest: Callable[[], str] = str
    ) -> None:
        self.networks = Attached(spec, networks)
        self.digest = digest  # asks for the SHA-256 of the model's file
        self.model: Path | None = None  # that file, beside which its own adapters lie
        self.folders: Sequence[Path] | None = None  # where names are looked up
        self.attached: Uses = ()
        self._worn: Uses = ()
        self._open = dict[AdapterUse, Adapter]()  # of `attached`, and of the last request
        self._files = dict[str, Path]()  # by short hash, all that were ever opened

    def attach(self, adapter: Adapter | str | os.PathLike[str], scale: float) -> AdapterUse:
        """Put on, or change the scale of, an adapter: itself, its file, or its name.

        Raises: RequestError, StorageError, WeightsError
        """
        found = adapter if isinstance(adapter, Adapter) else self._find(_use(os.fspath(adapter), scale))
        self._meant_for_us(found)
        use, before = _use(found.name, scale, found.short_hash), self.attached
        if any(each.name == use.name and each.hash != use.hash for each in before):
            problem = f"another one of the name {use.name!r} is attached"
            raise RequestError({"adapters": problem}, hint="detach that one first, or rename the file")
        self._open[use] = found
        self.attached = (*(each for each in before if each.name != use.name), use)
        try:
            self.wear(None)
        except BaseException:
            self.attached = before
            self.wear(None)
            raise
        self._open = {each: self._open[each] for each in self.attached}
        return use

    def keep_on(self, uses: Uses) -> None:
        """Attach exactly these.  Raises: RequestError, StorageError, WeightsError"""
        self.attached = self.settled(uses)
        self.wear(None)

    def detach(self, name: str | None) -> None:
        """Take off the one of this name, or all.  Raises: RequestError if none has the name"""
        if name is not None and name not in {each.name for each in self.attached}:
            there = ", ".join(each.name for each in self.attached) or "none"
            problem = f"{shown(name)!r} is not attached; attached: {there}"
            raise RequestError({"adapters": problem})
        self.attached = tuple(each for each in self.attached if name not in (None, each.name))
        self.wear(None)

    def settled(self, uses: Uses | None) -> Uses:
        """The adapters that a request means, each by its plain name and its hash; None means those attached.

        Raises: RequestError if one is not the file it is said to be; StorageError, WeightsError
        """
        if uses is None or uses == self.attached:
            return self.attached
        found = [(use, self._find(use)) for use in uses]
        for _, adapter in found:
            self._meant_for_us(adapter)
            self.networks.fit(adapter)
        full = {_use(adapter.name, use.scale, adapter.short_hash): adapter for use, adapter in found}
        if len({use.name for use in full}) < len(found):
            raise RequestError(
                {"adapters": "two have one name"}, hint="give each once; rename one of two files"
            )
        self._open = {use: self._open[use] for use in self.attached} | full
        return tuple(full)

    def changed(self, uses: Uses | None) -> int:
        """How many weights these adapters change: new ones stand beside the old."""
        shapes = {
            name: change.shape
            for use in (self.attached if uses is None else uses)
            for name, change in self._opened(use).changes.items()
        }
        return sum(prod(shape) for shape in shapes.values())

    def filled(self, request: GenerateRequest) -> GenerateRequest:
        """The request with the adapters that it means; what is left open is as the last of them says.

        Raises: as `settled`
        """
        uses = self.settled(request.adapters)
        said = dict[str, object]()
        for use in uses:
            if use.scale:
                said |= Terms.of(self._opened(use).metadata).defaults()
        left = {name: value for name, value in said.items() if getattr(request, name) is None}
        return replace(request, adapters=uses, **left)

    def wear(self, uses: Uses | None) -> None:
        """Have on what `settled` answered; None: what is attached.  Raises: WeightsError"""
        uses = self.attached if uses is None else uses
        if uses != self._worn:
            self._worn = ()
            self.networks.wear((self._opened(use), use.scale) for use in uses)
            self._worn = uses

    def _opened(self, use: AdapterUse) -> Adapter:
        return self._open.get(use) or self._find(use)

    def _find(self, use: AdapterUse) -> Adapter:
        """Raises: RequestError, StorageError, WeightsError"""
        for adapter in self._open.values():
            if adapter.digest().startswith(use.hash) if use.hash else adapter.name == use.name:
                return adapter
        path = self._file(use)
        adapter = open_adapter(path)
        if own := known_as(self.model, path):
            check_whole(adapter)
            adapter = replace(adapter, name=own)
        if not adapter.digest().startswith(use.hash):
            problem = f"{adapter.name!r} is another file now: {adapter.short_hash}, not {use.hash}"
            raise RequestError({"adapters": problem}, hint="name the one that is meant: --lora FILE:SCALE")
        if adapter.path:
            self._files[adapter.short_hash] = adapter.path
        return adapter

    def _meant_for_us(self, adapter: Adapter) -> None:
        """Raises: WeightsError if it says that it was made for another model"""
        made_for, ours = Terms.of(adapter.metadata).made_for, self.digest()
        if made_for and ours and made_for != ours:
            here = f"this {self.networks.spec.name} is {ours[:SHORT]}"
            raise WeightsError(
                f"{adapter.name} is made for the model {made_for[:SHORT]}; {here}", hint=OTHER_MODEL
            )

    def _file(self, use: AdapterUse) -> Path:
        """Where it was opened before, or what its name stands for."""
        path = self._files.get(use.hash)
        return path if path and path.is_file() else find_adapter(use.name, self.folders, self.model)


def find_adapter(name: str, folders: Sequence[Path] | None, model: Path | None = None) -> Path:
    """The file that a path, a name, the beginning of one, or a hash stands for; the model's own go first.

    A folder beside us may have an own one's name by chance, as a run's turbo/ has; a file never.
    Raises: StorageError if there is none, RequestError if there are several
    """
    if not os.path.isfile(name) and (own := own_adapter(model, name)):
        return own
    try:
        return find_model(name, folders, role="LoRA")
    except StorageError as error:
        hint = f"{error.hint}; or name its file: --lora FILE:SCALE"
        raise StorageError(f"there is no adapter {shown(name)!r}", hint=hint) from error


def _use(name: str, scale: float, short: str = "") -> AdapterUse:
    try:
        return AdapterUse(name, scale, short)
    except ValueError as error:
        raise RequestError({"adapters": str(error)}) from error
