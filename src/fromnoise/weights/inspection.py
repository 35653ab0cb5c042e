"""Everything that can be told of a file of weights: what it is, what proves it, and what is wrong with it."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any, Final

from fromnoise.errors import StorageError, WeightsError
from fromnoise.weights.containers import identify, open_file
from fromnoise.weights.detect import detect
from fromnoise.weights.digests import SHORT
from fromnoise.weights.finite import Broken, find_broken
from fromnoise.weights.fitting import Fit, compare
from fromnoise.weights.identity import OURS, Identity
from fromnoise.weights.layouts import EMA, ema_name, sift
from fromnoise.weights.native import HEADER
from fromnoise.weights.networks import find_networks
from fromnoise.weights.planning import left_out
from fromnoise.weights.probe import Probe
from fromnoise.weights.probing import ask, can_answer
from fromnoise.weights.remarks import CLIPS, TITLES
from fromnoise.weights.stored import Stored, open_weights
from fromnoise.weights.suspects import Suspect, names_in, suspects
from fromnoise.weights.wording import shown

FIRST: Final = 3  # that are named of the tensors left out for one reason
LONGEST_TEXT: Final = 1_000  # letters of a value of the metadata
CHUNK: Final = 4 << 20  # bytes
OUR_TITLES: Final = {"unet": "U-Net", "encoder": "encoder", "decoder": "decoder", "texts": "text encoder"}
COUNTERS: Final = (f"{EMA}decay", f"{EMA}num_updates")

Progress = Callable[[float, str], None]  # how much is done, 0 to 1, and what is going on


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file that holds tensors; its hash, and the part of it that people know it by."""

    path: str
    bytes: int
    sha256: str = ""  # "" if it was not computed
    short: str = ""


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """A network in the file; `place` is what the names of its tensors begin with."""

    title: str
    place: str
    tensors: int
    parameters: int
    name: str = ""  # of a text encoder that is well known


@dataclass(frozen=True, slots=True)
class Amount:
    """How much there is of one type of numbers."""

    tensors: int
    numbers: int


@dataclass(frozen=True, slots=True)
class Averages:
    """Running averages (EMA) of the U-Net's weights, a second copy of it."""

    tensors: int
    lacking: int  # tensors of the U-Net that have none


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that are left out for one reason."""

    reason: str
    count: int
    first: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found. `refused` says why so little: the pickle asks for what no weights need."""

    name: str
    path: str
    container: str
    files: tuple[FileFacts, ...]
    identity: Identity | None = None
    probe: Probe | None = None  # what the U-Net answered; None: it was not asked
    networks: tuple[NetworkFacts, ...] = ()
    dtypes: Mapping[str, Amount]
    averages: Averages = Averages(0, 0)
    broken: tuple[Broken, ...] | None = None  # None: nobody looked
    fit: Fit = field(default_factory=Fit)
    left_out: tuple[Group, ...] = ()
    dropped: tuple[str, ...] = ()  # what is no tensor, and networks that no model here uses
    suspects: tuple[Suspect, ...] = ()  # what its pickles name
    metadata: Mapping[str, str]
    refused: str = ""
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, texts and numbers."""
        return asdict(self)


class Work:
    """How far the reading has come: every byte is hashed, and every tensor looked at."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.done, self.progress, self.note = max(total, 1), 0, progress, ""

    def did(self, amount: int) -> None:
        """So many more bytes."""
        self.done += amount
        self.progress(self.done / self.total, self.note)


def inspect(
    path: str | PathLike[str],
    *,
    variant: str | None = None,
    quick: bool = False,
    progress: Progress = lambda done, note: None,
) -> Inspection:
    """Look at a file of weights or a diffusers folder, whether or not it can be used.

    `quick` reads names and shapes only: no SHA-256, no search for NaN and infinity, no question to the U-Net.
    Raises: StorageError if it cannot be read; WeightsError if it is damaged or holds no tensors
    """
    try:
        stored = open_weights(path, variant=variant)
    except WeightsError as error:
        return _refused(Path(path), error, quick, progress)
    with stored:
        identity = detect(stored)
        fit = compare(stored, identity)
        sizes = [file.stat().st_size for file in stored.files]
        work = Work(sum(sizes) + _bytes(stored), progress)
        files = tuple(_facts(file, quick, work) for file in stored.files)
        broken = None if quick else tuple(_broken(stored, work))
        answer = None
        if broken == () and fit.is_perfect and can_answer(stored, identity):
            progress(1.0, "asking the U-Net what it predicts")
            answer = ask(stored, identity)
        return Inspection(
            name=stored.name,
            path=str(stored.path),
            container=stored.container,
            files=files,
            identity=detect(stored, probed=answer) if answer else identity,
            probe=answer,
            networks=tuple(_networks(stored, identity)),
            dtypes=_dtypes(stored),
            averages=_averages(stored),
            broken=broken,
            fit=fit,
            left_out=tuple(_groups(left_out(stored, identity))),
            dropped=stored.dropped,
            suspects=suspects(stored.globals),
            metadata={key: text[:LONGEST_TEXT] for key, text in stored.metadata.items() if key != HEADER},
        )


