"""Checks of single values: each returns it in its plain type, or says in a ValueError what is wrong."""

from collections.abc import Callable
from contextlib import suppress
from numbers import Integral, Real
from typing import Any, Final

from fromnoise.errors import RequestError
from fromnoise.names import find_sampler

SIDE_STEP: Final = 8  # pixels that one latent spans along each side
MAX_SIDE: Final = 4096
MAX_STEPS: Final = 1000  # there are no more noise levels in training
MAX_GUIDANCE: Final = 100.0
MAX_SIGMA: Final = 1e9
MAX_ORIGINAL: Final = 65_535  # pixels
MAX_AESTHETIC: Final = 10.0
MAX_SEED: Final = 2**64 - 1
MAX_PICTURES: Final = 1024
MAX_TEXT: Final = 20_000  # characters; a text transformer reads about 300
MAX_SCALE: Final = 100.0  # of an adapter, either way
MAX_ADAPTERS: Final = 64
MAX_MERGE: Final = 0.75  # one token of each four is what others are merged into
MAX_REUSE: Final = 20  # steps; Source: Ma et al. 2023, table 2 (arXiv:2312.00858)

Check = Callable[[Any], Any]


def whole(low: int, high: int) -> Check:
    """Check for a whole number."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{value!r} is not a whole number")
        if not low <= (exact := int(value)) <= high:
            raise ValueError(f"{exact} is outside {low}..{high}")
        return exact

    return check


def number(low: float, high: float) -> Check:
    """Check for a finite number."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(f"{value!r} is not a number")
        try:
            exact = float(value)
        except OverflowError as error:  # a whole number beyond all others
            raise ValueError(f"it is far outside {low:g}..{high:g}") from error
        if not low <= exact <= high:  # NaN is nowhere
            raise ValueError(f"{exact:g} is outside {low:g}..{high:g}")
        return exact

    return check


def side(value: Any) -> int:
    """Check a width or height, in pixels."""
    pixels: int = whole(SIDE_STEP, MAX_SIDE)(value)
    if pixels % SIDE_STEP:
        near = round(pixels / SIDE_STEP) * SIDE_STEP
        raise ValueError(f"{pixels} is not a multiple of {SIDE_STEP}; try {near}")
    return pixels


def text(value: Any) -> str:
    """Check for Unicode text of bearable length."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    if len(value) > MAX_TEXT:
        raise ValueError(f"{len(value)} characters are more than {MAX_TEXT}")
    if half := next((c for c in value if "\ud800" <= c <= "\udfff"), None):
        raise ValueError(f"U+{ord(half):04X} is half a character; write it as UTF-8")
    return value


def name_by(find: Callable[[str], str]) -> Check:
    """Check for a known name; other programs' spellings become ours."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a name")
        try:
            return find(value)
        except RequestError as error:
            raise ValueError(*error.problems.values()) from error

    return check


def implied_spacing(sampler: Any) -> str | None:
    """The spacing that a sampler's name brings along, if it does."""
    with suppress(RequestError):
        return find_sampler(sampler)[1] if isinstance(sampler, str) else None
    return None


def seeds(value: Any) -> tuple[int, ...]:
    """Check the seeds, one for each picture."""
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise ValueError(f"{value!r} is not a list; give one seed per picture")
    checked = tuple(map(whole(0, MAX_SEED), value))
    if not 1 <= len(checked) <= MAX_PICTURES:
        raise ValueError(f"{len(checked)} seeds are outside 1..{MAX_PICTURES}; give one per picture")
    return checked


def pair(check: Check) -> Check:
    """Check two values of a kind."""

    def check_both(value: Any) -> tuple[Any, Any]:
        if isinstance(value, str | bytes) or not hasattr(value, "__iter__") or len(tuple(value)) != 2:
            raise ValueError(f"{value!r} is not a pair")
        first, second = map(check, value)
        return first, second

    return check_both


def interval(value: Any) -> tuple[float, float]:
    """Check a range of noise levels."""
    low, high = pair(number(0, MAX_SIGMA))(value)
    if low >= high:
        raise ValueError(f"{low:g} is not below {high:g}")
    return low, high


def yes_or_no(value: Any) -> bool:
    """Check for True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither True nor False")
    return value


def optional(check: Check) -> Check:
    """Let None through: the model's default."""
    return lambda value: None if value is None else check(value)
