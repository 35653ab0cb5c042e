"""The most memory that a whole process holds while it draws, beside what was predicted before.

Each figure is VmHWM of a process of its own, after two steps and a decode. A ratio is predicted over
measured: it must lie between 1.0 and 1.3. Without --model, the embedded model alone.

python benchmarks/memory.py [--model FILE --sizes 256 512] [--memory auto low 2GB] [--json results.json]
"""

import json
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

from run import commit, processor

GB: Final = 1e9
LEAST: Final = 1.0  # and
MOST: Final = 1.3  # of a ratio
STEPS: Final = 2


def peak() -> int:
    """Bytes: the most that this process ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def drawn(model: str | None, side: int, memory: str, pictures: int) -> dict[str, Any]:
    """In a process of its own: predict, draw, and look."""
    from fromnoise.errors import OutOfMemory
    from fromnoise.loading import load
    from fromnoise.request import GenerateRequest

    extra: dict[str, Any] = {"prediction": "eps"} if model else {}
    pipe = load(model, memory=memory, **extra)
    seeds = tuple(range(pictures))
    request = pipe.settled(
        GenerateRequest(prompt="a red house", seeds=seeds, steps=STEPS, width=side, height=side)
    )
    try:
        plan = pipe.planned(request)
    except OutOfMemory as refusal:
        return {"refused": refusal.message}
    assert plan is not None, "this measures the CPU"
    pipe.generate(request)
    found = {"predicted": plan.peak, "measured": peak(), "plan": str(plan)}
    return found | {"dtype": str(pipe.dtype).removeprefix("torch.")}


def in_child(*words: str) -> dict[str, Any]:
    """What a process of its own found."""
    done = subprocess.run([sys.executable, __file__, "--child", *words], capture_output=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measure every case, print a table, and write the figures if asked."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128])
    parser.add_argument("--memory", nargs="+", default=["auto"])
    parser.add_argument("--pictures", type=int, nargs="+", default=[1])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=4, help="for this program itself")
    asked = parser.parse_args()
    if asked.child:
        model, side, memory, pictures = asked.child
        print(json.dumps(drawn(model or None, int(side), memory, int(pictures))))
        return
    print(f"commit {commit()}, {processor()}")
    results: list[dict[str, Any]] = []
    for side in asked.sizes:
        for memory in asked.memory:
            for pictures in asked.pictures:
                case = {"side": side, "memory": memory, "pictures": pictures}
                found = case | in_child(asked.model or "", str(side), memory, str(pictures))
                results.append(found)
                words = f"{side:5} px  x{pictures}  {memory:6}"
                if "refused" in found:
                    print(f"--  {words} refused: {found['refused']}", flush=True)
                    continue
                predicted, measured = found["predicted"], found["measured"]
                ratio = predicted / measured
                mark = "ok" if LEAST <= ratio <= MOST else "!!"
                sizes = f"predicted {predicted / GB:.2f} GB, measured {measured / GB:.2f} GB"
                print(f"{mark}  {words} {sizes}, ratio {ratio:.2f}  ({found['plan']})", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({"commit": commit(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
