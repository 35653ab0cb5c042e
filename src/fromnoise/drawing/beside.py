"""What a drawing depends on beside its request and its model: other models, and files with their hashes."""

from collections.abc import Callable, Mapping
from typing import Final

from fromnoise.reading import Reader
from fromnoise.request import FilledRequest

Files = Mapping[str, Callable[[], str]]
"""Those that stand beside a model's: "vae", "embedding WORD"; each is asked for its SHA-256."""

VAE: Final = "vae"


def file_of(word: str) -> str:
    """What the file of a learnt word is called among `Files`."""
    return f"embedding {word.lower()}"


def beside(request: FilledRequest, reader: Reader, files: Files, refiner: object) -> tuple[str, ...]:
    """What makes a difference: another model (`refiner`, or None), another's autoencoder, files of words."""
    words = reader.says_taught(request.prompt, request.negative)
    there = {"refiner": refiner is not None, VAE: VAE in files, "embedding": words}
    return tuple(name for name, is_there in there.items() if is_there)


def hashes(request: FilledRequest, reader: Reader, files: Files) -> dict[str, str]:
    """SHA-256 of the files that make a difference, where they are known."""
    words = reader.tokenizers[0].words
    said = {*words(request.prompt), *words(request.negative)}
    silent = {file_of(word) for word in reader.taught_words if not said.issuperset(words(word))}
    asked = {name: ask() for name, ask in files.items() if name not in silent}
    return {name: found for name, found in asked.items() if found}
