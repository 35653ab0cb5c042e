"""How far each way of calculating leads away from the plain networks in float32.

1. The embedded model: pictures of the same prompts and seeds, plain and through each transformation, in both
   types; and what the checker says of them, plain beside int8, picture by picture.
2. Stable Diffusion 1.5's shape with the weights of benchmarks.peers (from a seed): latents after a few guided
   steps, and the decoder's pixels. Needs 6 GB of memory; minutes, since float32 is slow.

python -m benchmarks.drift [--pictures 16] [--prompts 100] [--steps 4] [--size 512] [--folder runs/peers]
"""

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log10, sqrt
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from benchmarks.peers.job import SEED, SIZE, Job
from benchmarks.peers.question import questions, walk
from benchmarks.peers.weights import write as write_weights
from benchmarks.run import commit, processor
from fromnoise import Pipeline, load
from fromnoise.engine.int8_products import why_not
from fromnoise.engine.memory import kept_memory
from fromnoise.engine.transforms import INT8, TRANSFORMS, USUAL, hastened
from fromnoise.images.pixels import to_pixels
from fromnoise.score import SEEN, load_oracle, make_tiers
from fromnoise.score.run import verdicts
from fromnoise.weights.model_loader import load_model

ROOT: Final = Path(__file__).parents[1]
RANGE: Final = 2.0  # of pixels
BARS: Final[Mapping[torch.dtype, float]] = {torch.float32: 40.0, torch.bfloat16: 30.0}  # dB, of what is exact
TIERS: Final = ("single", "two", "count", "position", "attribution")
POINT: Final = 0.01  # that int8 may cost in the checker's eyes
ALL: Final = "all"  # tiers together
SURE: Final = 1.96  # standard deviations either way: 95 %

Names = Sequence[str]
PLAIN: Final[Names] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """Networks in one type, through these transformations."""

    title: str
    dtype: torch.dtype
    names: Names

    @property
    def bar(self) -> float | None:
        """The least that it must keep; int8 is judged by the checker instead.  Units: dB"""
        return None if INT8 in self.names else BARS[self.dtype]

    def fast(self, network: nn.Module) -> nn.Module:
        """The network as this way has it."""
        return hastened(network, self.names)


def ways() -> Iterator[Way]:
    """The exact answer first."""
    for dtype, short in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
        yield Way(f"plain, {short}", dtype, PLAIN)
        for name in USUAL:
            yield Way(f"{name}, {short}", dtype, (name,))
        yield Way(f"all of these, {short}", dtype, USUAL)
        if not why_not():
            yield Way(f"int8, {short}", dtype, tuple(TRANSFORMS))


def psnr(errors: Sequence[float], span: float) -> float:
    """Of the mean of mean squares; infinite where nothing differs.  Units: dB"""
    mean = sum(errors) / len(errors)
    return 10 * log10(span**2 / mean) if mean else float("inf")


# --- the embedded model ---


def drawing(way: Way) -> Callable[[str, int], Tensor]:
    """What draws a prompt from a seed: pixels in [-1, 1]."""
    pipe = through(load(dtype=str(way.dtype).removeprefix("torch."), engine="plain"), way)
    return lambda prompt, seed: to_pixels(pipe(prompt, seed=seed).pictures[0])


def through(pipe: Pipeline, way: Way) -> Pipeline:
    """The pipeline with its networks made fast in this way."""
    vars(pipe).update(_fast_unet=way.fast(pipe.unet), _fast_decoder=way.fast(pipe.decoder))
    return pipe


def embedded(pictures: int) -> Iterator[list[str]]:
    """A row for each way: PSNR of all pictures, and of the worst, to plain float32."""
    prompts = [
        prompt.text for tier in make_tiers(TIERS, max(2, pictures), 0) for prompt in tier.prompts[SEEN]
    ]
    chosen = prompts[:: len(TIERS)][:pictures]
    exact: list[Tensor] = []
    for way in ways():
        draw = drawing(way)
        found = [draw(prompt, seed) for seed, prompt in enumerate(chosen)]
        exact = exact or found
        errors = [float((a - b).square().mean()) for a, b in zip(found, exact, strict=True)]
        all_of_them = psnr(errors, RANGE)
        verdict = "–" if way.bar is None else f"{way.bar:.0f} {'ok' if all_of_them >= way.bar else 'MISSED'}"
        yield [way.title, f"{all_of_them:.1f}", f"{psnr([max(errors)], RANGE):.1f}", verdict]


# --- the checker ---


