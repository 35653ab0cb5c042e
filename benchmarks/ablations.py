"""What each part of the U-Net's training brings: the same short training again and again, one part changed.

RUN is a folder whose stages before the U-Net are done. Every training sees the same pictures in the same
order, begins with the same U-Net and ends with a falling rate; the checker then looks at pictures of its
averaged weights. A training that was stopped goes on; one that is done is not done again.

python -m benchmarks.ablations RUN [--pictures 51200] [--arms NAME …] [--prompts 60] [--write]
"""

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import torch
from torch import Tensor, nn

from benchmarks import shapes
from benchmarks.peers.race import ROOT
from benchmarks.run import commit, processor
from fromnoise.nets.clip import TextStates, TextTransformer
from fromnoise.score import TIERS, Report, Settings, load_oracle, make_tiers, score
from fromnoise.train.ema import Ema
from fromnoise.train.loop import Run
from fromnoise.train.presets import MITE_RUN
from fromnoise.train.recipe import Recipe
from fromnoise.train.stages import unet_task
from fromnoise.train.state import Found, prefixed, under
from fromnoise.train.unet import TIMES_LOOKED_AT, UNetTask

PAGE: Final = ROOT / "docs" / "training.md"
JUDGED: Final = ("single", "colour", "two", "attribution")
LENGTHS: Final = (0.05, 0.20)  # of averages, beside the recipe's
STEPS_DRAWN: Final = 12
FROZEN: Final = {"text": 0.0}
Figures = dict[str, float]


class Random(nn.Module):
    """A vector for each token and each place, drawn once: a text that nobody has read before.

    Source: Animadversio, DiffusionObjectRelation: such texts bound relations better than T5's
    """

    def __init__(self, like: TextTransformer) -> None:
        super().__init__()
        self.spec = like.spec
        chance = torch.Generator().manual_seed(1)
        self.tokens = nn.Embedding(like.spec.vocab, like.spec.width)
        self.tokens.weight.data.normal_(generator=chance)
        self.places = nn.Parameter(torch.randn(like.spec.context, like.spec.width, generator=chance))

    def forward(self, tokens: Tensor) -> TextStates:
        """Shapes: (B, N) -> context (B, N, width), pooled (B, width)"""
        context = self.tokens(tokens) + self.places
        is_word = (tokens != self.spec.end)[..., None]
        return TextStates(context, (context * is_word).sum(1) / is_word.sum(1).clamp_min(1))


class Both(nn.Module):
    """What CLIP says, and behind it what `Random` says."""

    def __init__(self, clip: TextTransformer) -> None:
        super().__init__()
        self.clip, self.random = clip, Random(clip)

    def forward(self, tokens: Tensor) -> TextStates:
        """Shapes: (B, N) -> context (B, 2 N, width), pooled (B, projection)"""
        read = self.clip(tokens)
        return TextStates(torch.cat([read.context, self.random(tokens).context], dim=1), read.pooled)


@dataclass(frozen=True)
class Arm:
    """What is changed."""

    recipe: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rate: float = 1.0  # times the recipe's
    text: Callable[[TextTransformer], nn.Module] = lambda clip: clip


ARMS: Final[Mapping[str, Arm]] = {
    "as it is": Arm(),
    "without pointing": Arm({"pointing": 0.0}),
    "without the meaning head": Arm({"meaning": 0.0}),
    "without both": Arm({"meaning": 0.0, "pointing": 0.0}),
    "CLIP frozen": Arm({"slower": FROZEN}),
    "CLIP frozen, no pointing": Arm({"slower": FROZEN, "pointing": 0.0}),
    "random vectors, no pointing": Arm({"slower": FROZEN, "pointing": 0.0}, text=Random),
    "CLIP and random vectors, no pointing": Arm({"slower": FROZEN, "pointing": 0.0}, text=Both),
    "a text tower that CLIP never taught": Arm(text=lambda clip: TextTransformer(clip.spec)),
    "half the rate": Arm(rate=0.5),
    "twice the rate": Arm(rate=2.0),
}


