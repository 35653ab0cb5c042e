"""Everything fromnoise raises on purpose. Catch `FromNoiseError` to catch all of it.

FromNoiseError                                                       exit 1   HTTP 500
├── RequestError      the request cannot be served as written        exit 2   HTTP 422
├── SpecError         an architecture contradicts itself             exit 2   HTTP 500
├── WeightsError      a file does not hold what we need              exit 3   HTTP 500
├── NonFiniteError    the numbers left the finite range              exit 4   HTTP 500
├── OutOfMemory       the device is too small for this request       exit 4   HTTP 503
└── StorageError      a file or folder cannot be read or written     exit 5   HTTP 507
"""

from collections.abc import Mapping
from difflib import get_close_matches


class FromNoiseError(Exception):
    """`message` says what is wrong, with the numbers; `hint` says what to do next."""

    exit_code, http_status = 1, 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}\n  hint: {hint}" if hint else message)
        self.message, self.hint = message, hint


class RequestError(FromNoiseError):
    """The request cannot be served as written; `problems` names every field that is wrong."""

    exit_code, http_status = 2, 422

    def __init__(self, problems: Mapping[str, str] | str, *, hint: str = "") -> None:
        self.problems = {"request": problems} if isinstance(problems, str) else dict(problems)
        named = problems if isinstance(problems, str) else "; ".join(f"{k}: {v}" for k, v in problems.items())
        super().__init__(named, hint=hint)


class SpecError(FromNoiseError):
    """An architecture contradicts itself."""

    exit_code = 2


class WeightsError(FromNoiseError):
    """A file does not hold what we need."""

    exit_code = 3


class NonFiniteError(FromNoiseError):
    """The numbers left the finite range (NaN or infinity)."""

    exit_code = 4


class OutOfMemory(FromNoiseError):
    """The device is too small for this request."""

    exit_code, http_status = 4, 503


class StorageError(FromNoiseError):
    """A file or folder cannot be read or written."""

    exit_code, http_status = 5, 507


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Name the nearest known word, or list them all: the tail of an "unknown …" message."""
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
