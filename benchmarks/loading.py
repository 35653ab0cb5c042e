"""How fast a whole Stable Diffusion 1.5 is ready, and how much memory it takes: 2.1 GB of random weights.

Every figure is of a process of its own, the file in the system's cache. --folder needs 7 GB meanwhile.
Each is loaded twice, and the second time counts: a virtual machine that has given memory back to its host
takes seconds to get it again, whoever asks. The first time is shown beside it.

python benchmarks/loading.py [--folder DIR] [--json results.json]
"""

import json
import os
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

from run import commit, held, in_child, processor

MB: Final = 1_000_000
CASES: Final = {  # name: file, type
    "safetensors, as it is": ("one.safetensors", "float16"),
    ".ckpt, as it is": ("one.ckpt", "float16"),
    "diffusers folder, as it is": ("folder", "float16"),
    "safetensors to float32": ("one.safetensors", "float32"),
    ".ckpt to float32": ("one.ckpt", "float32"),
}
MARKS: Final = {True: "ok", False: "!!", None: "  "}
LIMIT_SECONDS, LIMIT_EXTRA, LIMIT_CHANGE = 3.0, 300 * MB, 0.05


# --- in a process of its own ---


def load_once(path: Path, dtype: str) -> dict[str, float]:
    """Load, without anything that a picture does not need."""
    began = perf_counter()
    from fromnoise.loading import load

    imported, before, busy = perf_counter(), held("VmRSS"), process_time()
    pipe = load(path, dtype=dtype, prediction="eps")
    ready, peak, busy = perf_counter(), held("VmHWM"), process_time() - busy
    modules = (*pipe.text_encoders, pipe.unet, pipe.encoder, pipe.decoder)
    weights = sum(tensor.nbytes for module in modules for tensor in module.parameters())
    return {
        "import": imported - began,
        "seconds": ready - imported,
        "of the processor": busy,
        "before": before,
        "peak": peak,
        "weights": weights,
    }


def switch(path: Path, other: Path, dtype: str) -> dict[str, float]:
    """One model, then another, then none; every number of both is looked at."""
    from fromnoise.loading import load
    from fromnoise.pipeline import Pipeline

    def used(path: Path) -> Pipeline:
        pipe = load(path, dtype=dtype, prediction="eps")
        for module in (*pipe.text_encoders, pipe.unet, pipe.encoder, pipe.decoder):
            for tensor in module.parameters():
                tensor.max()
        return pipe

    before = held("VmRSS")
    pipe: Pipeline | None = used(path)
    first = held("VmRSS")
    pipe = None
    between = held("VmRSS")
    pipe = used(other)
    second = held("VmRSS")
    assert pipe
    return {"before": before, "first": first, "between": between, "second": second}


# --- the files ---


def write_models(home: Path) -> None:
    """SD 1.5 in float16: one set of random numbers in three containers."""
    import torch
    from safetensors.torch import save_file

    from fromnoise.specs import SD15
    from fromnoise.weights.layouts import checkpoint_rules, folder_rules
    from fromnoise.weights.model_converter import flipped, translate
    from fromnoise.weights.native import Parts, Uninitialised

    with torch.device("meta"), Uninitialised():
        blank = Parts.blank(SD15).state()
    noise = torch.randn(1 << 20).mul(0.02).half()

    def filled(shape: torch.Size) -> torch.Tensor:
        count = shape.numel()
        return noise.repeat(-(-count // len(noise)))[:count].reshape(shape).clone()

    for rules, name in ((checkpoint_rules(SD15.vae, "sd1"), ""), (folder_rules(SD15), "folder")):
        names = translate(blank, flipped(rules), source="ours")
        state = {key: filled(tensor.shape) for key, tensor in names.items()}
        if not name:
            save_file(state, home / "one.safetensors")
            torch.save({"state_dict": state}, home / "one.ckpt")
            continue
        components = sorted({key.partition(".")[0] for key in state})
        (home / name).mkdir()
        index = {component: ["library", "Class"] for component in components}
        (home / name / "model_index.json").write_text(json.dumps(index))
        for component in components:
            inside = {
                key.removeprefix(f"{component}."): tensor
                for key, tensor in state.items()
                if key.startswith(f"{component}.")
            }
            stem = "model" if component == "text_encoder" else "diffusion_pytorch_model"
            (home / name / component).mkdir()
            (home / name / component / "config.json").write_text("{}")
            save_file(inside, home / name / component / f"{stem}.safetensors")


# --- the report ---


def report(home: Path) -> Iterator[tuple[str, dict[str, Any], bool | None]]:
    """Name, figures, and whether they keep what was promised; None if nothing was."""
    for name, (file, dtype) in CASES.items():
        first = in_child(__file__, "load", str(home / file), dtype)["seconds"]
        found = in_child(__file__, "load", str(home / file), dtype) | {"first time": first}
        kept = found["peak"] <= found["weights"] + LIMIT_EXTRA and found["seconds"] <= LIMIT_SECONDS
        yield name, found, kept if dtype == "float16" else None
    for dtype in ("float16", "float32"):
        found = in_child(__file__, "switch", str(home / "one.safetensors"), str(home / "folder"), dtype)
        left = (found["between"] - found["before"]) / found["first"]
        more = found["second"] / found["first"] - 1
        yield f"switching, {dtype}", found | {"left": left, "more": more}, max(left, more) <= LIMIT_CHANGE


def main() -> None:
    """Write the files, measure, print a table, and write the figures if asked."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs="+", help="for this program itself")
    asked = parser.parse_args()
    if asked.child:
        task, *words = asked.child
        path, *rest = map(Path, words[:-1])
        print(json.dumps(load_once(path, words[-1]) if task == "load" else switch(path, *rest, words[-1])))
        return
    about = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "machine": processor()}
    about["load average"] = f"{os.getloadavg()[0]:.1f}"
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        write_models(Path(folder))
        for name, found, kept in report(Path(folder)):
            results[name] = found
            sizes = {key: f"{value / MB:,.0f} MB" for key, value in found.items() if value > MB}
            rest = {key: f"{value:.2f}" for key, value in found.items() if value <= MB}
            facts = ", ".join(f"{key} {value}" for key, value in {**rest, **sizes}.items())
            print(f"{MARKS[kept]}  {name:28} {facts}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
