"""Which adapters a model wears: those attached until they are taken off, or those of one request."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from fromnoise.errors import RequestError, StorageError
from fromnoise.request import AdapterUse
from fromnoise.specs import ModelSpec
from fromnoise.weights.adapters import Adapter, open_adapter
from fromnoise.weights.attaching import Attached
from fromnoise.weights.library import find_model
from fromnoise.weights.wording import shown

Uses = tuple[AdapterUse, ...]


class Wardrobe:
    """A model's adapters by name; files are opened once, and found again by their hash."""

    def __init__(self, spec: ModelSpec, networks: Mapping[str, nn.Module]) -> None:
        self.networks = Attached(spec, networks)
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
            self.networks.fit(adapter)
        full = {_use(adapter.name, use.scale, adapter.short_hash): adapter for use, adapter in found}
        if len({use.name for use in full}) < len(found):
            raise RequestError(
                {"adapters": "two have one name"}, hint="give each once; rename one of two files"
            )
        self._open = {use: self._open[use] for use in self.attached} | full
        return tuple(full)

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
        adapter = open_adapter(self._file(use))
        if not adapter.digest().startswith(use.hash):
            problem = f"{adapter.name!r} is another file now: {adapter.short_hash}, not {use.hash}"
            raise RequestError({"adapters": problem}, hint="name the one that is meant: --lora FILE:SCALE")
        if adapter.path:
            self._files[adapter.short_hash] = adapter.path
        return adapter

    def _file(self, use: AdapterUse) -> Path:
        """Where it was opened before, or what its name stands for."""
        path = self._files.get(use.hash)
        return path if path and path.is_file() else find_adapter(use.name, self.folders)


def find_adapter(name: str, folders: Sequence[Path] | None) -> Path:
    """The file that a path, a name, the beginning of one, or a hash stands for.

    Raises: StorageError if there is none, RequestError if there are several
    """
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
