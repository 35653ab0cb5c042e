"""How long a person waits: whole processes, medians of several runs, beside what Python and torch need alone.

Then how fast the tokenizer reads and the world is drawn, in this process.

python benchmarks/run.py [--runs 5] [--json results.json]
"""

import json
import platform
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from fromnoise.text import Tokenizer
from fromnoise.world import sample_caption, sample_scene, scene_seed
from fromnoise.world.render import render

FROMNOISE = [sys.executable, "-m", "fromnoise"]
PROMPT = "a red lighthouse on an island at sunset"


def commands(folder: Path) -> dict[str, list[str]]:
    """What is timed; the first two are what nothing of ours can undercut."""
    out = str(folder / "picture.png")
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import torch'": [sys.executable, "-c", "import torch"],
        "fromnoise --help": [*FROMNOISE, "--help"],
        "fromnoise PROMPT, 20 steps": [*FROMNOISE, PROMPT, "--steps", "20", "--force", "-o", out],
        "fromnoise PROMPT, 4 pictures": [
            *FROMNOISE,
            PROMPT,
            "-n",
            "4",
            "--force",
            "-o",
            f"{folder}/{{seed}}.png",
        ],
    }


def seconds(command: list[str], runs: int) -> list[float]:
    """Wall-clock seconds of each run, after one that is not counted."""
    times: list[float] = []
    for _ in range(runs + 1):
        began = perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(perf_counter() - began)
    return times[1:]


def tokenizer_rate(count: int = 20_000) -> float:
    """Prompts that CLIP's vocabulary encodes in a second, once it has seen their words."""
    tokenizer = Tokenizer.clip()
    prompts = [sample_caption(sample_scene(seed), seed) for seed in range(1000)]
    tokenizer(prompts)
    began = perf_counter()
    for _ in range(count // len(prompts)):
        tokenizer(prompts)
    return count / (perf_counter() - began)


def world_rate(count: int = 512, batch: int = 64) -> float:
    """Scenes of the procedural world that are drawn at 128 pixels in a second."""
    scenes = [sample_scene(scene_seed(0, index)) for index in range(count)]
    render(scenes[:batch])
    began = perf_counter()
    for at in range(0, count, batch):
        render(scenes[at : at + batch])
    return count / (perf_counter() - began)


def commit() -> str:
    """The commit that is measured."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def processor() -> str:
    """What this machine calls its processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(named)} x {named[0]}" if named else platform.processor()


def held(name: str) -> int:
    """Bytes: VmRSS, what this process holds now; VmHWM, the most that it ever held. Needs Linux's /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def in_child(program: str, *words: str) -> dict[str, Any]:
    """What a benchmark, told --child, finds in a process of its own and prints as JSON."""
    command = [sys.executable, program, "--child", *words]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Time every command, print a table, and write the figures if asked."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = {name: seconds(command, asked.runs) for name, command in commands(Path(folder)).items()}
    torch_alone = median(measured["python -c 'import torch'"])
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, Python {platform.python_version()}, {processor()}"
    )
    print(f"{'command':32}{'median s':>10}{'min':>8}{'max':>8}{'x import torch':>16}")
    for name, times in measured.items():
        ratio = median(times) / torch_alone
        print(f"{name:32}{median(times):10.2f}{min(times):8.2f}{max(times):8.2f}{ratio:16.2f}")
    rates = {"prompts tokenized": tokenizer_rate(), "scenes drawn at 128 px": world_rate()}
    for name, rate in rates.items():
        print(f"{name:32}{rate:10,.0f} per second")
    if asked.json:
        about = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "machine": processor()}
        asked.json.write_text(
            json.dumps({**about, "seconds": measured, "per_second": rates}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