def judged(prompts: int) -> Iterator[list[str]]:
    """A row for each tier and for all of them: pictures that are right in every part, plain and int8."""
    reader = load_oracle()
    plain, quick = drawing(Way("", torch.float32, PLAIN)), drawing(Way("", torch.float32, tuple(TRANSFORMS)))
    both: list[tuple[bool, bool]] = []
    for tier in make_tiers(TIERS, prompts, 0):
        asked = tier.prompts[SEEN]
        answers: defaultdict[str, list[bool]] = defaultdict(list)
        for name, draw in (("plain", plain), (INT8, quick)):
            pixels = torch.cat([draw(prompt.text, seed) for seed, prompt in enumerate(asked)])
            for verdict in verdicts(asked, reader(pixels)):
                parts = [right for part, right in verdict.asked().items() if part in tier.parts]
                answers[name].append(all(parts))
        pairs = list(zip(answers["plain"], answers[INT8], strict=True))
        both += pairs
        yield compared(tier.name, pairs)
    yield compared(ALL, both)


def compared(title: str, pairs: Sequence[tuple[bool, bool]]) -> list[str]:
    """Shares, and their difference with its 95 % interval; of the same prompts and seeds."""
    of = len(pairs)
    plain, quick = (100 * sum(pair[k] for pair in pairs) / of for k in (0, 1))
    changes = [int(after) - int(before) for before, after in pairs]
    mean = sum(changes) / of
    half = SURE * sqrt(sum((change - mean) ** 2 for change in changes) / of / of)
    spread = f"{100 * mean:+.2f} ± {100 * half:.2f}"
    if title == ALL:  # one tier has too few pictures to tell
        spread += " ok" if abs(mean) <= POINT else " MISSED"
    return [title, f"{of}", f"{plain:.1f}", f"{quick:.1f}", f"{sum(map(abs, changes))}", spread]


# --- Stable Diffusion 1.5's shape ---


@torch.inference_mode()
def of_shape(job: Job, steps: int) -> Iterator[list[str]]:
    """A row for each way: latents after so many guided steps, and the decoder's pixels, to plain float32."""
    write_weights(job)
    context = next(questions(job.size)).context
    exact: dict[str, Tensor] = {}
    kept = [way for way in ways() if way.names in (PLAIN, USUAL, tuple(TRANSFORMS))]
    for way in kept:
        parts = load_model(job.single, dtype=way.dtype, prediction="eps", shelved=True)
        unet, decoder = way.fast(parts.unet), way.fast(parts.decoder)

        def predict(latents: Tensor, times: Tensor, text: Tensor, unet: nn.Module = unet) -> Tensor:
            dtype = next(unet.parameters()).dtype
            return unet(latents[:1].to(dtype), times[:1], text.to(dtype))

        with kept_memory():
            latents = walk(predict, context, steps, job.size)
            seen = exact.get("latents", latents)  # all decoders are shown the same
            pixels = decoder(seen.to(way.dtype)).float()
        exact = exact or {"latents": latents, "pixels": pixels}
        yield [way.title, *(against(exact[k], v) for k, v in (("latents", latents), ("pixels", pixels)))]


def against(exact: Tensor, found: Tensor) -> str:
    """PSNR over the exact answer's own range."""
    return f"{psnr([float((found - exact).square().mean())], float(exact.max() - exact.min())):.1f}"


# --- telling ---


def tell(title: str, heads: Sequence[str], rows: Iterator[list[str]]) -> None:
    """A table, a row as soon as it is known."""
    print(f"\n{title}\n")
    for row in (heads, ["---"] * len(heads)):
        print(f"| {' | '.join(row)} |")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def arguments() -> Namespace:
    """What the command line says."""
    parser = ArgumentParser(
        prog="python -m benchmarks.drift", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=16, help="of the embedded model; else %(default)s")
    parser.add_argument("--prompts", type=int, default=100, help="of each tier; else %(default)s, 0 for none")
    parser.add_argument(
        "--steps", type=int, default=4, help="of SD 1.5's shape; else %(default)s, 0 for none"
    )
    parser.add_argument("--size", type=int, default=SIZE, help="pixels along a side; else %(default)s")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "peers", help="for weights")
    return parser.parse_args()


def main() -> None:
    """Draw, compare, print."""
    asked = arguments()
    torch.set_num_threads(asked.threads)
    print(f"commit {commit()}, {processor()}, {asked.threads} threads, torch {torch.__version__}")
    if lacking := why_not():
        print(f"no int8: {lacking}", file=sys.stderr)
    if asked.pictures:
        title = f"The embedded model, {asked.pictures} pictures, beside plain float32"
        tell(title, ("way", "PSNR dB", "worst picture", "bar"), embedded(asked.pictures))
    if asked.prompts and not lacking:
        heads = ("tier", "pictures", "plain %", "int8 %", "changed", "difference, points")
        tell("What the checker finds right in every part, float32", heads, judged(asked.prompts))
    if asked.steps:
        title = f"SD 1.5's shape, weights from seed {SEED}, {asked.size} pixels, {asked.steps} guided steps"
        job = Job(asked.folder.resolve(), asked.size)
        tell(title, ("way", "latents PSNR dB", "decoder PSNR dB"), of_shape(job, asked.steps))


if __name__ == "__main__":
    main()
