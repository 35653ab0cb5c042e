"""What a drawing depends on beside its request and its model: other models, and files with their hashes."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

Files = Mapping[str, Callable[[], str]]
"""Those that stand beside a model's: "vae", "embedding WORD"; each is asked for its SHA-256."""

VAE: Final = "vae"


def file_of(word: str) -> str:
    """What the file of a learnt word is called among `Files`."""
    return f"embedding {word.lower()}"


def also_given(files: Files, said: Collection[str], refiner: object) -> tuple[str, ...]:
    """What makes a difference: a refiner (or None), another autoencoder, files of words that are `said`."""
    there = {"refiner": refiner is not None, VAE: VAE in files, "embedding": said}
    return tuple(name for name, is_there in there.items() if is_there)


def hashes(files: Files, said: Collection[str]) -> dict[str, str]:
    """SHA-256 of the files that make a difference, where they are known."""
    wanted = {VAE, *map(file_of, said)}
    return {name: found for name, ask in files.items() if name in wanted and (found := ask())}
