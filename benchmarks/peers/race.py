"""Every system in turn, each task in a process of its own, alone on the machine."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, time
from typing import Any, Final

from benchmarks.peers.child import DRAW, FIRST, MEASURE, PREPARE
from benchmarks.peers.job import Job
from benchmarks.peers.systems import SYSTEMS, our_drawing

ROOT: Final = Path(__file__).parents[2]
CHUNK: Final = 1 << 24
TOLD: Final = 300  # letters of an error


class Failed(Exception):
    """A child process ended with an error; says its last line."""


def missing(name: str) -> list[str]:
    """What a system needs and this installation does not have: modules, or programs."""
    return [need for need in SYSTEMS[name].needs if not (shutil.which(need) or importable(need))]


def importable(name: str) -> bool:
    """Is there a module of this name?"""
    return name.isidentifier() and find_spec(name) is not None


def spent(words: Sequence[str], log: Path, job: Job) -> tuple[float, int]:
    """Run to the end: seconds, and the most memory in bytes.  Raises: Failed"""
    set_by_us = {
        "OMP_NUM_THREADS": str(job.threads),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",  # so that an error comes last
    }
    if job.compiled.name:
        set_by_us["TORCHINDUCTOR_CACHE_DIR"] = str(job.compiled)
    with log.open("ab") as file:
        began = perf_counter()
        process = subprocess.Popen(words, cwd=ROOT, env=os.environ | set_by_us, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        raise Failed(f"exit {process.returncode}, {lines[-1][:TOLD]} (see {log})")
    return seconds, usage.ru_maxrss * 1024


def module(name: str, *words: object) -> list[str]:
    """The command that runs a module of this package."""
    return [sys.executable, "-m", f"benchmarks.peers.{name}", *map(str, words)]


def answered(words: Sequence[object], job: Job, log: Path) -> dict[str, Any]:
    """What a module of ours wrote to the file whose name it gets last; the job's comes before."""
    with tempfile.TemporaryDirectory(dir=job.home) as folder:
        question, answer = Path(folder) / "job.json", Path(folder) / "result.json"
        warm(job)
        replace(job, began=time()).write(question)
        spent(module(*map(str, words), question, answer), log, job)
        return json.loads(answer.read_text()) if answer.exists() else {}


def warm(job: Job) -> None:
    """Read the weights once, so that nobody waits for the disk."""
    for path in (job.single, *job.folder.rglob("*.safetensors"), *job.converted("").parent.rglob("*.bin")):
        with path.open("rb") as file:
            while file.read(CHUNK):
                pass


@contextmanager
def cold(job: Job) -> Iterator[Job]:
    """The job with an empty folder for what systems compile."""
    with tempfile.TemporaryDirectory(dir=job.home, prefix="compiled-") as folder:
        yield replace(job, compiled=Path(folder))


def measured(name: str, job: Job, whole: bool) -> dict[str, Any]:
    """All that is known about a system; `whole`: draw a picture too.  Raises: Failed"""
    log = job.home / "logs" / f"{name}.log"
    log.unlink(missing_ok=True)
    answered(("child", PREPARE, name), job, log)
    with cold(job) as job:
        first = answered(("child", FIRST, name), job, log)["first"]
        found = answered(("child", MEASURE, name), job, log)
        found["first"] = {"cold": first, "warm": found["first"]}
        if whole:
            found["picture"] = drawn(name, job, log)
    return found


def drawn(name: str, job: Job, log: Path) -> dict[str, float]:
    """A whole picture, from the start of the process to its end; what is compiled was compiled before."""
    (job.home / "pictures").mkdir(exist_ok=True)
    job = replace(job, picture=job.home / "pictures" / f"{name}-{job.size}.png")
    job.picture.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=job.home) as folder:
        question = Path(folder) / "job.json"
        job.write(question)
        warm(job)
        words = module("child", DRAW, name, question, "-")
        if SYSTEMS[name].ours:
            words = our_drawing(job, SYSTEMS[name].options)
        seconds, peak = spent(words, log, job)
    if not job.picture.exists():
        raise Failed(f"it drew nothing (see {log})")
    return {"seconds": seconds, "peak": peak}


def race(names: Sequence[str], job: Job, whole: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What is known about the machine, then about each system; a system that fails says why."""
    (job.home / "logs").mkdir(parents=True, exist_ok=True)
    log = job.home / "logs" / "machine.log"
    log.unlink(missing_ok=True)
    spent(module("weights", job.home), log, job)
    if not job.reference.exists():
        answered(("reference",), job, log)
    yield "machine", answered(("machine",), job, log)
    for name in names:
        if lacks := missing(name):
            yield name, {"failed": f"not installed: {', '.join(lacks)}"}
            continue
        try:
            yield name, measured(name, job, whole)
        except Failed as error:
            yield name, {"failed": str(error)}
