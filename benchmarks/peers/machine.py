"""What this machine can do at most, and what the networks need: a limit, to stand beside what was measured.

python -m benchmarks.peers.machine JOB RESULT
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peers.job import NUMBERS, Job
from benchmarks.peers.question import questions
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import SD15

SIDE: Final = 4096  # of the matrices
WIDTHS: Final = ((320, 64), (640, 32), (1280, 16))  # channels and pixels of the U-Net's 3x3 convolutions
TRIES: Final = 5
CONVOLUTION: Final = "convolution"


# --- peaks ---


def fastest(work: Callable[[], object]) -> float:
    """Seconds of the best of several tries, after two."""
    times: list[float] = []
    for _ in range(2 + TRIES):
        began = perf_counter()
        work()
        times.append(perf_counter() - began)
    return min(times[2:])


def matmul(dtype: torch.dtype) -> float:
    """FLOP a second of one large product."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / fastest(lambda: a @ b)


def convolution(dtype: torch.dtype) -> float:
    """FLOP a second of the best of the U-Net's own 3x3 convolutions, in either order of memory."""
    rates: list[float] = []
    for channels, side in WIDTHS:
        flops = 2 * 2 * channels**2 * 9 * side**2
        for order in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(2, channels, side, side).to(dtype, memory_format=order)
            weight = torch.randn(channels, channels, 3, 3).to(dtype, memory_format=order)
            rates.append(flops / fastest(partial(F.conv2d, x, weight, padding=1)))
    return max(rates)


def int8_convolution() -> float:
    """The same with bytes: oneDNN's quantised convolution, weights packed before."""
    torch.backends.quantized.engine = "onednn"
    rates: list[float] = []
    for channels, side in WIDTHS:
        x = torch.quantize_per_tensor(torch.randn(2, channels, side, side), 0.03, 64, torch.quint8)
        x = x.to(memory_format=torch.channels_last)
        scales, zeros = torch.full((channels,), 0.01).double(), torch.zeros(channels, dtype=torch.long)
        weight = torch.randn(channels, channels, 3, 3)
        weight = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.conv2d_prepack(weight, torch.zeros(channels), [1, 1], [1, 1], [1, 1], 1)
        flops = 2 * 2 * channels**2 * 9 * side**2
        rates.append(flops / fastest(partial(torch.ops.quantized.conv2d, x, packed, 0.05, 64)))
    return max(rates)


def peaks(number: str) -> dict[str, float]:
    """FLOP a second."""
    dtype = getattr(torch, NUMBERS[number])
    with torch.inference_mode():
        return {
            f"{number} matmul": matmul(dtype),
            f"{number} conv": convolution(dtype),
            "int8 conv": int8_convolution(),
        }


# --- needs ---


def counted(network: torch.nn.Module, *inputs: torch.Tensor) -> dict[str, float]:
    """FLOPs of the convolutions, and of all other products."""
    counter: Any = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    kinds = counter.get_flop_counts()["Global"]
    convolved = sum(flops for kind, flops in kinds.items() if CONVOLUTION in str(kind))
    return {"conv": convolved, "matmul": counter.get_total_flops() - convolved}


def needs(size: int) -> dict[str, dict[str, float]]:
    """Of a guided step, and of decoding; nothing is calculated."""
    ask = next(questions(size))
    with torch.device("meta"):
        unet, decoder = UNet(SD15.unet), Decoder(SD15.vae)
    latents, times, context = (tensor.to("meta") for tensor in (ask.latents, ask.times, ask.context))
    return {"step": counted(unet, latents, times, context), "decode": counted(decoder, latents[:1])}


def main() -> None:
    """Write both as JSON."""
    job, result = Job.read(Path(sys.argv[1])), Path(sys.argv[2])
    torch.set_num_threads(job.threads)
    result.write_text(
        json.dumps({"peaks": peaks(job.number), "flops": needs(job.size), "torch": torch.__version__})
    )


if __name__ == "__main__":
    main()
