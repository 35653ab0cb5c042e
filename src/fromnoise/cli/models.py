"""`fromnoise models`: which models are on this computer, and what they are called."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fromnoise.cli.commands import Command
from fromnoise.cli.faults import REPORT, explained
from fromnoise.cli.options import MODELS_VARIABLE, models_dir_option
from fromnoise.cli.screen import Screen
from fromnoise.cli.tables import columns
from fromnoise.durable import readable
from fromnoise.errors import FromNoiseError

if TYPE_CHECKING:
    from fromnoise.weights.catalogue import Entry
    from fromnoise.weights.digests import Digests

HUGGING_FACE: Final = ("HF_HUB_CACHE", "HF_HOME")  # Source: huggingface_hub's environment variables
AUTOENCODER: Final = "autoencoder"
UNREADABLE: Final = "unreadable"


@click.command(cls=Command)
@click.argument("name", required=False)
@models_dir_option
@click.option("--all", "everything", is_flag=True, help="Show what is no model as well.")
@click.option("--hash", "hashing", is_flag=True, help="Compute the hashes that are not known: seconds a GB.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object per file.")
def command(
    name: str | None, models_dir: tuple[Path, ...], everything: bool, hashing: bool, as_json: bool
) -> None:
    """List the models on this computer, or those that NAME may stand for.

    NAME is what --model takes: the name of a file, the beginning of it, or of its SHA-256. Looked at are the
    folders named, ours, and Hugging Face's cache; those of other programs are read in place, never written.
    """
    from fromnoise.weights.digests import Digests

    screen = Screen()
    rows: list[dict[str, Any]] = []
    digests = Digests()
    with screen.progress("looking") as bar:
        entries = chosen(name, models_dir)
        for number, entry in enumerate(entries):
            bar.show(number / len(entries), entry.name)
            rows.append(facts_of(entry, digests, hashing=hashing))
    shown = [row for row in rows if everything or name or row["usable"]]
    if as_json:
        for row in shown:
            screen.record(row)
    elif shown:
        screen.text(columns([cells(row) for row in shown]))
    tell_rest(screen, rows, shown, model_folders(models_dir))


def model_folders(named: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Where models are looked for: the folders named, those of the environment, ours, Hugging Face's."""
    from fromnoise.weights.catalogue import default_folders

    listed = (Path(folder) for folder in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if folder)
    ours, usual = default_folders()
    cache = next(filter(None, map(os.environ.get, HUGGING_FACE)), usual)
    return *named, *listed, ours, Path(cache)


def chosen(name: str | None, named: Sequence[Path]) -> "list[Entry]":
    """Everything that was found, or what goes by this name.  Raises: StorageError if nothing does"""
    from fromnoise.weights.catalogue import find_entries, matching, unknown

    entries = find_entries(model_folders(named))
    if name is None:
        return entries
    if found := matching(name, entries):
        return found
    raise unknown(name, entries)


def facts_of(entry: "Entry", digests: "Digests", *, hashing: bool) -> dict[str, Any]:
    """What a file is, by its header alone; its hash where it is known."""
    facts: dict[str, Any] = {"name": entry.name, "path": str(entry.path), "program": entry.program}
    try:
        facts |= looked_into(entry.path) | {"bytes": entry.size(), "sha256": ""}
        if not entry.path.is_dir():  # a folder has no hash of its own
            facts["sha256"] = digests.of(entry.path) if hashing else digests.known(entry.path)
    except (FromNoiseError, OSError) as error:
        message = error.message if isinstance(error, FromNoiseError) else str(error.strerror)
        facts |= {"kind": UNREADABLE, "usable": False, "problem": message}
    except Exception as error:  # what we stumble over in one file must not hide the others
        facts |= {"kind": UNREADABLE, "usable": False, "problem": f"{explained(error)[0]}; {REPORT}"}
    return facts


def looked_into(path: Path) -> dict[str, Any]:
    """Kind, family, prediction and types of a file or folder.  Raises: StorageError, WeightsError"""
    from fromnoise.weights.detect import detect
    from fromnoise.weights.identity import MODEL
    from fromnoise.weights.stored import open_weights

    with open_weights(path) as stored:
        identity = detect(stored)
        dtypes = Counter(
            str(dtype).removeprefix("torch.") for dtype in {**stored.dtypes, **stored.scaled}.values()
        )
    draws = identity.kind == MODEL and not identity.obstacle
    return {
        "kind": identity.kind,
        "usable": draws or identity.kind == AUTOENCODER,
        "family": identity.family,
        "variant": identity.variant,
        "prediction": identity.spec.prediction if draws and identity.spec else "",
        "dtype": dtypes.most_common(1)[0][0],
        "problem": "" if draws else identity.obstacle,
    }


def cells(row: dict[str, Any]) -> list[str]:
    """A line for people."""
    from fromnoise.weights.digests import SHORT

    what = " ".join(filter(None, (row.get("family") or row["kind"], row.get("variant"))))
    size = readable(row["bytes"]) if "bytes" in row else ""
    short = row.get("sha256", "")[:SHORT]
    return [row["name"], what, row.get("prediction", ""), row.get("dtype", ""), size, short, row["path"]]


def tell_rest(
    screen: Screen, rows: list[dict[str, Any]], shown: list[dict[str, Any]], folders: Sequence[Path]
) -> None:
    """What is not shown, and where it was looked for if there is nothing."""
    if not rows:
        screen.say(
            f"no models in {', '.join(map(str, folders))}\n  hint: --models-dir DIR, or {MODELS_VARIABLE}"
        )
    if hidden := Counter(row["kind"] for row in rows if row not in shown):
        kinds = ", ".join(f"{count} {kind}" for kind, count in hidden.most_common())
        screen.say(f"not shown: {kinds}; --all shows them")
    for row in shown:
        if row.get("problem"):
            screen.say(f"{row['name']}: {row['problem']}")
