"""Seconds and memory against resolution, batch, steps and threads, beside what `predicted_seconds` says.

Every point is measured in a process of its own, and kept: the same command goes on where it was stopped.
Points that should take longer than --most seconds a step are foretold only. Exits with 1 if the
memory of attention grows faster than the pixels, or several pictures at once take longer than one by one.

python -m benchmarks.curves [--quick] [--write] [--json runs/curves.json]
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import torch

from benchmarks import shapes
from benchmarks.peers.job import peak_memory
from benchmarks.peers.race import ROOT
from benchmarks.run import commit, processor
from fromnoise.engine.attention import attend_in_tiles
from fromnoise.engine.memory import kept_memory
from fromnoise.engine.pace import Clock, Forecast
from fromnoise.engine.precision import native_dtype
from fromnoise.engine.transforms import hastened
from fromnoise.request import GenerateRequest
from fromnoise.specs import SD15

GB: Final = 1e9
RESULTS: Final = ROOT / "runs" / "curves.json"
SHAPE, OURS, ATTENTION = "sd15", "embedded", "attention"
HEADS, HEAD_WIDTH = 8, 40  # of SD 1.5's finest level
SLOW: Final = 20.0  # seconds of a step that is measured once, and then not after another that is not counted
RUNS: Final = 3
EVEN: Final = 1.5  # times: the most by which attention's memory a place may differ between sizes
FALL: Final = 0.97  # of one picture's throughput: less is a fall, more is noise


@dataclass(frozen=True, slots=True)
class Point:
    """What is measured.  Units: size in pixels along a side; of attention, places along a side"""

    what: str
    size: int
    pictures: int = 1
    steps: int = 1
    threads: int = 2

    def __str__(self) -> str:
        return f"{self.what} {self.size} x{self.pictures} steps {self.steps} threads {self.threads}"


def points(quick: bool, threads: int) -> Mapping[str, list[Point]]:
    """The curves."""
    sizes = (256, 512) if quick else (256, 384, 512, 768, 1024, 1536, 2048)
    batches = (1, 4) if quick else (1, 2, 4, 8, 16)
    steps = (5, 20) if quick else (2, 5, 10, 20, 50)
    places = (64, 96) if quick else (64, 96, 128, 192)
    counts = sorted({1, threads})
    return {
        "resolution": [Point(SHAPE, size, threads=threads) for size in sizes],
        "attention": [Point(ATTENTION, side, threads=threads) for side in places],
        "batch": [Point(SHAPE, 256, n, threads=threads) for n in batches],
        "small batch": [Point(OURS, 128, n, threads=threads) for n in batches],
        "steps": [Point(OURS, 128, 1, n, threads=threads) for n in steps],
        "threads": [
            Point(what, size, threads=n) for what, size in ((SHAPE, 512), (OURS, 128)) for n in counts
        ],
    }


# --- one point, in a process of its own ---


@torch.inference_mode()
def measured(point: Point, most: float) -> dict[str, float]:
    """Seconds and bytes; of what would take too long, the forecast alone."""
    torch.set_num_threads(point.threads)
    with kept_memory():
        if point.what == ATTENTION:
            return attention(point)
        if point.what == OURS and point.steps > 1:
            return picture(point)
        return networks(point, most)


def attention(point: Point) -> dict[str, float]:
    """One head's work on every core, at most: what it takes beside its inputs and its output."""
    places, dtype = point.size**2, native_dtype(torch.device("cpu"))
    q, k, v = torch.randn(3, 1, HEADS, places, HEAD_WIDTH).to(dtype)
    attend_in_tiles(q[..., :256, :], k[..., :256, :], v[..., :256, :])
    before, began = peak_memory(), perf_counter()
    attend_in_tiles(q, k, v)
    return {"step": perf_counter() - began, "extra": peak_memory() - before}


