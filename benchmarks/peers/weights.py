"""Weights of SD 1.5's shape from a seed, in float16: a file and a folder, written by `fromnoise convert`.

python -m benchmarks.peers.weights FOLDER
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from benchmarks.peers.job import SEED, Job
from fromnoise.specs import SD15
from fromnoise.text import Tokenizer
from fromnoise.weights.native import Parts, save_native

SIDE: Final = 16  # latents: enough to see how large an answer is
CONTRAST: Final = 0.5  # standard deviation of the pixels; that of the noise is 1


def random_parts() -> Parts:
    """Torch's own initialisation, but for the last layers: answers are as large as a trained model's."""
    torch.manual_seed(SEED)
    parts = Parts.blank(SD15, tokenizers=(Tokenizer.clip().to_json(),))
    text, x = SD15.texts[0], torch.randn(1, SD15.unet.in_channels, SIDE, SIDE)
    with torch.inference_mode():
        noise = parts.unet(x, torch.tensor([500.0]), torch.randn(1, text.context, text.width))
        scale(parts.unet.leave, noise, 1.0)
        scale(parts.decoder.leave, parts.decoder(x / SD15.vae.latent_scale), CONTRAST)
    return parts


def scale(last: nn.Conv2d, answer: Tensor, wanted: float) -> None:
    """Change a network's last layer so that its answer has the standard deviation that is wanted."""
    for tensor in last.parameters():
        tensor.mul_(wanted / float(answer.std()))


def write(job: Job) -> None:
    """Make what is not there yet."""
    targets = [path for path in (job.single, job.folder) if not path.exists()]
    native = job.home / "random.safetensors"
    if targets and not native.exists():
        job.home.mkdir(parents=True, exist_ok=True)
        save_native(random_parts(), native)
    for target in targets:
        words = ["convert", "--quiet", str(native), str(target)]
        subprocess.run([sys.executable, "-m", "fromnoise", *words], check=True, stdout=sys.stderr)
    native.unlink(missing_ok=True)


if __name__ == "__main__":
    write(Job(home=Path(sys.argv[1])))
