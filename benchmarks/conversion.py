"""How long a conversion takes beside copying the file twice, and how much memory: a file of SD 1.5's size.

The numbers in it are random; it lies in a temporary folder, and is deleted. Everything is timed in processes
of their own, until the last byte is on the disk; copying is what `shutil.copyfile` does. Needs Linux's /proc.

python benchmarks/conversion.py [--runs 3] [--folder FOLDER]
"""

import json
import os
import platform
import shutil
import tempfile
from argparse import ArgumentParser
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch
from run import commit, held, in_child, processor

from fromnoise.cli.convert import spell
from fromnoise.specs import SD15
from fromnoise.weights.conversion import Wishes, convert
from fromnoise.weights.layouts import checkpoint_rules
from fromnoise.weights.model_converter import flipped, translate
from fromnoise.weights.native import Parts, Uninitialised
from fromnoise.weights.writers import Slot, write_safetensors

COPY, KEEP = "copying it twice", "keep"
TARGETS = (
    ("out.safetensors", KEEP),
    ("out.ckpt", KEEP),
    ("folder", KEEP),
    ("bf16.safetensors", "bfloat16"),
    ("bf16.ckpt", "bfloat16"),
    ("fp32.safetensors", "float32"),
)
MEBIBYTE = 1 << 20


def write_source(path: Path) -> int:
    """A checkpoint of SD 1.5 in float16; gives its largest tensor's size in bytes."""
    with torch.device("meta"), Uninitialised():
        ours = Parts.blank(SD15).state()
    state = translate(ours, flipped(checkpoint_rules(SD15.vae, "sd1")), source="ours")
    slots = [Slot(name, torch.float16, tuple(tensor.shape)) for name, tensor in state.items()]
    generator = torch.Generator().manual_seed(0)

    def numbers(slot: Slot) -> list[memoryview]:
        values = torch.randn(slot.count, generator=generator).half()
        return [memoryview(values.view(torch.uint8).numpy())]

    with path.open("wb") as file:
        write_safetensors(file, slots, {}, numbers)
    return max(slot.size for slot in slots)


@dataclass(frozen=True, slots=True)
class Cost:
    """What something takes."""

    seconds: float
    busy: float  # of a processor: does not grow with what else the machine does
    peak: float = 0.0  # MiB beyond start-up

    def __str__(self) -> str:
        return f"{self.seconds:10.2f}{self.busy:8.2f}{self.peak:10.0f}"


def copied_twice(source: Path) -> Cost:
    """Copy a file, and the copy again, both to the disk."""
    began, busy = perf_counter(), process_time()
    copies = [source.with_name("copy 1"), source.with_name("copy 2")]
    for path, copy in zip((source, copies[0]), copies, strict=True):
        shutil.copyfile(path, copy)
        handle = os.open(copy, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    cost = Cost(perf_counter() - began, process_time() - busy)
    for copy in copies:
        copy.unlink()
    return cost


def convert_once(source: Path, target: Path, dtype: str) -> Cost:
    """Convert, in the process of its own."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the most that was held
    before, began, busy = held("VmRSS"), perf_counter(), process_time()
    wishes = Wishes(dtype=getattr(torch, dtype, None))
    convert(source, target, wishes, spell, lambda done, note: None)
    seconds, busy = perf_counter() - began, process_time() - busy
    return Cost(seconds, busy, (held("VmHWM") - before) / MEBIBYTE)


def converted(source: Path, target: Path, dtype: str) -> Cost:
    """Convert in a process of its own."""
    cost = Cost(**in_child(__file__, str(source), str(target), dtype))
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    return cost


def main() -> None:
    """Measure each in turn, several times, and print a table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to write: about 9 GB for a while")
    parser.add_argument("--child", nargs=3, help="for this program itself")
    asked = parser.parse_args()
    if asked.child:
        source, target, dtype = asked.child
        print(json.dumps(asdict(convert_once(Path(source), Path(target), dtype))))
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        source = Path(folder) / "sd15.safetensors"
        largest = write_source(source) / MEBIBYTE
        size = source.stat().st_size / MEBIBYTE
        costs: dict[str, list[Cost]] = {}
        for _ in range(asked.runs):
            costs.setdefault(COPY, []).append(copied_twice(source))
            for name, dtype in TARGETS:
                costs.setdefault(f"{name}, {dtype}", []).append(converted(source, Path(folder) / name, dtype))
    print(f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, torch {torch.__version__}, {processor()}")
    print(f"{size:,.0f} MiB in {platform.system()}, load {os.getloadavg()[0]:.1f}")
    print(f"{'medians':28}{'s':>10}{'busy s':>8}{'peak MiB':>10}{'x copying twice':>18}{'allowed MiB':>13}")
    copying = median(cost.seconds for cost in costs[COPY])
    for name, found in costs.items():
        middle = Cost(
            median(cost.seconds for cost in found),
            median(cost.busy for cost in found),
            max(cost.peak for cost in found),
        )
        allowed = "" if name == COPY else f"{largest + 300:13.0f}"
        print(f"{name:28}{middle}{middle.seconds / copying:18.2f}{allowed}")


if __name__ == "__main__":
    main()