def picture(point: Point) -> dict[str, float]:
    """A whole picture by the embedded model, after one that is not counted."""
    from fromnoise import load

    pipe = load()
    request = GenerateRequest(prompt="a red house", steps=point.steps)
    pipe.generate(request)
    times = list[float]()
    for _ in range(RUNS):
        began = perf_counter()
        pipe.generate(request)
        times.append(perf_counter() - began)
    peak = peak_memory()
    foretold = Clock(pipe.spec, pipe.dtype).forecast(request)
    way = point.steps * foretold.step + foretold.decode
    return {"total": median(times), "peak": peak, "foretold total": way}


def networks(point: Point, most: float) -> dict[str, float]:
    """A guided step and the decoder, of several pictures at once."""
    spec, dtype = SD15, native_dtype(torch.device("cpu"))
    if point.what == OURS:
        from fromnoise import load

        pipe = load()
        spec, dtype, unet, decoder = pipe.spec, pipe.dtype, hastened(pipe.unet), hastened(pipe.decoder)
    else:
        unet, decoder = hastened(shapes.unet(dtype)), hastened(shapes.decoder(dtype))
    seeds = tuple(range(point.pictures))
    request = GenerateRequest(
        prompt="", width=point.size, height=point.size, steps=1, seeds=seeds, guidance=5
    )
    if point.size > 512 and foretold(spec, dtype, request)["foretold step"] > most:
        return foretold(spec, dtype, request)
    side = point.size // spec.vae.factor
    latents = torch.randn(point.pictures, spec.vae.latent_channels, side, side).to(dtype)
    context = torch.randn(2 * point.pictures, spec.texts[0].context, spec.unet.context_width).to(dtype)
    width = spec.unet.pooled_width
    pooled = None if width is None else torch.randn(2 * point.pictures, width).to(dtype)
    times = torch.full((point.pictures,), 500.0)
    found = {
        "step": seconds(lambda: unet(latents, times, context, pooled)),
        "decode": seconds(lambda: decoder(latents)),
        "peak": float(peak_memory()),
    }
    return found | foretold(spec, dtype, request)


def foretold(spec: Any, dtype: torch.dtype, request: GenerateRequest) -> dict[str, float]:
    """What the forecast says of a step and of decoding."""
    said: Forecast = Clock(spec, dtype, batch=len(request.seeds)).forecast(request)
    return {"foretold step": said.step, "foretold decode": said.decode}


def seconds(work: Any) -> float:
    """The median of several runs after one that is not counted; of slow work, the first one."""
    times = list[float]()
    for _ in range(1 + RUNS):
        began = perf_counter()
        work()
        times.append(perf_counter() - began)
        if times[0] > SLOW:
            return times[0]
    return median(times[1:])


# --- all of them ---


def asked_for(results: dict[str, Any], asked: Namespace) -> Iterator[str]:
    """Measure what is not known yet; says each point's name as it is done."""
    for curve in points(asked.quick, asked.threads).values():
        for point in curve:
            if str(point) in results["points"]:
                continue
            job = json.dumps(asdict(point) | {"most": asked.most})
            words = [sys.executable, "-m", "benchmarks.curves", "--point", job]
            environment = os.environ | {"OMP_NUM_THREADS": str(point.threads)}
            run = subprocess.run(
                words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True
            )
            made = {name: results[name] for name in ("date", "commit")}
            results["points"][str(point)] = json.loads(run.stdout) | made
            yield str(point)


def faults(results: Mapping[str, Any], curves: Mapping[str, Sequence[Point]]) -> list[str]:
    """Where memory or throughput is not as it must be, in words."""
    known = results["points"]
    found = list[str]()
    places = [known[str(p)]["extra"] / p.size**2 for p in curves["attention"]]
    if any(later > EVEN * places[0] for later in places):  # less is fine: tiles are of one size
        found.append(f"attention takes {places[0]:.0f} to {max(places):.0f} bytes a place: more than linear")
    for name in ("batch", "small batch"):
        first = known[str(curves[name][0])]["step"]
        for point in curves[name][1:]:
            speed = point.pictures * first / known[str(point)]["step"]
            if speed < FALL:
                found.append(f"{point}: {speed:.2f} of the throughput of one picture")
    return found


