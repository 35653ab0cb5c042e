"""The most memory that a whole process holds while it draws, beside what was predicted before.

Each figure is VmHWM of a process of its own, after a few steps and a decode. A ratio is predicted over
measured: it must lie between 1.0 and 1.3. Seconds are those of the last step and of the decode. Without
--model, the embedded model alone; --shape writes a file of random weights there, if there is none yet.

python benchmarks/memory.py [--model FILE [--shape sdxl] --sizes 256 512] [--memory auto low 2GB]
"""

import json
import subprocess
from argparse import ArgumentParser
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from run import FROMNOISE, commit, held, in_child, processor

GB: Final = 1e9
LEAST: Final = 1.0  # and
MOST: Final = 1.3  # of a ratio
STEPS: Final = 2
SHAPES: Final = ("sd15", "sdxl")


def write(shape: str, path: Path) -> None:
    """Random weights of a published shape, in float16 as such files usually are."""
    import torch
    from shapes import filled

    from fromnoise.specs import SD15, SDXL
    from fromnoise.text import Tokenizer
    from fromnoise.weights.native import Parts, save_native

    spec = {"sd15": SD15, "sdxl": SDXL}[shape]
    vocabularies = [Tokenizer.clip(pad=text.pad).to_json() for text in spec.texts]
    with torch.device("meta"):
        blank = Parts.blank(spec)
    texts = tuple(filled(text, torch.float16) for text in blank.texts)
    others = [filled(each, torch.float16) for each in (blank.unet, blank.encoder, blank.decoder)]
    ours = path.with_suffix(".ours.safetensors")
    save_native(Parts(spec, texts, *others, tokenizers=tuple(vocabularies)), ours)
    subprocess.run([*FROMNOISE, "convert", "--quiet", str(ours), str(path)], check=True)
    ours.unlink()


def drawn(model: str | None, side: int, memory: str, pictures: int, engine: str) -> dict[str, Any]:
    """In a process of its own: predict, draw, and look."""
    from fromnoise.errors import OutOfMemory
    from fromnoise.loading import load
    from fromnoise.request import GenerateRequest

    extra: dict[str, Any] = {"prediction": "eps"} if model else {}
    pipe = load(model, memory=memory, engine=engine, **extra)
    seeds = tuple(range(pictures))
    request = pipe.settled(
        GenerateRequest(prompt="a red house", seeds=seeds, steps=STEPS, width=side, height=side)
    )
    try:
        plan = pipe.planned(request)
    except OutOfMemory as refusal:
        return {"refused": refusal.message}
    assert plan is not None, "this measures the CPU"
    at = [perf_counter(), *(perf_counter() for _ in pipe.stream(request))]
    last_step, decode = at[-3] - at[-4], at[-2] - at[-3]  # then comes Finished
    found = {"predicted": plan.peak, "measured": held("VmHWM"), "plan": str(plan)}
    found |= {"step": last_step, "decode": decode}
    return found | {"dtype": str(pipe.dtype).removeprefix("torch.")}


def main() -> None:
    """Measure every case, print a table, and write the figures if asked."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128])
    parser.add_argument("--memory", nargs="+", default=["auto"])
    parser.add_argument("--pictures", type=int, nargs="+", default=[1])
    parser.add_argument("--shape", choices=SHAPES, help="of random weights that are written to --model")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=5, help="for this program itself")
    asked = parser.parse_args()
    if asked.child:
        model, side, memory, pictures, engine = asked.child
        print(json.dumps(drawn(model or None, int(side), memory, int(pictures), engine)))
        return
    if asked.shape and not Path(asked.model).exists():
        write(asked.shape, Path(asked.model))
    print(f"commit {commit()}, {processor()}")
    results: list[dict[str, Any]] = []
    for side in asked.sizes:
        for memory in asked.memory:
            for pictures in asked.pictures:
                case = {"side": side, "memory": memory, "pictures": pictures}
                words = (asked.model or "", str(side), memory, str(pictures), asked.engine)
                found = case | in_child(__file__, *words)
                results.append(found)
                words = f"{side:5} px  x{pictures}  {memory:6}"
                if "refused" in found:
                    print(f"--  {words} refused: {found['refused']}", flush=True)
                    continue
                predicted, measured = found["predicted"], found["measured"]
                ratio = predicted / measured
                mark = "ok" if LEAST <= ratio <= MOST else "!!"
                sizes = f"predicted {predicted / GB:.2f} GB, measured {measured / GB:.2f} GB"
                times = f"step {found['step']:.2f} s, decode {found['decode']:.2f} s"
                print(f"{mark}  {words} {sizes}, ratio {ratio:.2f}, {times}  ({found['plan']})", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({"commit": commit(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
