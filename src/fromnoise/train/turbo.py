"""Stage: a small adapter learns to go in few strides, unguided, where the guided U-Net goes in many steps.

Source: Salimans & Ho 2022 (arXiv:2202.00512): a stride learns from the steps that it replaces; Meng et al.
2023 (arXiv:2210.03142): and from their guidance. Theirs halve the steps again and again, each student the
next one's teacher; here the guided U-Net itself stays the teacher, so that errors do not add up. And the
student walks from pure noise by its own strides, and learns at every place on its way: there it will draw.
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
from fromnoise.train.device import autocast, device_of, onto
from fromnoise.train.pool import batch_at, divided
from fromnoise.train.recipe import Recipe
from fromnoise.train.sheet import save_sheet
from fromnoise.train.state import generator

LOOKED_AT: Final = 64  # captions that are held out
FLOW_TIME: Final = 1000  # the U-Net's own units of time

Velocity = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""(z, t, cond) -> the direction from picture to noise, at z = (1 - t) x0 + t eps."""


@dataclass(frozen=True, kw_only=True)
class TurboRecipe(Recipe):
    """How a turbo adapter is trained; `batch` counts walks from noise to picture, a lesson each stride."""

    rank: int = 10
    guidance: float = 3.0  # the teacher's
    strides: int = 4
    teacher_steps: int = 4  # for one stride


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
        self.teacher = unet.to(self.device).eval().requires_grad_(False)
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
            said = self.unguided(z, z.new_full((len(z),), t), cond)
            losses.append(F.mse_loss(said, self.lesson(z, t, end, cond)))
            z = (z - (t - end) * said).detach()
        figures = {f"stride_{k}": loss.item() for k, loss in enumerate(losses, 1)}
        return torch.stack(losses).mean(), figures

    def lesson(self, z: Tensor, t: float, end: float, cond: Conditioning) -> Tensor:
        """The velocity that leads in one stride from t to `end` where the teacher goes in several steps."""
        count = self.recipe.teacher_steps
        times = [t + (end - t) * k / count for k in range(count + 1)]
        return (z - self.walk(self.guided, z, times, cond)) / (t - end)

    @torch.no_grad()
    def walk(self, velocity: Velocity, z: Tensor, times: Sequence[float], cond: Conditioning) -> Tensor:
        """Euler's straight strides: what the sampler `euler` does, for z instead of x."""
        for t, end in pairwise(times):
            z = z - (t - end) * velocity(z, z.new_full((len(z),), t), cond)
        return z

    def unguided(self, z: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """The student."""
        with autocast(self.device):
            return self.student(z, FLOW_TIME * t, cond.context, cond.pooled).float()

    @torch.no_grad()
    def guided(self, z: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """The teacher."""
        both = self.silence.expand(len(z)).cat(cond)
        with autocast(self.device):
            silent, told = self.teacher(z, FLOW_TIME * t, both.context, both.pooled).float().chunk(2)
        return torch.lerp(silent, told, self.recipe.guidance)

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
        return Conditioning(read.context.float(), read.pooled.float())

    # --- judging itself ---

    def look(self, folder: Path, step: int) -> dict[str, float]:
        """How far from the teacher the student ends, from the same noise; leaves a sheet of both."""
        noise, cond, right = self._example
        strides = self.times(self.recipe.strides)
        figures = {"apart": F.mse_loss(self.walk(self.unguided, noise, strides, cond), right).item()}
        figures["untaught"] = self._untaught
        save_sheet(self.draw(self.prompts), folder / f"sheet-{step:06d}.png", columns=8)
        return figures

    @cached_property
    def _example(self) -> tuple[Tensor, Conditioning, Tensor]:
        """Noise, captions that are held out, and where the teacher gets."""
        index = self.held_out[:LOOKED_AT]
        noise, cond = self._noise(len(index)), self._read(self.tokens[index, 0])
        return noise, cond, self.walk(self.guided, noise, self.many, cond)

    @cached_property
    def _untaught(self) -> float:
        """How far the teacher itself gets in so few steps."""
        noise, cond, right = self._example
        few = self.walk(self.guided, noise, self.times(self.recipe.strides), cond)
        return F.mse_loss(few, right).item()

    @property
    def many(self) -> list[float]:
        """The teacher's times."""
        return self.times(self.recipe.strides * self.recipe.teacher_steps)

    def _noise(self, count: int) -> Tensor:
        return PerImageNoise(tuple(range(count))).draw(torch.empty(count, *self.shape, device=self.device))

    def draw(self, prompts: Sequence[str]) -> Tensor:
        """Pictures in [-1, 1], from the same noise: all of the student's, then all of the teacher's."""
        noise, cond = self._noise(len(prompts)), self._read(self.encode(prompts))
        quick = self.walk(self.unguided, noise, self.times(self.recipe.strides), cond)
        latents = torch.cat([quick, self.walk(self.guided, noise, self.many, cond)])
        with torch.no_grad(), autocast(self.device):
            return self.decoder(unscale_latents(self.spec.vae, latents)).float().clamp(-1, 1)
