"""What the turbo adapter costs and saves: the checker's tiers and seconds, for the same prompts and seeds.

Seconds a picture are this process's, the model loaded; those of a whole process are a person's wait.

python benchmarks/turbo.py [--model FILE] [--prompts 50] [--seeds 1] [--runs 3] [--sheet SHEET.png]
"""

import platform
import sys
import tempfile
from argparse import ArgumentParser
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from statistics import fmean, median, variance
from typing import Any, Final

import torch
from run import FROMNOISE, PROMPT, commit, processor, seconds
from torch import Tensor

from fromnoise.images.pixels import to_pixels
from fromnoise.loading import load
from fromnoise.pipeline import Pipeline
from fromnoise.score import TIERS, Report, Settings, load_oracle, make_tiers, score
from fromnoise.score.plans import OVERALL
from fromnoise.score.report import Judged
from fromnoise.score.tables import NORMAL_95
from fromnoise.train.sheet import save_sheet

GUIDED, TURBO = "20 steps, guided", "turbo"
WAYS: Final[dict[str, dict[str, Any]]] = {
    GUIDED: {},
    "4 steps, guided": {"steps": 4},
    TURBO: {},  # attached, it says how by itself
}
SHOWN: Final = 4  # prompts of each tier in the sheet


@dataclass(frozen=True)
class Result:
    report: Report
    seconds: list[float]  # of each picture
    shown: list[Tensor]


def measure(pipe: Pipeline, way: dict[str, Any], prompts: int, seeds: int, oracle: Path | None) -> Result:
    """Draw every tier in one way, and let the checker look."""
    took, shown = list[float](), list[Tensor]()

    def draw(texts: list[str], numbers: list[int]) -> Tensor:
        drawn = list[Tensor]()
        for text, seed in zip(texts, numbers, strict=True):
            result = pipe(text, seed=seed, **way)
            took.append(result.seconds)
            drawn.append(to_pixels(result.pictures[0]))
        if numbers[0] == 0:  # a tier begins
            shown.extend(drawn[: SHOWN * seeds : seeds])
        return torch.cat(drawn)

    tiers = make_tiers(OVERALL, prompts, 0)
    reader = load_oracle(oracle, "cpu")
    settings = Settings(seeds_per_prompt=seeds, size=pipe.spec.defaults.width)
    *_, report = score(draw, reader, tiers, settings)
    assert isinstance(report, Report)
    return Result(report, took, shown)


def is_right(picture: Judged) -> bool:
    """As its tier counts."""
    plan = TIERS[picture.tier]
    if plan.headline in picture.parts:
        return picture.parts[plan.headline]
    return all(right for part, right in picture.parts.items() if part in plan.parts)


def difference(more: Report, less: Report) -> tuple[float, float]:
    """Points by which the means of T1 to T6 differ, and half their 95 % interval, picture by picture."""
    gaps: dict[str, list[int]] = {name: [] for name in OVERALL}
    for a, b in zip(more.pictures, less.pictures, strict=True):
        assert (a.prompt, a.seed) == (b.prompt, b.seed)
        gaps[a.tier].append(is_right(a) - is_right(b))
    error = sqrt(sum(variance(each) / len(each) for each in gaps.values())) / len(gaps)
    return 100 * fmean(map(fmean, gaps.values())), 100 * NORMAL_95 * error


def whole_process(model: Path | None, way: str, runs: int) -> float:
    """Seconds from the command to the file."""
    options = ["--lora", "turbo"] if way == TURBO else ["--steps", str(WAYS[way].get("steps", 20))]
    named = [] if model is None else ["--model", str(model)]
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "picture.png")
        return median(seconds([*FROMNOISE, PROMPT, *named, *options, "--force", "-o", out], runs))


def main() -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="with its turbo beside it; else the embedded model")
    parser.add_argument("--oracle", type=Path, help="the checker; else the embedded one")
    parser.add_argument("--prompts", type=int, default=50, help="a tier")
    parser.add_argument("--seeds", type=int, default=1, help="a prompt")
    parser.add_argument("--runs", type=int, default=3, help="of whole processes")
    parser.add_argument("--sheet", type=Path, help="write pictures: a row each way, by turns")
    options = parser.parse_args()

    pipe, done = load(options.model, dtype="float32"), dict[str, Result]()
    for way, fields in WAYS.items():
        if way == TURBO:
            pipe.attach("turbo")
        done[way] = measure(pipe, fields, options.prompts, options.seeds, options.oracle)
    print(
        f"{processor()}, {torch.get_num_threads()} threads, {platform.system()}, torch {torch.__version__},"
    )
    print(
        f"commit {commit()}, {datetime.now(UTC).date()}; {options.prompts} prompts x {options.seeds} seeds\n"
    )
    print(f"| | {' | '.join(done)} |\n|---|{'---|' * len(done)}")
    for tier in OVERALL:
        cells = " | ".join(str(result.report.headline(tier)) for result in done.values())
        print(f"| {TIERS[tier].number} {tier} | {cells} |")
    means = " | ".join(f"{100 * (result.report.overall() or 0):.1f}" for result in done.values())
    print(f"| mean | {means} |")
    print(f"| seconds a picture | {' | '.join(f'{median(r.seconds):.2f}' for r in done.values())} |")
    waits = " | ".join(f"{whole_process(options.model, way, options.runs):.2f}" for way in done)
    print(f"| seconds, whole process | {waits} |\n")
    gap, half = difference(done[TURBO].report, done[GUIDED].report)
    print(f"turbo - guided: {gap:+.1f} ± {half:.1f} points (95 %, picture by picture)")
    if options.sheet:
        columns = 2 * SHOWN
        pages = [torch.cat(done[way].shown).split(columns) for way in (GUIDED, TURBO)]
        save_sheet(
            torch.cat([row for rows in zip(*pages, strict=True) for row in rows]), options.sheet, columns
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
