"""What our plain networks answer in float32: the truth that every system is compared with.

python -m benchmarks.peers.reference JOB
"""

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.peers.job import GUIDANCE, PROMPT, SHORT, Job
from benchmarks.peers.question import questions, walk


@torch.inference_mode()
def write(job: Job) -> None:
    """One answer of the U-Net; the latents of a short drawing, and its pixels."""
    from fromnoise.loading import load  # here, since peers read what is written, and need no pipeline

    pipe = load(job.single, dtype="float32", engine="plain", prediction="eps")
    ask = next(questions(job.size))
    noise = pipe.unet(ask.latents, ask.times, ask.context)
    latents = walk(pipe.unet, context_of(pipe), SHORT, job.size)
    found = {"noise": noise, "latents": latents, "pixels": pipe.decoder(latents)}
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, job.reference)


def context_of(pipe: Any) -> Tensor:
    """No prompt and the prompt, as the U-Net reads them."""
    from fromnoise.request import GenerateRequest

    reading = pipe.read(pipe.settled(GenerateRequest.of(PROMPT, guidance=GUIDANCE)))
    return reading.uncond.cat(reading.cond).context


def read(job: Job) -> dict[str, Tensor]:
    """What `write` wrote."""
    return load_file(job.reference)


if __name__ == "__main__":
    write(Job.read(Path(sys.argv[1])))
