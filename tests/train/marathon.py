"""A task small enough to be killed and resumed a hundred times; as a script, it does that to itself."""

import os
import signal
import sys
import time
from pathlib import Path
from random import Random
from traceback import print_exc

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.train.loop import fit
from fromnoise.train.recipe import Recipe
from fromnoise.train.state import generator

RECIPE = Recipe(steps=200, batch=4, lr=0.05, warmup=5, held_out=0, save_every=0.0, look_every=25)
FIRST_PATIENCE, MORE = 0.06, 1.1  # seconds before a kill at most, and how that grows


class Line:
    """Learn a linear map from noise: every step has data of its own."""

    name = "line"

    def __init__(self, seed: int = 0, inside: int = 4) -> None:
        torch.manual_seed(seed)
        self.modules = nn.Linear(inside, 3)
        self.inside = inside
        self.truth = torch.randn(3, inside)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(4, self.inside, generator=generator(0, step))
        return F.mse_loss(self.modules(x), x @ self.truth.T), {"step": float(step)}

    def look(self, folder: Path, step: int) -> dict[str, float]:
        return {"weight": self.modules.weight.sum().item()}


def train(folder: Path) -> None:
    for _ in fit(Line(), RECIPE, folder, report_every=5):
        pass


def child(folder: Path) -> int:
    process = os.fork()
    if process == 0:
        code = 1
        try:
            train(folder)
            code = 0
        except Exception:
            print_exc()
        finally:
            os._exit(code)
    return process


def main(folder: Path, seed: int) -> int:
    """Kill the training at random moments until one gets through; say how often it took."""
    torch.set_num_threads(1)  # no thread pool that a fork would lose
    torch.optim.AdamW(Line().modules.parameters())  # imports half of torch, once for all children
    chance, patience, kills = Random(seed), FIRST_PATIENCE, 0
    while True:
        process = child(folder)
        time.sleep(chance.uniform(0, patience))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if os.WIFEXITED(status):
            print(kills)
            return os.WEXITSTATUS(status)
        kills, patience = kills + 1, patience * MORE


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
