"""safetensors with types: the one place in this room that touches its API."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from safetensors import SafetensorError, safe_open
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.weights.supply import pieces_of
from fromnoise.weights.writers import Slot, write_safetensors


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
    """Write one tensor after the other: no more than one is copied at a time.  Raises: OSError"""
    slots = [Slot(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]

    def numbers(slot: Slot) -> Iterator[memoryview]:
        return pieces_of(tensors[slot.name].detach().cpu())

    with path.open("wb") as file:
        write_safetensors(file, slots, metadata, numbers)
