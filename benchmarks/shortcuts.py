"""What each shortcut saves, and what it costs: seconds, how far pictures drift, what a checker sees in them.

The embedded model draws the same prompts with the same seeds in every way, one way after the other for each
prompt, so that all ways see the same machine. At Stable Diffusion 1.5's shape (random weights, bfloat16 where
the processor has it) every different question to the U-Net is timed, and seconds of a way are their sum.

python -m benchmarks.shortcuts [--prompts 100] [--size 512] [--write]
"""

import json
import os
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log10
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import torch
from torch import Tensor

from benchmarks import shapes
from benchmarks.peers.race import ROOT
from benchmarks.run import commit, processor
from fromnoise import Pipeline, load
from fromnoise.engine.budget import preset
from fromnoise.engine.memory import kept_memory
from fromnoise.engine.merging import merging
from fromnoise.engine.pace import Clock, questions
from fromnoise.engine.precision import native_dtype
from fromnoise.engine.reuse import Reusing
from fromnoise.engine.transforms import hastened
from fromnoise.engine.work import Ask
from fromnoise.images.pixels import to_pixels
from fromnoise.names import PRESET_NAMES
from fromnoise.noise.descent import level_at
from fromnoise.noise.schedule import schedule_from
from fromnoise.request import GenerateRequest
from fromnoise.score import SEEN, Share, Tier, load_oracle, make_tiers
from fromnoise.score.run import verdicts
from fromnoise.specs import SD15, ModelSpec
from fromnoise.world.prompts import Prompt
from fromnoise.world.seeing import Seen

TIERS: Final = ("single", "attribution")
STEPS: Final = 20
RUNS: Final = 3
PAGE: Final = ROOT / "docs" / "shortcuts.md"
NONE: Final = "none"
Ways = Mapping[str, dict[str, Any]]


def ways(spec: ModelSpec, dtype: torch.dtype) -> Ways:
    """What is compared; noise levels depend on the model."""
    schedule = schedule_from(spec.schedule)

    def interval(low: float, high: float) -> dict[str, Any]:
        top = level_at(schedule, high) if high < 1 else 2 * schedule.sigma_max
        return {"guidance_interval": (level_at(schedule, low), min(top, 1e9))}

    found: dict[str, dict[str, Any]] = {
        NONE: {},
        "guidance above 0.2 of the way": interval(0.2, 1.0),
        "guidance above 0.4": interval(0.4, 1.0),
        "guidance from 0.2 to 0.9": interval(0.2, 0.9),
        "merge 0.25": {"merge": 0.25},
        "merge 0.5": {"merge": 0.5},
        "reuse 2": {"reuse": 2},
        "reuse 3": {"reuse": 3},
        "reuse 5": {"reuse": 5},
        "10 steps": {"steps": 10},
        "10 steps, dpmpp_2m": {"steps": 10, "sampler": "dpmpp_2m"},
        "6 steps, dpmpp_2m": {"steps": 6, "sampler": "dpmpp_2m"},
        "10 steps, reuse 2": {"steps": 10, "reuse": 2},
        "10 steps, dpmpp_2m, reuse 2": {"steps": 10, "sampler": "dpmpp_2m", "reuse": 2},
    }
    foretell = Clock(spec, dtype).forecast
    request = GenerateRequest(prompt="", steps=STEPS).filled(spec.defaults)
    for name in PRESET_NAMES:
        found[f"preset {name}"] = dict(preset(name, request, spec, foretell).changed)
    return {name: {"steps": STEPS} | fields for name, fields in found.items()}


# --- the embedded model ---


@dataclass(slots=True)
class Drawn:
    """What one way gave."""

    seconds: list[float] = field(default_factory=list[float])
    errors: list[float] = field(default_factory=list[float])  # mean squares, of pixels 0..1
    right: Share = field(default_factory=lambda: Share(0, 0))


def drawn(pipe: Pipeline, count: int) -> dict[str, Drawn]:
    """Every prompt in every way."""
    tiers, reader, compared = make_tiers(TIERS, count, 0), load_oracle(), ways(pipe.spec, pipe.dtype)
    found = {name: Drawn() for name in compared}
    for tier in tiers:
        prompts = tier.prompts[SEEN]
        pictures: defaultdict[str, list[Tensor]] = defaultdict(list)
        for seed, prompt in enumerate(prompts):
            for name, fields in compared.items():
                pictures[name].append(timed(pipe, prompt, seed, fields, found[name]))
            for name in compared:
                error = (pictures[name][-1] - pictures[NONE][-1]).square().mean() / 4
                found[name].errors.append(float(error))
        for name, drawing in found.items():
            seen = reader(torch.cat(pictures[name]))
            share = right(tier, seen)
            drawing.right = Share(drawing.right.right + share.right, drawing.right.of + share.of)
    return found


def right(tier: Tier, seen: Sequence[Seen]) -> Share:
    """How many of the pictures show all that the tier counts."""
    asked = [verdict.asked() for verdict in verdicts(tier.prompts[SEEN], seen)]
    return Share(sum(all(parts.get(part, True) for part in tier.parts) for parts in asked), len(asked))


