"""Where the bytes of a picture are: in a file, or in a stretch of a tar archive, which is never unpacked."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

BUFFER = 1 << 16  # bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A file, or some of its bytes."""

    path: Path
    start: int = 0
    size: int | None = None  # None: the whole file

    def open(self) -> BinaryIO:
        """Its bytes, and none beside them.  Raises: OSError"""
        file = self.path.open("rb")
        if self.size is None:
            return file
        return cast(BinaryIO, io.BufferedReader(Stretch(file, self.start, self.size), BUFFER))

    def length(self) -> int:
        """How many bytes there are.  Raises: OSError"""
        return self.path.stat().st_size if self.size is None else self.size

    def read(self) -> bytes:
        """All of them.  Raises: OSError, also where the archive has become too short"""
        with self.open() as file:
            data = file.read()
        if self.size not in (None, len(data)):
            raise OSError(None, f"{self.path.name} is cut short")
        return data


class Stretch(io.RawIOBase):
    """Some bytes of an open file, as a file of their own. Closing it closes the file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file, self.start, self.size, self.at = file, start, size, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a byte, counted from the stretch's own start."""
        self.at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence])
        return self.at

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer, as far as the stretch goes."""
        self.file.seek(self.start + self.at)
        data = self.file.read(max(0, min(len(buffer), self.size - self.at)))
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the whole file too."""
        self.file.close()
        super().close()
