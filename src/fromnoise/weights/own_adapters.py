"""Adapters that lie beside the model they were made for: MODEL.NAME.safetensors, which it knows as NAME."""

from pathlib import Path
from typing import Final

from fromnoise.errors import WeightsError
from fromnoise.weights.adapters import Adapter

SUFFIX: Final = ".safetensors"
CHECKSUM: Final = ".sha256"


def beside(model: Path, name: str) -> Path:
    """Where a model's own adapter of this name lies."""
    return model.with_name(f"{model.stem}.{name}{SUFFIX}")


def own_adapter(model: Path | None, name: str) -> Path | None:
    """The file of a model's own adapter, if there is one: "turbo", or "model.turbo"."""
    if model is None or not model.name or not name or Path(name).name != name:  # "." has no name
        return None
    path = beside(model, name.removeprefix(f"{model.stem}.").removesuffix(SUFFIX))
    return path if path.is_file() else None


def known_as(model: Path | None, path: Path) -> str:
    """The name by which a model knows this file; "" if it is not one of its own."""
    if model is None or own_adapter(model, path.stem) != path:
        return ""
    return path.stem.removeprefix(f"{model.stem}.")


def check_whole(adapter: Adapter) -> None:
    """Compare an own adapter with the checksum beside it, if there is one.  Raises: WeightsError"""
    if adapter.path is None or not (said := adapter.path.with_suffix(CHECKSUM)).is_file():
        return
    expected = said.read_text(encoding="ascii", errors="replace").split(maxsplit=1)[:1]
    if [found := adapter.digest()] != expected:
        problem = f"{adapter.path.name} is damaged: its SHA-256 is {found[:12]}…, not that in {said.name}"
        raise WeightsError(problem, hint="copy or install it again")
