"""safetensors with types: the one place in this room that touches its API."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from fromnoise.errors import WeightsError


class TensorFile(Protocol):
    """An open file of tensors; a tensor is read when it is asked for."""

    def keys(self) -> list[str]:
        """The tensors' names."""
        ...

    def metadata(self) -> dict[str, str] | None:
        """The texts in the header."""
        ...

    def get_tensor(self, name: str, /) -> Tensor:
        """A tensor that is mapped from the disk, not copied."""
        ...


@contextmanager
def open_tensors(path: Path) -> Generator[TensorFile]:
    """Raises: WeightsError if the file is damaged or holds no tensors."""
    try:
        opened: Any = safe_open(path, framework="pt")
        with opened as file:
            yield cast(TensorFile, file)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is not a readable file of tensors: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Raises: OSError, also where safetensors has an error of its own."""
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, os.fspath(path), metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error