def _refused(path: Path, error: WeightsError, quick: bool, progress: Progress) -> Inspection:
    """What can be said of a pickle that asks for what no weights need; other faults are raised."""
    found = suspects(names_in(path))
    if not any(suspect.is_danger for suspect in found):
        raise error
    file, size = open_file(path)
    with file:
        container = identify(file, size)
    return Inspection(
        name=shown(path.name),
        path=str(path),
        container=container,
        files=(_facts(path, quick, Work(size, progress)),),
        dtypes={},
        suspects=found,
        metadata={},
        refused=error.message,
        hint=error.hint,
    )


# --- one question after the other ---


def _facts(path: Path, quick: bool, work: Work) -> FileFacts:
    work.note = f"SHA-256 of {shown(path.name)}"
    try:
        file, size = open_file(path)
        with file:
            if quick:
                return FileFacts(str(path), size)
            digest = sha256()
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                work.did(len(chunk))
    except OSError as error:
        raise StorageError(f"cannot read {shown(path.name)}: {error.strerror}") from error
    return FileFacts(str(path), size, digest.hexdigest(), digest.hexdigest()[:SHORT])


def _broken(stored: Stored, work: Work) -> Iterator[Broken]:
    work.note = "looking for NaN and infinity"
    return find_broken(stored, work.did)


def _bytes(stored: Stored) -> int:
    return sum(prod(shape) * stored.dtypes[name].itemsize for name, shape in stored.shapes.items())


def _networks(stored: Stored, identity: Identity) -> Iterator[NetworkFacts]:
    """What each network has; of a model of ours they are told apart by its own names."""
    members = defaultdict[tuple[str, str], list[str]](list)
    known = dict[str, str]()
    if identity.layout == OURS:
        for name in stored.shapes:
            room, _, rest = name.partition(".")
            place = f"{room}.{rest.partition('.')[0]}" if room == "texts" else room
            members[OUR_TITLES.get(room, room), place].append(name)
    else:
        names, _ = sift(stored.shapes)
        for network in find_networks(stored.shapes):
            held = [name for name in names if network.holds(name)]
            members[TITLES[network.room], network.place] = held
            known[network.place] = CLIPS.get(network.width, "") if network.room == "text" else ""
    for (title, place), names in members.items():
        parameters = sum(prod(stored.shapes[name]) for name in names)
        yield NetworkFacts(title, place, len(names), parameters, known.get(place, ""))


def _dtypes(stored: Stored) -> dict[str, Amount]:
    """The most frequent first."""
    counts, numbers = defaultdict[str, int](int), defaultdict[str, int](int)
    for name, dtype in stored.dtypes.items():
        kind = str(stored.scaled.get(name, dtype)).removeprefix("torch.")
        kind += " (scaled)" if name in stored.scaled else ""
        counts[kind] += 1
        numbers[kind] += prod(stored.shapes[name])
    return {
        kind: Amount(counts[kind], numbers[kind]) for kind in sorted(counts, key=counts.__getitem__)[::-1]
    }


def _averages(stored: Stored) -> Averages:
    held = [name for name in stored.shapes if name.startswith(EMA) and name not in COUNTERS]
    unets = [network for network in find_networks(stored.shapes) if network.room == "unet"]
    names = [name for name in sift(stored.shapes)[0] if any(unet.holds(name) for unet in unets)]
    lacking = [name for name in names if ema_name(name) not in stored.shapes]
    return Averages(len(held), len(lacking) if held else 0)


def _groups(reasons: Mapping[str, str]) -> Iterator[Group]:
    groups = defaultdict[str, list[str]](list)
    for name, reason in reasons.items():
        groups[reason].append(name)
    for reason, names in groups.items():
        yield Group(reason, len(names), tuple(names[:FIRST]))