class Averaging(Run):
    """A run that keeps averages of several lengths beside the recipe's, also in its checkpoints."""

    def __init__(self, task: UNetTask, recipe: Recipe, folder: Path, lengths: Sequence[float]) -> None:
        self.others = {f"average of {length:g}": Ema(task.modules, length) for length in lengths}
        super().__init__(task, recipe, folder)

    def train_step(self) -> Figures:
        """One step, and all averages."""
        figures = super().train_step()
        for ema in self.others.values():
            ema.update(self.task.modules, self.step)
        return figures

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resume needs."""
        tensors = super().tensors()
        for name, ema in self.others.items():
            tensors |= prefixed(name, ema.averages)
        return tensors

    def resume(self, found: Found) -> None:
        """Take up a checkpoint; averages that it does not hold are given up, for they cannot be made anew."""
        super().resume(found)
        kept = {name: under(name, found.checkpoint.tensors) for name in self.others}
        for name in [name for name, averages in kept.items() if not averages]:
            print(f"  {found.path} holds no {name}: that row will be missing", flush=True)
            del self.others[name]
        for name, ema in self.others.items():
            ema.load(kept[name])


def trained(source: Path, folder: Path, arm: Arm, pictures: int, prompts: int) -> dict[str, Figures]:
    """Train one way; what is found, by the length of the average."""
    usual = MITE_RUN.unet
    steps = pictures // usual.batch
    recipe = replace(
        usual, steps=steps, lr=usual.lr * arm.rate, warmup=min(100, steps // 4), fall=0.3, **dict(arm.recipe)
    )
    recipe = replace(recipe, look_every=steps + 1)
    task = unet_task(source, replace(MITE_RUN, unet=recipe))
    task.modules.text = arm.text(task.modules.text)  # pyright: ignore[reportAttributeAccessIssue]
    is_plain = arm == ARMS["as it is"]
    run = Averaging(task, recipe, folder, LENGTHS if is_plain else ())
    while run.step < steps:
        run.train_step()
        if run.step % 200 == 0:
            run.save()
            print(f"  {run.step} of {steps}", flush=True)
    run.save()
    found = {"": judged(task, run, prompts)}
    for name, ema in run.others.items():
        run.ema = ema
        found[name] = judged(task, run, prompts)
    if is_plain:
        run.ema = None
        found["no average"] = judged(task, run, prompts)
    return found


def judged(task: UNetTask, run: Run, prompts: int) -> Figures:
    """Held-out losses, and shares of pictures that show what they should."""
    figures = run.look()

    def draw(texts: list[str], _seeds: list[int]) -> Tensor:
        return task.draw(texts, STEPS_DRAWN)

    with run.averaged(), torch.no_grad():
        settings = Settings(seeds_per_prompt=1, size=task.spec.defaults.width)
        *_, report = score(draw, load_oracle(None, "cpu"), make_tiers(JUDGED, prompts, 0), settings)
    assert isinstance(report, Report)
    shares = {tier: 100 * report.headline(tier).value for tier in JUDGED}
    means = {
        name: fmean(figures[f"{name}_at_{time}"] for time in TIMES_LOOKED_AT) for name in ("flow", "misled")
    }
    return means | shares


def arms_in(kept: Path) -> dict[str, Any]:
    """The arms that are done; those from before it was noted how they were made are figures alone."""
    arms: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    return {name: arm if "figures" in arm else {"figures": arm} for name, arm in arms.items()}


def made(prompts: int, code: str) -> dict[str, Any]:
    """When, from what and where an arm is made, and how many prompts of each tier it draws."""
    return {"date": shapes.today(), "commit": code, "processor": processor(), "prompts": prompts}


def origin(arm: Mapping[str, Any]) -> str:
    """The same in words."""
    if "commit" not in arm:
        return "unknown"
    return f"{arm['date']}, commit {arm['commit']}, {arm['processor']}, {arm['prompts']} prompts a tier"


def markdown(results: Mapping[str, Any]) -> Iterator[str]:
    """The table; its caption names every origin that an arm has, once."""
    origins = "; ".join(dict.fromkeys(map(origin, results["arms"].values())))
    yield (
        f"Made: {origins}. Each from nothing, with {results['pictures']:,} pictures, and judged by one "
        "picture of each prompt."
    )
    yield ""
    yield f"| way | flow | misled | {' | '.join(f'{TIERS[tier].number} {tier} %' for tier in JUDGED)} |"
    yield f"|---|---|---|{'---|' * len(JUDGED)}"
    for name, arm in results["arms"].items():
        for other, row in arm["figures"].items():
            shares = " | ".join(f"{row[tier]:.0f}" for tier in JUDGED)
            way = ", ".join(filter(None, (name, other)))
            yield f"| {way} | {row['flow']:.4f} | {row['misled']:.3f} | {shares} |"


def main() -> None:
    """Train what is asked for, print the table, and write it if asked."""
    parser = ArgumentParser(
        prog="python -m benchmarks.ablations",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="a training's folder, with its latents")
    parser.add_argument(
        "--pictures", type=int, default=51_200, help="that each training sees; else %(default)s"
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="NAME")
    parser.add_argument("--prompts", type=int, default=60, help="of each tier; else %(default)s")
    parser.add_argument("--folder", type=Path, help="where trainings and figures go; else RUN/ablations")
    parser.add_argument("--write", action="store_true", help="put the table into docs/training.md")
    asked = parser.parse_args()
    code = commit()  # of what is loaded now, whatever is committed while it trains
    folder = asked.folder or asked.run / "ablations"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"figures-{asked.pictures}.json"
    arms = arms_in(kept)
    for name in asked.arms:
        if name not in arms:
            print(name, flush=True)
            place = folder / f"{name.replace(' ', '-').replace(',', '')}-{asked.pictures}"
            began = made(asked.prompts, code)
            figures = trained(asked.run, place, ARMS[name], asked.pictures, asked.prompts)
            arms[name] = began | {"figures": figures}
            kept.write_text(json.dumps(arms, indent=1) + "\n")
    results = {
        "pictures": asked.pictures,
        "arms": {name: arms[name] for name in ARMS if name in arms},
    }
    table = "\n".join(markdown(results))
    print(table)
    if asked.write:
        from docs.make import rewrite

        rewrite(PAGE, "ablations", table)


if __name__ == "__main__":
    main()
