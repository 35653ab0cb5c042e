"""`fromnoise inspect FILE`: what a file of weights is, and what proves it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from fromnoise.cli.commands import Command
from fromnoise.cli.options import FILE
from fromnoise.cli.screen import Screen
from fromnoise.cli.tables import columns

if TYPE_CHECKING:
    from fromnoise.weights.inspection import Inspection

FEW: Final = 3  # names of what may be many
ROWS: Final = 20  # of the metadata
SHOWN_METADATA: Final = ("modelspec.", "ss_")
CONTAINERS: Final = {
    "safetensors": "safetensors",
    "zip": "a checkpoint of PyTorch",
    "pickle": "a checkpoint of PyTorch before 1.6",
    "folder": "a diffusers folder",
}
DANGER: Final = "DANGER: `pickle` would import and call it"

Row = tuple[str, str]


@click.command(cls=Command)
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.option("--quick", is_flag=True, help="Read names and shapes only: no hash, no look at the numbers.")
@click.option("--variant", metavar="NAME", help="Which files of a folder to take, such as fp16.")
def command(file: Path, as_json: bool, quick: bool, variant: str | None) -> None:
    """Find out what FILE is: a model, a part of one, or something else; a file or a diffusers folder.

    It says what proves each finding, which tensors are unknown or missing, and whether all numbers are
    finite. Nothing in the file is run.
    """
    from fromnoise.errors import WeightsError
    from fromnoise.weights.inspection import inspect

    screen = Screen()
    with screen.progress("reading") as bar:
        found = inspect(file, variant=variant, quick=quick, progress=bar.show)
    if as_json:
        screen.record(found.to_json())
    else:
        screen.text(columns(list(rows(found))))
    if found.refused:
        raise WeightsError(found.refused, hint=found.hint)


def rows(found: "Inspection") -> Iterator[Row]:
    """The findings for people."""
    yield from _file(found)
    yield from _identity(found)
    yield from _tensors(found)
    yield from _faults(found)
    yield from _pickle(found)
    yield from _metadata(found.metadata)
    for file in found.files:
        if file.sha256:
            path = Path(file.path)
            name = f"  {_plain(f'{path.parent.name}/{path.name}')}" if len(found.files) > 1 else ""
            yield "sha-256", f"{file.sha256}{name}"
            yield "short hash", f"{file.short}{name}"


def _file(found: "Inspection") -> Iterator[Row]:
    size = f"{sum(file.bytes for file in found.files):,} bytes"
    files = f" in {len(found.files)} files" if len(found.files) > 1 else ""
    yield "file", f"{found.name}, {CONTAINERS[found.container]}, {size}{files}"
    if found.container in ("zip", "pickle") and found.path.endswith(".safetensors"):
        yield "beware", "its name says safetensors; it is a pickle"


def _identity(found: "Inspection") -> Iterator[Row]:
    from fromnoise.weights.families import TITLES

    if (identity := found.identity) is None:
        return
    words = (identity.kind, TITLES.get(identity.family, identity.family), identity.variant)
    yield "what", ", ".join(_plain(word) for word in words if word)
    if identity.layout:
        yield "layout", identity.layout
    yield "can draw", f"no: {_clean(identity.obstacle)}" if identity.obstacle else "yes"
    if identity.hint and "fromnoise inspect" not in identity.hint:  # which is what is being done
        yield "hint", _clean(identity.hint)
    for finding in identity.findings:
        doubt = "" if finding.decided else ", undecided"
        yield finding.what, f"{_plain(finding.value)}{doubt} ({_clean(finding.evidence)})"
    if found.probe:
        yield "probe", f"{found.probe.prediction or 'undecided'} ({found.probe})"


def _tensors(found: "Inspection") -> Iterator[Row]:
    for network in found.networks:
        place = f" ({_plain(network.place)})" if network.place else ""
        yield network.title, f"{network.parameters:,} numbers in {_tensor(network.tensors)}{place}"
    for kind, amount in found.dtypes.items():
        yield kind, f"{amount.numbers:,} numbers in {_tensor(amount.tensors)}"
    if found.averages.tensors:
        lacking = (
            f"; none of {_tensor(found.averages.lacking)} of the U-Net" if found.averages.lacking else ""
        )
        yield "averages", f"EMA of {_tensor(found.averages.tensors)}{lacking}"
    elif not found.refused:
        yield "averages", "none (no EMA)"


def _faults(found: "Inspection") -> Iterator[Row]:
    if found.broken:
        first = (
            f"{_plain(each.name)}: {each.nan:,} NaN, {each.infinite:,} infinite" for each in found.broken
        )
        yield "finite", f"no, in {_tensor(len(found.broken))}: {_few(first, len(found.broken), '; ')}"
    elif found.broken is not None:
        yield "finite", "yes, all numbers"
    for title, names in (
        ("unknown", found.fit.unknown),
        ("missing", found.fit.missing),
        ("odd shape", found.fit.misshapen),
    ):
        if names:
            yield title, f"{_tensor(len(names))}: {_few(map(_plain, names), len(names))}"
    if found.fit.problem:
        yield "problem", _clean(found.fit.problem)
    if found.fit.is_perfect:
        yield "tensors", "all that its networks need, and no others"
    for group in found.left_out:
        yield "left out", f"{_few(map(_plain, group.first), group.count)} ({group.reason})"
    if found.dropped:
        yield "left out", _few(map(_plain, found.dropped), len(found.dropped))


def _pickle(found: "Inspection") -> Iterator[Row]:
    dangers = [suspect.name for suspect in found.suspects if suspect.is_danger]
    harmless = [suspect.name for suspect in found.suspects if not suspect.is_danger]
    for name in dangers:
        yield "pickle names", f"{name}  {DANGER}"
    if harmless:
        yield "pickle names", f"{', '.join(harmless)} (harmless; never imported)"


def _metadata(metadata: Mapping[str, str]) -> Iterator[Row]:
    """What training programs left, then the rest, as much as fits on a screen."""
    ordered = sorted(metadata, key=lambda name: (not name.startswith(SHOWN_METADATA), name))
    for name in ordered[:ROWS]:
        yield "says", f"{_plain(name)} = {_plain(metadata[name])}"
    if len(ordered) > ROWS:
        yield "says", f"and {len(ordered) - ROWS:,} more: --json prints all"


def _tensor(count: int) -> str:
    return "1 tensor" if count == 1 else f"{count:,} tensors"


def _few(names: "Iterator[str] | Sequence[str]", count: int, joint: str = ", ") -> str:
    first = [name for _, name in zip(range(FEW), names, strict=False)]
    return joint.join(first) + (f" and {count - len(first):,} more" if count > len(first) else "")


def _plain(name: str) -> str:
    """What a file calls something: short, and fit for a terminal."""
    from fromnoise.weights.wording import shown

    return shown(name)


def _clean(sentence: str) -> str:
    """A sentence of ours, in which a file's words may be."""
    return "".join(letter if letter.isprintable() else "?" for letter in sentence)