# --- telling ---


def markdown(results: Mapping[str, Any], curves: Mapping[str, Sequence[Point]]) -> str:
    """A table for each curve."""
    known = results["points"]
    made = {
        name: sorted({each.get(name, "unknown") for each in known.values()}) for name in ("date", "commit")
    }
    when, what = (", ".join(each) for each in made.values())
    lines = [f"{when}, commit {what}, {results['processor']}, torch {results['torch']}."]
    for name in ("resolution", "batch", "small batch", "threads"):
        lines += ["", *table(name, [(p, known[str(p)]) for p in curves[name]])]
    lines += ["", "| steps, embedded model | picture s | foretold s |", "|---|---|---|"]
    for point in curves["steps"]:
        found = known[str(point)]
        lines.append(f"| {point.steps} | {told(found['total'])} | {told(found['foretold total'])} |")
    lines += ["", "| attention: places | s | bytes beside inputs, a place |", "|---|---|---|"]
    for point in curves["attention"]:
        found = known[str(point)]
        lines.append(f"| {point.size}² | {found['step']:.2f} | {found['extra'] / point.size**2:.0f} |")
    return "\n".join(lines)


def table(name: str, rows: Sequence[tuple[Point, Mapping[str, float]]]) -> Iterator[str]:
    """One curve of networks."""
    yield f"| {name} | step s | foretold | decode s | foretold | peak GB | throughput, × one |"
    yield "|---|---|---|---|---|---|---|"
    first = rows[0][1].get("step", 0.0)
    for point, found in rows:
        label = {"resolution": f"{point.size}²", "threads": f"{point.what} {point.size}², {point.threads}"}
        speed = point.pictures * first / found["step"] if "step" in found and "batch" in name else None
        cells = [
            label.get(name, f"{point.what} {point.size}² × {point.pictures}"),
            told(found.get("step")),
            told(found["foretold step"]),
            told(found.get("decode")),
            told(found["foretold decode"]),
            told(found["peak"] / GB if "peak" in found else None),
            told(speed),
        ]
        yield f"| {' | '.join(cells)} |"


def told(value: float | None) -> str:
    """Three digits."""
    return "–" if value is None else f"{value:.3g}"


def arguments() -> Namespace:
    """What the command line says."""
    parser = ArgumentParser(
        prog="python -m benchmarks.curves", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer points: a minute or two")
    parser.add_argument("--most", type=float, default=60, help="seconds a step; else %(default)s")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, default=RESULTS, help="keep the points there; else %(default)s")
    parser.add_argument("--fresh", action="store_true", help="forget the points that are there")
    parser.add_argument("--write", action="store_true", help="put the tables and a chart into docs/")
    parser.add_argument("--point", help="measure this one, as JSON; used by the command itself")
    return parser.parse_args()


def main() -> int:
    """Measure, print the tables, write what was asked for; 1 if something is not as it must be."""
    asked = arguments()
    if asked.point:
        given = json.loads(asked.point)
        most = given.pop("most")
        print(json.dumps(measured(Point(**given), most)))
        return 0
    results: dict[str, Any] = {
        "date": shapes.today(),
        "commit": commit(),
        "processor": processor(),
        "torch": torch.__version__,
        "points": {},
    }
    if asked.json.exists() and not asked.fresh:
        known = json.loads(asked.json.read_text())
        if any(known[name] != results[name] for name in ("processor", "torch")):
            raise SystemExit(f"{asked.json} is of another processor or torch: say --fresh")
        results["points"] = known["points"]
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    for name in asked_for(results, asked):
        print(name, json.dumps(results["points"][name]), file=sys.stderr, flush=True)
        asked.json.write_text(json.dumps(results, indent=1) + "\n")
    curves = points(asked.quick, asked.threads)
    print(markdown(results, curves))
    if asked.write:
        from benchmarks.curves_page import publish

        publish(results, curves, markdown(results, curves))
    problems = faults(results, curves)
    print(*problems, sep="\n", file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