def timed(pipe: Pipeline, prompt: Prompt, seed: int, fields: Mapping[str, Any], into: Drawn) -> Tensor:
    """One picture as pixels in [-1, 1]."""
    began = perf_counter()
    result = pipe(prompt.text, seed=seed, **fields)
    into.seconds.append(perf_counter() - began)
    return to_pixels(result.pictures[0])


# --- Stable Diffusion 1.5's shape ---


class Answers:
    """Seconds of each question, measured when it first comes."""

    def __init__(self, size: int) -> None:
        self.dtype = native_dtype(torch.device("cpu"))
        self.unet = hastened(shapes.unet(self.dtype))
        self.side = size // SD15.vae.factor
        self.known: dict[Ask, float] = {}

    def seconds(self, ask: Ask) -> float:
        """The median of several tries, after one that is not counted."""
        if ask not in self.known:
            network = merging(self.unet, ask.merge, self.side, self.side) if ask.merge else self.unet
            reusing = Reusing(network, 1 if ask.deep else 2 * RUNS + 2)
            inputs = self._inputs(ask)
            if not ask.deep:
                reusing(*inputs)
            times = list[float]()
            for _ in range(1 + RUNS):
                began = perf_counter()
                reusing(*inputs)
                times.append(perf_counter() - began)
            self.known[ask] = median(times[1:])
        return self.known[ask]

    def _inputs(self, ask: Ask) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(shapes.SEED)
        latents = torch.randn(1, 4, self.side, self.side, generator=generator)
        context = torch.randn(ask.texts, ask.tokens, SD15.unet.context_width, generator=generator)
        return latents.to(self.dtype), torch.tensor([500.0]), context.to(self.dtype)


@torch.inference_mode()
def seconds_of_shape(size: int) -> dict[str, float]:
    """Of all the steps of each way."""
    answers = Answers(size)
    compared = ways(SD15, answers.dtype)
    with kept_memory():
        return {name: sum(way_seconds(fields, size, answers)) for name, fields in compared.items()}


def way_seconds(fields: Mapping[str, Any], size: int, answers: Answers) -> Iterator[float]:
    """Of each different question on the way, as often as it comes."""
    request = GenerateRequest(prompt="", width=size, height=size, **fields).filled(SD15.defaults)
    asked = Counter(ask for _, ask in questions(request, SD15, None, 1))
    return (answers.seconds(ask) * count for ask, count in asked.items())


# --- telling ---


def markdown(results: Mapping[str, Any]) -> str:
    """The table, and what it was made on."""
    rows: Mapping[str, Mapping[str, Any]] = results["ways"]
    base = rows[NONE]
    where = f"{results['date']}, commit {results['commit']}, {results['processor']}"
    heads = "shortcut", "picture s", "times as fast", "PSNR to none", "checker: all right, %"
    heads += "SD 1.5 steps s", "times as fast"
    lines = [
        f"{where}, {results['threads']} threads, torch {torch.__version__}. {STEPS} steps where nothing else",
        f"is said; {results['pictures']} pictures of the tiers {' and '.join(TIERS)}; SD 1.5's shape at",
        f"{results['size']} pixels: all steps, without decoding.",
        "",
        f"| {' | '.join(heads)} |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in rows.items():
        cells = [
            name,
            f"{found['seconds']:.2f}",
            f"{base['seconds'] / found['seconds']:.2f}",
            "–" if name == NONE else f"{found['psnr']:.1f} dB",
            str(Share(*found["right"])),
            f"{found['shape']:.1f}",
            f"{base['shape'] / found['shape']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def psnr(errors: Sequence[float]) -> float | None:
    """Of the mean error; None where there is none.  Units: dB"""
    mean = sum(errors) / len(errors)
    return -10 * log10(mean) if mean else None


def main() -> None:
    """Measure, print the table, write what was asked for."""
    parser = ArgumentParser(
        prog="python -m benchmarks.shortcuts",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prompts", type=int, default=100, help="of each tier; else %(default)s")
    parser.add_argument("--size", type=int, default=512, help="pixels, of SD 1.5's shape; else %(default)s")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--write", action="store_true", help="put the table into docs/shortcuts.md")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found, shape = drawn(load(), asked.prompts), seconds_of_shape(asked.size)
    results = {
        "date": f"{shapes.today()}",
        "commit": commit(),
        "processor": processor(),
        "threads": asked.threads,
        "size": asked.size,
        "pictures": len(found[NONE].seconds),
        "ways": {
            name: {
                "seconds": median(drawing.seconds),
                "psnr": psnr(drawing.errors),
                "right": [drawing.right.right, drawing.right.of],
                "shape": shape[name],
            }
            for name, drawing in found.items()
        },
    }
    print(markdown(results))
    if asked.write:
        from docs.make import rewrite

        rewrite(PAGE, "shortcuts", markdown(results))
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
