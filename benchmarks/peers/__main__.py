"""fromnoise beside diffusers, OpenVINO and stable-diffusion.cpp: the same random weights of SD 1.5's shape.

Each system is measured in processes of its own, one after the other: the first guided step with nothing
compiled, the same with what was compiled then, several steps, the decoder; with --picture a picture too.
Needs `pip install -e '.[bench]'`, a C++ compiler, 12 GB of memory, 15 GB on the disk, and a quiet machine.

python -m benchmarks.peers [--systems fromnoise,openvino] [--json results.json] [--write]
"""

import json
import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.job import BF16, FP32, NUMBERS, SIZE, Job
from benchmarks.peers.race import ROOT, Failed, race
from benchmarks.peers.systems import SYSTEMS
from benchmarks.peers.table import markdown
from benchmarks.run import commit, processor

HOME: Final = ROOT / "runs" / "peers"


def arguments() -> Namespace:
    """What the command line says."""
    parser = ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="else all: %(default)s")
    parser.add_argument("--number", choices=NUMBERS, help="that all calculate in; else the processor's own")
    parser.add_argument("--runs", type=int, default=5, help="steps that are timed; else %(default)s")
    parser.add_argument("--decodes", type=int, default=3, help="decodings that are timed; else %(default)s")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels along a side; else %(default)s")
    parser.add_argument("--threads", type=int, default=cores, help="else %(default)s, one a core")
    parser.add_argument("--picture", action="store_true", help="time whole pictures too")
    parser.add_argument("--folder", type=Path, default=HOME, help="for weights; else runs/peers")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--write", action="store_true", help="put the table and a chart into docs/")
    asked = parser.parse_args()
    asked.systems = asked.systems.split(",")
    asked.number = asked.number or native()
    if strangers := set(asked.systems) - set(SYSTEMS):
        parser.error(f"unknown system {min(strangers)!r}; there are {', '.join(SYSTEMS)}")
    return asked


def native() -> str:
    """What this processor calculates in."""
    import torch

    from fromnoise.engine.precision import native_dtype

    return BF16 if native_dtype(torch.device("cpu")) == torch.bfloat16 else FP32


def main() -> int:
    """Measure, print the table, write what was asked for; 1 if a system failed."""
    asked = arguments()
    job = Job(asked.folder.resolve(), asked.size, asked.threads, asked.runs, asked.decodes, asked.number)
    results: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit(),
        "processor": processor(),
        "threads": asked.threads,
        "load": os.getloadavg()[0],
        "size": asked.size,
        "number": asked.number,
        "systems": {},
    }
    try:
        for name, found in race(asked.systems, job, asked.picture):
            print(name, json.dumps(found), file=sys.stderr, flush=True)
            (results if name == "machine" else results["systems"])[name] = found
            if asked.json:
                asked.json.write_text(json.dumps(results, indent=1) + "\n")
    except Failed as error:  # before the first system: nothing can be compared
        sys.exit(str(error))
    print(markdown(results))
    if asked.write:
        from benchmarks.peers.page import publish

        publish(results)
    return int(any("failed" in found for found in results["systems"].values()))


if __name__ == "__main__":
    sys.exit(main())
