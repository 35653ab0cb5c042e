"""A step of LoRA training on a model of SD 1.5's shape: 512x512, batch 1, on whatever this machine has.

The network, the objective and the optimiser are those of `fromnoise train lora`, without averages, saves and
sheets; latents and captions are random.
The published baseline is kohya's trainer on a desktop's processor: 3.4 s a step and 9 GB
(https://github.com/bmaltais/kohya_ss/issues/2632).

python benchmarks/training_lora.py MODEL [--steps 4] [--rank 16] [--low-memory] [--size 512]
"""

import platform
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from run import commit, processor

import fromnoise as fn
from fromnoise.cli.train_own import memory
from fromnoise.engine.memory import kept_memory
from fromnoise.engine.precision import native_dtype
from fromnoise.reading import Facts
from fromnoise.train.own import Wishes
from fromnoise.train.own.learners import lora_learner
from fromnoise.train.own.memory import forget_between, lay_out, remember_no_weights
from fromnoise.train.own.objective import MIN_SNR, times_for, weights_for
from fromnoise.train.recipe import Recipe

SECONDS, GIGABYTES = 3.4, 9.0


def main() -> None:
    """Take some steps, and print what each took."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--steps", type=int, default=4, help="measured, after one that is not")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--low-memory", action="store_true")
    asked = parser.parse_args()
    pipe = fn.load(asked.model, engine="plain")
    learner = lora_learner(pipe, Wishes(kind="lora", rank=asked.rank))
    remember_no_weights(pipe.unet)
    if asked.low_memory:
        forget_between(pipe.unet)
    else:
        lay_out(pipe.unet)
    optimiser = torch.optim.AdamW(learner.modules.parameters(), lr=1e-4, betas=Recipe.betas, fused=True)
    side = asked.size // pipe.spec.vae.factor
    chance, size = torch.Generator().manual_seed(0), (asked.size, asked.size)
    mixed, process, taken = native_dtype(pipe.device) is torch.bfloat16, pipe.process, list[float]()
    print(f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, torch {torch.__version__}, {processor()}")
    print(f"Python {platform.python_version()}, {learner.count:,} numbers learn, {pipe.dtype}", flush=True)
    with kept_memory():
        for step in range(asked.steps + 1):
            x0 = torch.randn(1, pipe.spec.vae.latent_channels, side, side, generator=chance)
            eps, t = torch.randn(x0.shape, generator=chance), times_for(process, 1, chance)
            began = perf_counter()
            cond = learner.read([f"a caption of step {step}"], [Facts(size, size)])
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                noisy = process.noised(x0, eps, t).to(pipe.dtype)
                told = process.schedule.told(process.schedule.sigma_of(t)).float()
                answer = pipe.unet(noisy, told, cond.context, cond.pooled).float()
            error = (answer - process.target(x0, eps, t)).square().mean((1, 2, 3))
            (error * weights_for(process, t, MIN_SNR)).mean().backward()
            torch.nn.utils.clip_grad_norm_(learner.modules.parameters(), Recipe.clip)
            optimiser.step()
            optimiser.zero_grad()
            taken.append(perf_counter() - began)
            print(f"step {step}: {taken[-1]:.2f} s", flush=True)
    print(f"{median(taken[1:]):.2f} s a step (baseline {SECONDS}){memory()} (baseline {GIGABYTES:.0f})")


if __name__ == "__main__":
    main()
