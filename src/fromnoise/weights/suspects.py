"""Every name that a pickle asks for, also where reading it was refused; none of it is imported or called."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from fromnoise.errors import StorageError, WeightsError
from fromnoise.weights.archive import read_directory
from fromnoise.weights.containers import identify, open_file
from fromnoise.weights.pickle_names import NAMES
from fromnoise.weights.pickles import Global, Inert, Machine

SEVERAL: Final = 5  # pickles in a row, in PyTorch's older format
NAMELESS: Final = Inert(Global("", ""))
KNOWN: Final = frozenset((*NAMES.make, *NAMES.inert, *NAMES.refused))


@dataclass(frozen=True, slots=True)
class Suspect:
    """A name, and whether `pickle` would import and call something by it that no weights need."""

    name: str
    is_danger: bool


def suspects(names: tuple[str, ...]) -> tuple[Suspect, ...]:
    """Each name with our judgement of it: what is not known to be harmless is a danger."""
    harmless = {f"{module}.{name}" for module, name in KNOWN}
    return tuple(Suspect(name, name not in harmless) for name in names)


def names_in(path: Path) -> tuple[str, ...]:
    """What the pickles of a checkpoint name, as far as they can be read."""
    found = dict[str, None]()
    try:
        file, size = open_file(path)
        with file:
            for lister in _listers(file, size):
                try:
                    lister.run()
                finally:
                    found |= dict.fromkeys(map(str, lister.globals))
    except (WeightsError, StorageError, OSError):
        pass  # why it cannot be read further is said by those who read it in earnest
    return tuple(found)


def _listers(file: BinaryIO, size: int) -> Iterator["Lister"]:
    match identify(file, size):
        case "zip":
            for name, span in read_directory(file, size).items():
                if name.endswith(".pkl"):
                    file.seek(span.start)
                    yield Lister(file, span.size, NAMES, _storage)
        case "pickle":
            file.seek(0)
            for _ in range(SEVERAL):
                yield Lister(file, size, NAMES, _storage)
        case "safetensors":
            pass


def _storage(persistent_id: Any) -> Inert:
    return NAMELESS


class Lister(Machine):
    """Goes on where the reader stops: all names stand for nothing."""

    def name(self, module: object, name: object) -> None:
        """Write the name down."""
        found = Global(module, name) if isinstance(module, str) and isinstance(name, str) else NAMELESS.kind
        if found != NAMELESS.kind:
            self.globals[found] = None
        self.push(found)

    def call(self, arguments: object, what: object) -> None:
        """Whatever is called gives nothing."""
        self.push(Inert(NAMELESS.kind))

    def build(self, state: object, thing: object) -> None:
        """Nothing has a state."""
