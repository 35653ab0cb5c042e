"""What a file is, by its first bytes; its name says nothing."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import BinaryIO, Final, Literal, Self

from fromnoise.errors import StorageError, WeightsError
from fromnoise.weights.wording import shown

Container = Literal["safetensors", "zip", "pickle"]

HEAD: Final = 512  # bytes that are looked at
ZIP, PICKLE, TAR = b"PK\3\4", b"\x80", b"ustar"
TAR_AT: Final = 257
LENGTH_BYTES: Final = 8  # of a safetensors header, before the header

AGAIN: Final = "download it again"
OTHER: Final = "name a .safetensors or .ckpt file, or a diffusers folder; if it is one, download it again"
STRANGERS: Final = (  # how a file begins, what it is, what to do
    (
        b"version https://git-lfs",
        "is a git-lfs pointer, not the file that it points to",
        "run `git lfs pull`",
    ),
    (b"<!doctype", "is a web page: the download went wrong", AGAIN),
    (b"<html", "is a web page: the download went wrong", AGAIN),
    (b"<?xml", "is an XML text: the download went wrong", AGAIN),
    (b"{", "is a JSON text, not weights", "give the file or folder of the weights"),
    (b"gguf", "is a GGUF file, which is not read", "get the .safetensors file of the model"),
    (b"\x89hdf", "is an HDF5 file (Keras), which is not read", "get the .safetensors file of the model"),
    (b"\x1f\x8b", "is compressed (gzip)", "unpack it first"),
    (b"7z\xbc\xaf", "is compressed (7z)", "unpack it first"),
    (b"rar!", "is compressed (rar)", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed (zstd)", "unpack it first"),
    (b"\x89png", "is a picture", "give a file of weights"),
    (b"\xff\xd8\xff", "is a picture", "give a file of weights"),
    (b"pk\5\6", "is an empty zip archive", AGAIN),
)


class Closing(ABC):
    """Something open, which `with` closes at its end."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_file(path: Path) -> tuple[BinaryIO, int]:
    """Open a regular file to read, never waiting for it, with its size.

    Raises: StorageError if it cannot be read; WeightsError if it is a folder, a pipe, a device or empty
    """
    name = shown(path.name)
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    except IsADirectoryError:
        raise WeightsError(f"{name} is a folder, not a file") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        reason = error.strerror if isinstance(error, OSError) else "no file can have that name"
        raise StorageError(f"cannot read {name}: {reason}") from error
    status = os.fstat(file.fileno())
    if S_ISREG(status.st_mode) and status.st_size:
        return file, status.st_size
    file.close()
    if S_ISREG(status.st_mode):
        raise WeightsError(f"{name} is empty (0 bytes)", hint=AGAIN)
    raise WeightsError(
        f"{name} is a {'folder' if S_ISDIR(status.st_mode) else 'pipe or a device'}, not a file"
    )


def _without_waiting(path: str, flags: int) -> int:
    # a pipe that nobody writes to would keep us; Windows has no such flag
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def identify(file: BinaryIO, size: int) -> Container:
    """What the file is.  Raises: WeightsError that says what it is, if it is nothing that is read"""
    file.seek(0)
    head = file.read(HEAD)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    if head[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{":
        if length > size - LENGTH_BYTES:
            raise WeightsError("is a safetensors file that is cut short", hint=AGAIN)
        return "safetensors"
    if head.startswith(ZIP):
        return "zip"
    if head[TAR_AT:].startswith(TAR):
        raise WeightsError(
            "is a tar archive, as PyTorch wrote until 2017, or a packed folder; neither is read",
            hint="unpack it, or save it again with a newer PyTorch",
        )
    if head.startswith(PICKLE):
        return "pickle"
    for mark, what, hint in STRANGERS:
        if start.startswith(mark):
            raise WeightsError(what, hint=hint)
    raise WeightsError(f"is no file of weights that we know: it begins with {head[:8]!r}", hint=OTHER)
