"""One task of one system, in a process of its own.

python -m benchmarks.peers.child TASK SYSTEM JOB RESULT
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers.job import Job
from benchmarks.peers.systems import SYSTEMS

PREPARE, FIRST, MEASURE, DRAW = "prepare", "first", "measure", "draw"


def main() -> None:
    """Do it, and write what was found."""
    task, name, job_file, result = sys.argv[1:]
    job = Job.read(Path(job_file))
    contestant = SYSTEMS[name].contestant(job)
    if task in (PREPARE, DRAW):
        {PREPARE: contestant.prepare, DRAW: contestant.draw}[task]()
        return
    found = {FIRST: contestant.first, MEASURE: contestant.measure}[task]()
    found.versions = {package: version(package) for package in contestant.packages}
    Path(result).write_text(json.dumps(found.to_json()))


if __name__ == "__main__":
    main()
