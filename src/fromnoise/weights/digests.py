"""SHA-256 of model files: computed when somebody asks, and remembered as long as the file stays the same."""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

from platformdirs import user_cache_path

from fromnoise.durable import make_folder, replacing
from fromnoise.errors import StorageError

MEMORY_FILE: Final = "sha256.json"
SHORT: Final = 10  # hex digits that people know a file by; Source: AUTOMATIC1111's "Model hash"

Stamp = tuple[int, int]  # bytes, and nanoseconds since 1970 when it was written last


class Digests:
    """What is remembered of this user's files: {path: [bytes, time of the last change, SHA-256]}."""

    def __init__(self, memory: Path | None = None) -> None:
        self.memory = memory or user_cache_path("fromnoise") / MEMORY_FILE
        self.rows = _rows(self.memory)

    def known(self, path: Path) -> str:
        """The SHA-256 of this file if it is remembered, else ""."""
        with suppress(OSError):
            match self.rows.get(_key(path)):
                case [int(size), int(time), str(digest)] if (size, time) == _stamp(path):
                    return digest
                case _:
                    pass
        return ""

    def of(self, path: Path) -> str:
        """The SHA-256 of this file; a second or more for each GB.  Raises: StorageError"""
        if found := self.known(path):
            return found
        try:
            stamp = _stamp(path)
            with path.open("rb") as file:
                found = file_digest(file, "sha256").hexdigest()
            changed = _stamp(path) != stamp
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
        if changed:
            raise StorageError(f"{path} changed while it was read", hint="try again when it is complete")
        self._remember(path, stamp, found)
        return found

    def _remember(self, path: Path, stamp: Stamp, digest: str) -> None:
        self.rows = {**_rows(self.memory), _key(path): [*stamp, digest]}
        with suppress(StorageError):  # what cannot be remembered is computed again
            make_folder(self.memory.parent)
            with replacing(self.memory) as part:
                part.write_text(json.dumps(self.rows, indent=1), encoding="utf-8")


def digest_of(paths: Iterable[Path]) -> Callable[[], str]:
    """Ask what is returned for the SHA-256 of these files: "" if one has changed since, or cannot be read.

    Of several files it is that of the list which `sha256sum` would print, without their folder.
    """
    stamps = {path: _stamp(path) for path in paths}

    def ask() -> str:
        digests = Digests()
        with suppress(StorageError, OSError):
            found = {path: digests.of(path) for path in stamps}
            if all(_stamp(path) == stamp for path, stamp in stamps.items()):
                return next(iter(found.values())) if len(found) == 1 else _joint(found)
        return ""

    return ask


def _joint(found: dict[Path, str]) -> str:
    lines = sorted(f"{digest}  {path.parent.name}/{path.name}\n" for path, digest in found.items())
    return sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _key(path: Path) -> str:
    return str(path.resolve())


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _rows(memory: Path) -> dict[str, Any]:
    """What is remembered; nothing where it cannot be read, for it can be computed again."""
    with suppress(OSError, ValueError):
        match json.loads(memory.read_text(encoding="utf-8")):
            case dict() as rows:  # pyright: ignore[reportUnknownVariableType]
                return rows  # pyright: ignore[reportUnknownVariableType]
            case _:
                pass
    return {}
