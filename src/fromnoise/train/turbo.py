"""Stage: a small adapter learns to go in few strides, unguided, where the guided U-Net goes in many steps.

Source: Salimans & Ho 2022 (arXiv:2202.00512): a stride learns from the steps that it replaces; Meng et al.
2023 (arXiv:2210.03142): and from their guidance. Theirs halve the steps again and again, each student the
next one's teacher; here the guided U-Net itself stays the teacher, so that errors do not add up. And the
student walks from pure noise by its own strides, and learns at every place on its way: there it will draw.
Within a stride it steps by the rule of Adams and Bashforth (1883): twelve questions in all bring it as near
to where infinitely many would end as Euler's twenty; by midpoints, strong guidance throws it off its path.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.engine.transforms import hastened
from fromnoise.errors import SpecError
from fromnoise.nets.clip import TextStates, TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.latents import unscale_latents
from fromnoise.nets.low_rank import layers_of, with_low_rank
from fromnoise.noise.denoiser import Conditioning
from fromnoise.noise.schedule import schedule_from
from fromnoise.noise.seeds import PerImageNoise
from fromnoise.specs import ModelSpec
from fromnoise.train.device import autocast, device_of, number_of, onto
from fromnoise.train.pool import batch_at, divided
from fromnoise.train.recipe import Recipe
from fromnoise.train.sheet import save_sheet
from fromnoise.train.state import generator

LOOKED_AT: Final = 64  # captions that are held out
FLOW_TIME: Final = 1000  # the U-Net's own units of time

Velocity = Callable[[Tensor, float, float, Conditioning], Tensor]
"""(z, t, end, cond) -> the direction that leads from z = (1 - t) x0 + t eps in one stride to `end`."""


@dataclass(frozen=True, kw_only=True)
class TurboRecipe(Recipe):
    """How a turbo adapter is trained; `batch` counts walks from noise to picture, a lesson each stride."""

    rank: int = 10
    guidance: float = 3.0  # the teacher's
    strides: int = 4
    teacher_steps: int = 3  # for one stride


class Corrections(nn.ModuleDict):
    """What is learned: for each layer of the U-Net, the two factors of its correction."""

    def __init__(self, unet: UNet, rank: int, seed: int) -> None:
        every = {name.rpartition(".")[2] for name in layers_of(unet)}
        chance = torch.Generator().manual_seed(seed)
        made = with_low_rank(unet, rank, which=every, generator=chance)
        super().__init__(
            {
                name.replace(".", "-"): nn.ModuleDict({"down": each.down, "up": each.up})
                for name, each in made.items()
            }
        )


class TurboTask:
    """Guided distillation on the student's own walks from noise; text tower, U-Net and decoder are frozen."""

    name = "turbo"

    def __init__(
        self,
        spec: ModelSpec,
        unet: UNet,
        text: TextTransformer,
        decoder: Decoder,
        tokens: Tensor,
        encode: Callable[[Sequence[str]], Tensor],
        prompts: Sequence[str],
        recipe: TurboRecipe,
    ) -> None:
        if spec.prediction != "flow":
            raise SpecError(
                f"turbo is for models that predict a flow velocity; {spec.name}: {spec.prediction}"
            )
        self.spec, self.recipe, self.tokens = spec, recipe, tokens
        self.device = device_of(recipe)
        self.student = deepcopy(unet)
        self.modules = Corrections(self.student, recipe.rank, recipe.seed)
        self.student.to(self.device)
        self.teacher = hastened(unet.to(self.device, number_of(self.device)).eval().requires_grad_(False))
        self.text = text.to(self.device).eval().requires_grad_(False)
        self.decoder = decoder.to(self.device).eval().requires_grad_(False)
        self.encode, self.prompts = encode, prompts
        self.silence = self._read(encode([""]))
        self.trained_on, self.held_out = divided(len(tokens), recipe.held_out)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Squared error of every stride's velocity against where the teacher gets from the same place."""
        chance = generator(self.recipe.seed, 8, step)
        index = batch_at(step, self.recipe.batch, self.trained_on, self.recipe.seed)
        which = torch.randint(self.tokens.shape[1], index.shape, generator=chance)
        cond = self._read(self.tokens[index, which])
        (z,) = onto(self.device, torch.randn(len(index), *self.shape, generator=chance))
        losses = list[Tensor]()
        for t, end in pairwise(self.times(self.recipe.strides)):
            said = self.unguided(z, t, end, cond)
            losses.append(F.mse_loss(said, self.lesson(z, t, end, cond)))
            z = (z - (t - end) * said).detach()
        figures = {f"stride_{k}": loss.item() for k, loss in enumerate(losses, 1)}
        return torch.stack(losses).mean(), figures

    def unguided(self, z: Tensor, t: float, end: float, cond: Conditioning) -> Tensor:
        """The student's: it asks once, wherever the stride ends."""
        z = z.contiguous(memory_format=torch.channels_last)  # convolutions learn a sixth faster so
        with autocast(self.device):
            return self.student(z, z.new_full((len(z),), FLOW_TIME * t), cond.context, cond.pooled).float()

    def lesson(self, z: Tensor, t: float, end: float, cond: Conditioning) -> Tensor:
        """The teacher's: the mean of its steps, each led by an answer and half its change since the last."""
        step = (t - end) / self.recipe.teacher_steps
        there, before = z, None
        for k in range(self.recipe.teacher_steps):
            now = self.guided(there, t - k * step, end, cond)
            there = there - step * (now if before is None else now + (now - before) / 2)
            before = now
        return (z - there) / (t - end)

    @torch.no_grad()
    def guided(self, z: Tensor, t: float, end: float, cond: Conditioning) -> Tensor:
        """The teacher's first answer, with guidance."""
        both = self.silence.expand(len(z)).cat(cond)
        time = z.new_full((len(z),), FLOW_TIME * t)
        said = self.teacher(z.to(both.context.dtype), time, both.context, both.pooled).float()
        silent, told = said.chunk(2)
        return torch.lerp(silent, told, self.recipe.guidance)

    @torch.no_grad()
    def walk(self, velocity: Velocity, z: Tensor, cond: Conditioning) -> Tensor:
        """From noise to picture in a few straight strides, as the sampler `euler` goes, but for z."""
        for t, end in pairwise(self.times(self.recipe.strides)):
            z = z - (t - end) * velocity(z, t, end, cond)
        return z

    def times(self, steps: int) -> list[float]:
        """From 1 (noise) to 0 (picture), as the model's own spacing has them."""
        schedule = schedule_from(self.spec.schedule)
        sigmas = schedule.sigmas(steps, self.spec.defaults.spacing)
        times = schedule.t_of(torch.tensor(sigmas, dtype=torch.float64)) / FLOW_TIME
        return [float(time) for time in times]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one picture's latents."""
        vae, defaults = self.spec.vae, self.spec.defaults
        return vae.latent_channels, defaults.height // vae.factor, defaults.width // vae.factor

    @torch.no_grad()
    def _read(self, tokens: Tensor) -> Conditioning:
        (tokens,) = onto(self.device, tokens)
        with autocast(self.device):
            read: TextStates = self.text(tokens.long())
        number = number_of(self.device)
        return Conditioning(read.context.to(number), read.pooled.to(number))

    # --- judging itself ---

    def look(self, folder: Path, step: int) -> dict[str, float]:
        """How far from the teacher the student ends, from the same noise; leaves a sheet of both."""
        noise, cond, right = self._example
        figures = {"apart": F.mse_loss(self.walk(self.unguided, noise, cond), right).item()}
        figures["untaught"] = self._untaught
        save_sheet(self.draw(self.prompts), folder / f"sheet-{step:06d}.png", columns=8)
        return figures

    @cached_property
    def _example(self) -> tuple[Tensor, Conditioning, Tensor]:
        """Noise, captions that are held out, and where the teacher gets."""
        index = self.held_out[:LOOKED_AT]
        noise, cond = self._noise(len(index)), self._read(self.tokens[index, 0])
        return noise, cond, self.walk(self.lesson, noise, cond)

    @cached_property
    def _untaught(self) -> float:
        """How far the teacher gets if it asks only once a stride, too."""
        noise, cond, right = self._example
        return F.mse_loss(self.walk(self.guided, noise, cond), right).item()

    def _noise(self, count: int) -> Tensor:
        return PerImageNoise(tuple(range(count))).draw(torch.empty(count, *self.shape, device=self.device))

    def draw(self, prompts: Sequence[str]) -> Tensor:
        """Pictures in [-1, 1], from the same noise: all of the student's, then all of the teacher's."""
        noise, cond = self._noise(len(prompts)), self._read(self.encode(prompts))
        latents = torch.cat([self.walk(way, noise, cond) for way in (self.unguided, self.lesson)])
        with torch.no_grad(), autocast(self.device):
            return self.decoder(unscale_latents(self.spec.vae, latents)).float().clamp(-1, 1)
