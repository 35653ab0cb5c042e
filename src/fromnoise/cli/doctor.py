"""`fromnoise doctor`: what this machine and this installation can do, for a look and for bug reports."""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from fromnoise.cli.commands import Command
from fromnoise.cli.faults import BUG, explained
from fromnoise.cli.models import model_folders
from fromnoise.cli.naming import check_folder
from fromnoise.cli.screen import Screen
from fromnoise.cli.tables import columns
from fromnoise.errors import FromNoiseError
from fromnoise.version import VERSION

PACKAGES: Final = ("torch", "numpy", "safetensors", "pillow", "click", "rich")
CPU_FLAGS: Final = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")
GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was found, and the error that it will cause."""

    name: str
    found: str
    problem: str = ""
    hint: str = ""
    exit_code: int = 0


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON object.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show versions, processor, memory, the embedded model and where files go.

    Leaves with the exit code of the first problem found, 0 if there is none.
    """
    findings = list(examine())
    screen = Screen()
    if as_json:
        screen.record({finding.name: asdict(finding) for finding in findings})
    else:
        screen.text(columns([(mark(f), f.name, f.found) for f in findings]))
    for finding in findings:
        if finding.problem:
            screen.say(f"{finding.name}: {finding.problem}\n  hint: {finding.hint}")
    ctx.exit(next((finding.exit_code for finding in findings if finding.exit_code), 0))


def mark(finding: Finding) -> str:
    """How a line begins."""
    return "!!" if finding.problem else "ok"


def examine() -> Iterator[Finding]:
    """Look at everything, one thing at a time."""
    yield Finding("fromnoise", f"{VERSION} in {Path(__file__).parents[1]}")
    yield Finding("python", f"{platform.python_version()} ({sys.executable})")
    yield Finding("packages", ", ".join(versions()))
    yield Finding("system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Finding("processor", f"{cores()} cores; {' '.join(cpu_flags()) or 'no flags known'}")
    yield Finding("memory", memory())
    yield checked("torch", torch_facts)
    yield checked("embedded model", embedded_model)
    yield checked("this folder", writable_here)
    yield Finding("models in", folders())


def checked(name: str, look: Callable[[], str]) -> Finding:
    """A look that may find an error."""
    try:
        return Finding(name, look())
    except FromNoiseError as error:
        return Finding(name, "not usable", error.message, error.hint, error.exit_code)
    except Exception as error:  # a broken torch raises whatever it likes, and is what one looks for here
        return Finding(name, "not usable", explained(error)[0], "install torch and fromnoise again", BUG)


def versions() -> Iterator[str]:
    """The packages that matter."""
    from importlib.metadata import PackageNotFoundError, version

    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_flags() -> list[str]:
    """The instructions that decide how fast networks run, where the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lists = (line.partition(":")[2] for line in text.splitlines() if line.startswith(("flags", "Features")))
    known = set(next(lists, "").split())
    return [flag for flag in CPU_FLAGS if flag in known]


def memory() -> str:
    """What a drawing may take, as `--memory auto` counts it, where the system tells."""
    from fromnoise.engine.memory import available

    free = available()
    return "unknown" if free is None else f"{free / GIB:.1f} GiB for a drawing"


def torch_facts() -> str:
    """Threads and devices."""
    import torch

    devices = ["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return f"{torch.get_num_threads()} threads; {', '.join(devices)}"


def embedded_model() -> str:
    """Load it, which compares its checksum."""
    from fromnoise.weights.model_loader import load_model

    parts = load_model()
    count = sum(tensor.numel() for tensor in parts.state().values())
    return f"{parts.spec.name}, {count / 1e6:.1f} million numbers, SHA-256 {parts.sha256[:12]}… as shipped"


def writable_here() -> str:
    """Where pictures go if nothing else is said."""
    check_folder(Path())
    return f"{Path().resolve()} can be written"


def folders() -> str:
    """Where models are looked for by name; nothing is made."""
    return "; ".join(f"{path}{'' if path.exists() else ' (not there yet)'}" for path in model_folders())
