"""Which defaults a model should draw with: the checker's tiers at several guidances and shifts of the times.

The prompts are not those of the model card (another seed), so that what is chosen here is not measured there
on the prompts it was chosen by.

python -m benchmarks.settings [--model FILE] [--guidance 3 4.5] [--shift 1 2] [--prompts 30]
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Final

from benchmarks.run import commit, processor
from fromnoise.cli.score_parts import drawing
from fromnoise.pipeline import Pipeline
from fromnoise.request import GenerateRequest
from fromnoise.score import Report, Settings, Tier, load_oracle, make_tiers, score
from fromnoise.weights.model_loader import FOLDER, MODEL_FILE
from fromnoise.weights.native import Parts, load_native

JUDGED: Final = ("two", "count", "position", "attribution")  # where a picture is still likely to be wrong
SEED: Final = 0  # of prompts; the card's is 1


def shares(parts: Parts, tiers: Sequence[Tier], guidance: float, shift: float) -> list[float]:
    """Of each tier's pictures, per cent that show what they should."""
    spec = replace(parts.spec, schedule=replace(parts.spec.schedule, shift=shift))
    draw = drawing(Pipeline.of(replace(parts, spec=spec)), GenerateRequest(prompt="", guidance=guidance))
    settings = Settings(seeds_per_prompt=1, size=spec.defaults.width)
    *_, report = score(draw, load_oracle(None, "cpu"), tiers, settings)
    assert isinstance(report, Report)
    return [100 * report.headline(tier.name).value for tier in tiers]


def main() -> None:
    """Print a row for each pair of settings."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=FOLDER / MODEL_FILE)
    parser.add_argument("--guidance", type=float, nargs="+", default=[3.0, 4.5])
    parser.add_argument("--shift", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--prompts", type=int, default=30)
    asked = parser.parse_args()
    parts, tiers = load_native(asked.model), make_tiers(JUDGED, asked.prompts, 0, SEED)
    print(f"{asked.prompts} pictures a tier, model {parts.sha256[:8]}, commit {commit()}, {processor()}\n")
    print(f"| guidance | shift | {' | '.join(JUDGED)} | mean |")
    print("|---" * (3 + len(JUDGED)) + "|")
    for guidance, shift in product(asked.guidance, asked.shift):
        found = shares(parts, tiers, guidance, shift)
        row = (f"{guidance:g}", f"{shift:g}", *(f"{share:.1f}" for share in (*found, fmean(found))))
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
