"""Who takes part, by the name that `--systems` knows; nothing here needs torch."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

from benchmarks.peers.job import GUIDANCE, LONG, NUMBERS, PROMPT, SEED, Job

if TYPE_CHECKING:
    from benchmarks.peers.contestant import Contestant


@dataclass(frozen=True, slots=True)
class System:
    """Where a contestant is found, and what it needs."""

    title: str  # with a place for the numbers it calculates in, where it is told
    module: str
    kind: str
    needs: tuple[str, ...] = ()  # modules, and programs
    options: tuple[str, ...] = ()  # ours alone: with which the command line draws as it was measured

    @property
    def ours(self) -> bool:
        """Or a peer?"""
        return self.module == "ours"

    def contestant(self, job: Job) -> "Contestant":
        """Make it; only a child process does."""
        return getattr(import_module(f"benchmarks.peers.{self.module}"), self.kind)(job)


SYSTEMS: Final[Mapping[str, System]] = {
    "fromnoise": System("fromnoise, {}", "ours", "Ours"),
    "fromnoise-int8": System("fromnoise, int8", "ours", "OurBytes", options=("--engine", "int8")),
    "diffusers": System("diffusers, {}", "with_diffusers", "Diffusers", ("diffusers",)),
    "compiled": System("diffusers, {}, compiled", "with_diffusers", "Compiled", ("diffusers", "g++")),
    "openvino": System("OpenVINO, {}", "with_openvino", "OpenVino", ("openvino", "diffusers")),
    "sdcpp": System("stable-diffusion.cpp", "with_ggml", "StableDiffusionCpp", ("stable_diffusion_cpp",)),
}


def our_drawing(job: Job, options: Sequence[str]) -> list[str]:
    """The command that draws a whole picture as a user of fromnoise would."""
    words = {
        "--model": job.single,
        "--prediction": "eps",
        "--size": f"{job.size}x{job.size}",
        "--steps": LONG,
        "--sampler": "euler",
        "--spacing": "linspace",
        "--guidance": GUIDANCE,
        "--seed": SEED,
        "--dtype": NUMBERS[job.number],
        "--output": job.picture,
    }
    asked = [str(word) for option in words.items() for word in option]
    return [sys.executable, "-m", "fromnoise", PROMPT, *asked, *options, "--force"]
