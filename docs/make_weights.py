"""Measure every kind of model file, and write what was found into docs/weights.md.

python docs/make_weights.py                  every row: about half an hour on two cores
python docs/make_weights.py SDXL "SD 1.x"    these rows only
python docs/make_weights.py --full           the networks at full size: minutes, and 16 GB of memory
python docs/make_weights.py --real FILE      the last column of one row, from a published file or folder

It needs what the tests need: `make setup`. The last column stays when a row is measured again.
"""

import argparse
import platform
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from os import cpu_count, environ
from pathlib import Path
from tempfile import TemporaryDirectory

from make import DOCS, replaced

ROOT = DOCS.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "weights")]

PAGE = "weights.md"
PEERS = ("torch", "diffusers", "transformers")
REAL = "Tested on a real file"  # filled in by `--real` alone
QUIET = dict.fromkeys(("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"), "error")
FULL_HEAD = ("Full size", "Error", "Measured")
Edit = Callable[[str], str]  # the page as it is -> as it will be


# --- tables in a page ---


def table_in(text: str, part: str) -> dict[str, list[str]]:
    """The rows between the marks of a part: the other cells, by the first."""
    found = re.search(rf"<!-- {part}: [^\n]*-->\n(.*?)<!-- /{part} -->", text, re.DOTALL)
    lines = [line for line in (found[1] if found else "").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
    return {first: cells for first, *cells in rows}


def with_row(
    text: str, part: str, head: Sequence[str], name: str, cells: Sequence[str], order: Collection[str]
) -> str:
    """The page with this row in a part's table, in the place of the one that it had."""
    table = {**table_in(text, part), name: cells}
    rows = [head, *([first, *table[first]] for first in order if first in table)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return replaced(text, part, "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]]))


def with_kind(
    text: str,
    name: str,
    loaded: Sequence[str] | None = None,
    written: Sequence[str] | None = None,
    real: str | None = None,
) -> str:
    """The page with these cells of a kind of model; what is not given stays."""
    from kinds import CONTAINERS, KINDS, WRITTEN

    heads = {"loaded": ("Loaded", "Tensors", *CONTAINERS, "Ten steps", REAL)}
    heads["written"] = ("Written", *WRITTEN, "Measured", REAL)
    for (part, head), cells in zip(heads.items(), (loaded, written), strict=True):
        *before, last = table_in(text, part).get(name, [""] * (len(head) - 1))
        row = [*(cells or before), last if real is None else real]
        text = with_row(text, part, head, name, row, KINDS)
    return text


# --- what is measured ---


def stamp() -> str:
    """The day, and the version of the program; "+" where it has changed since."""

    def said(*words: str) -> str:
        command = ["git", "--no-optional-locks", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()

    changed = "+" if said("status", "--porcelain", "src") else ""
    return f"{datetime.now(UTC):%Y-%m-%d}, {said('rev-parse', '--short', 'HEAD')}{changed}"


def machine() -> str:
    """What it was measured with."""
    peers = ", ".join(f"{name} {version(name)}" for name in PEERS)
    return f"Last measured with {peers}, in float32 on a CPU ({platform.machine()}, {cpu_count()} cores)."


def measure_kind(name: str) -> Edit:
    """New rows for one kind of model."""
    from figures import measured

    with TemporaryDirectory() as home:
        row = measured(name, Path(home))
    loaded = [f"{row.tensors:,}", *row.loaded.values(), row.drawn]
    return partial(with_kind, name=name, loaded=loaded, written=[*row.written.values(), stamp()])


def measure_full(name: str) -> Edit:
    """A new row for one network or drawing of full size."""
    from figures import figure
    from full_size import DRAWINGS, LIMITS, NETWORKS

    cells = [figure({**NETWORKS, **DRAWINGS}[name]()), stamp()]
    return partial(with_row, part="full", head=FULL_HEAD, name=name, cells=cells, order=LIMITS)


def try_real(path: Path) -> Edit:
    """What a published file has shown; copies are made beside it."""
    from real_files import tried

    with TemporaryDirectory(dir=path.absolute().parent) as home:
        name, cell = tried(path, Path(home))
    print(f"{name}: {cell}")
    return partial(with_kind, name=name, real=cell)


def main() -> None:
    """Do what the command line says, and write the page after every row."""
    from full_size import LIMITS
    from kinds import KINDS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="the first cells of rows, else all")
    parser.add_argument("--full", action="store_true", help="the networks at full size")
    parser.add_argument("--real", type=Path, metavar="FILE", help="a published file or folder")
    parser.add_argument("--folder", type=Path, default=DOCS, help="of the page, else this one")
    asked = parser.parse_args()
    known = LIMITS if asked.full else KINDS
    if strangers := set(asked.names) - set(known):
        parser.error(f"no rows are called {sorted(strangers)}; there are {', '.join(known)}")
    warnings.simplefilter("ignore")
    environ.update(QUIET)
    page = asked.folder / PAGE
    if asked.real:
        edit(page, try_real(asked.real))
        return
    for name in asked.names or known:
        print(name, flush=True)
        edit(page, (measure_full if asked.full else measure_kind)(name))
        edit(page, partial(replaced, part="machine", body=machine()))


def edit(page: Path, change: Edit) -> None:
    """Change what the page says by now."""
    page.write_text(change(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
