"""Stage: the U-Net learns to remove noise from latents, told what the picture shows.

Source: Esser et al. 2024, sec. 3 (arXiv:2403.03206): rectified flow with logit-normal times
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.engine.precision import native_dtype
from fromnoise.nets.blocks import ResnetBlock, Transformer
from fromnoise.nets.clip import TextStates, TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.latents import unscale_latents
from fromnoise.noise.denoiser import Conditioning, Process
from fromnoise.noise.guidance import guided
from fromnoise.noise.samplers import SAMPLERS
from fromnoise.noise.seeds import PerImageNoise
from fromnoise.specs import ModelSpec
from fromnoise.train.device import autocast, device_of, onto
from fromnoise.train.pointing import Pointing, Words
from fromnoise.train.pool import batch_at, divided
from fromnoise.train.recipe import Recipe
from fromnoise.train.sheet import save_sheet
from fromnoise.train.state import generator

UNIFORM_SHARE = 0.2  # of the times; logit-normal alone starves t near 1, where the layout is decided
LATE = 0.4  # the logit-normal's mean: towards noise, for what is wrong with pictures is mostly their layout
SILENT_SHARE = 0.1  # of the captions are left empty, for classifier-free guidance
NOTHING_WEIGHT = 0.3
THING_WEIGHT = 4.0  # how much more an error within a thing counts, as long as its place is clear (t near 0)
TIMES_LOOKED_AT = (0.3, 0.6, 0.9)


@dataclass(frozen=True, kw_only=True)
class UNetRecipe(Recipe):
    """How a U-Net is trained: how much each of two side losses counts beside the error of the velocity."""

    meaning: float = 0.1
    pointing: float = 0.03


@dataclass(frozen=True)
class LatentPool:
    """Everything that the U-Net learns from, in memory.

    Shapes: latents (N, C, h, w) in the U-Net's units; tokens (N, K, n); kinds, colours (N, h, w): 0 nothing
    """

    latents: Tensor
    tokens: Tensor
    kinds: Tensor
    colours: Tensor
    silence: Tensor  # (n,), the tokens of the empty caption
    words: Words

    def __len__(self) -> int:
        return len(self.latents)


class Meaning(nn.Module):
    """A head that names, from the U-Net's features, what will stand at each place. Dropped after training.

    Source: representation alignment, Yu et al. 2024 (arXiv:2410.06940), with exact labels for the teacher
    """

    def __init__(self, width: int, kinds: int, colours: int) -> None:
        super().__init__()
        self.kinds = nn.Conv2d(width, kinds, 1)
        self.colours = nn.Conv2d(width, colours, 1)

    def loss(self, features: Tensor, kinds: Tensor, colours: Tensor) -> Tensor:
        """Cross-entropy at each place."""
        total = features.new_zeros((), dtype=torch.float32)
        for head, labels in ((self.kinds, kinds), (self.colours, colours)):
            logits = head(features).float()
            weight = torch.ones(logits.shape[1], device=logits.device)
            weight[0] = NOTHING_WEIGHT
            total = total + F.cross_entropy(logits, labels.long(), weight=weight)
        return total


class Apprentice(nn.Module):
    """The U-Net, the text tower, which learns on beside it, and the head that is dropped after training.

    Who stands left of whom decides little in CLIP's contest, and its text tower hardly tells; here it counts.
    """

    def __init__(self, unet: UNet, text: TextTransformer, meaning: Meaning) -> None:
        super().__init__()
        self.unet, self.text, self.meaning = unet, text, meaning


class UNetTask:
    """Rectified flow on cached latents; the decoder is frozen."""

    name = "unet"
    anew = ("meaning",)  # a model's file does not hold it

    def __init__(
        self,
        spec: ModelSpec,
        pool: LatentPool,
        text: TextTransformer,
        decoder: Decoder,
        encode: Callable[[Sequence[str]], Tensor],
        prompts: Sequence[str],
        recipe: UNetRecipe,
        *,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """`facts`: of which encoder and tokenizer the pool's latents and tokens are."""
        torch.manual_seed(recipe.seed)
        self.facts = facts or {}
        self.spec, self.pool, self.recipe = spec, pool, recipe
        self.device = device_of(recipe)
        self.decoder = decoder.to(self.device).eval().requires_grad_(False)
        self.encode, self.prompts = encode, prompts
        self.process = Process.of(spec)
        unet = start_quietly(UNet(spec.unet))
        kinds, colours = int(pool.kinds.max()) + 1, int(pool.colours.max()) + 1
        meaning = Meaning(spec.unet.base_width * spec.unet.multipliers[1], kinds, colours)
        self.modules = Apprentice(unet, text, meaning).to(self.device)
        if native_dtype(self.device) == torch.float32:  # or float32 convolutions arrange them at every call
            unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.trained_on, self.held_out = divided(len(pool), recipe.held_out)
        self.pointing = Pointing(unet, pool.words)
        self.features: list[Tensor] = []
        last_but_one_level = len(unet.up) - 1 - len(spec.unet.up[-1])
        unet.up[last_but_one_level].register_forward_hook(self._overhear)

    def _overhear(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        self.features.append(output)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the velocity, most of all within things, and what the two side losses say.

        Things cover an eighth of a picture: without the weight most of the gradient tells of sky and clouds.
        """
        chance = generator(self.recipe.seed, 5, step)
        index = batch_at(step, self.recipe.batch, self.trained_on, self.recipe.seed)
        which = torch.randint(self.pool.tokens.shape[1], index.shape, generator=chance)
        tokens = self.pool.tokens[index, which]
        silent = torch.rand(len(index), generator=chance) < SILENT_SHARE
        tokens = torch.where(silent[:, None], self.pool.silence, tokens)
        x0 = self.pool.latents[index].float()
        eps = torch.randn(x0.shape, generator=chance)
        t = draw_times(len(index), chance, LATE)
        x0, eps, t, tokens = onto(self.device, x0, eps, t, tokens)
        kinds, colours = onto(self.device, self.pool.kinds[index], self.pool.colours[index])
        velocity, features = self._answer(x0, eps, t, tokens)
        error = (velocity - self.process.target(x0, eps, 1000 * t)).square().mean(1)
        weight = 1 + THING_WEIGHT * (1 - t[:, None, None]) * (kinds > 0)
        flow = (error * weight).sum() / weight.sum()
        meaning = self.modules.meaning.loss(features, kinds, colours)
        pointing = self.pointing.loss(tokens, kinds, colours)
        loss = flow + self.recipe.meaning * meaning + self.recipe.pointing * pointing
        return loss, {"flow": flow.item(), "meaning": meaning.item(), "pointing": pointing.item()}

    def _answer(self, x0: Tensor, eps: Tensor, t: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        self.features.clear()
        with autocast(self.device):
            read: TextStates = self.modules.text(tokens.long())
            noisy = self.process.noised(x0, eps, 1000 * t)
            velocity: Tensor = self.modules.unet(noisy, 1000 * t, read.context, read.pooled)
            return velocity.float(), self.features.pop().float()

    def look(self, folder: Path, step: int) -> dict[str, float]:
        """Held-out loss at fixed times and noise, with the right captions and wrong ones; leaves a sheet."""
        figures: dict[str, float] = {}
        index, n = self.held_out, len(self.held_out)
        x0, tokens = self.pool.latents[index].float(), self.pool.tokens[index, 0]
        eps = torch.randn(x0.shape, generator=generator(self.recipe.seed, 6))
        x0, eps, tokens = onto(self.device, x0, eps, tokens)
        for time in TIMES_LOOKED_AT:
            t = torch.full((n,), time, device=self.device)
            right = self.process.target(x0, eps, 1000 * t)
            told = F.mse_loss(self._answer(x0, eps, t, tokens)[0], right).item()
            misled = F.mse_loss(self._answer(x0, eps, t, tokens.roll(1, 0))[0], right).item()
            figures |= {f"flow_at_{time}": told, f"misled_at_{time}": misled - told}
        save_sheet(self.draw(self.prompts), folder / f"sheet-{step:06d}.png", columns=8)
        return figures

    def draw(self, prompts: Sequence[str], steps: int = 16, guidance: float = 3.0) -> Tensor:
        """Pictures in [-1, 1] of some prompts, picture k from seed k."""
        latents = unscale_latents(self.spec.vae, self.dream(self.encode(prompts), steps, guidance))
        with torch.no_grad(), autocast(self.device):
            return self.decoder(latents).float().clamp(-1, 1)

    @torch.no_grad()
    def dream(self, tokens: Tensor, steps: int, guidance: float) -> Tensor:
        """Latents in the U-Net's units, one for each row of tokens."""
        with autocast(self.device):
            tokens, silence = onto(self.device, tokens, self.pool.silence.expand(len(tokens), -1))
            cond, uncond = self._read(tokens), self._read(silence)
            like = torch.empty(len(tokens), *self.pool.latents.shape[1:], device=self.device)
            noise = PerImageNoise(tuple(range(len(tokens))))
            sigmas = self.process.schedule.sigmas(steps, "uniform")
            x = self.process.start(noise(like, 0.0, 0.0), sigmas[0])
            denoise = guided(self.process.denoiser(self.modules.unet), cond, uncond, guidance)
            *_, last = SAMPLERS["euler"](denoise, x, sigmas, noise=noise)
        self.features.clear()
        return last.x

    def _read(self, tokens: Tensor) -> Conditioning:
        read: TextStates = self.modules.text(tokens.long())
        return Conditioning(read.context.float(), read.pooled.float())


def draw_times(count: int, chance: torch.Generator, late: float = 0.0) -> Tensor:
    """Training times in (0, 1): mostly logit-normal with this mean, some uniform."""
    logit_normal = (torch.randn(count, generator=chance) + late).sigmoid()
    uniform = torch.rand(count, generator=chance)
    return torch.where(torch.rand(count, generator=chance) < UNIFORM_SHARE, uniform, logit_normal)


def start_quietly(unet: UNet) -> UNet:
    """Let every block begin as the identity, and the whole as zero: early gradients then speak of the data.

    Source: Ho et al. 2020, app. B (arXiv:2006.11239)
    """
    for module in unet.modules():
        if isinstance(module, ResnetBlock):
            last: nn.Module = module.conv2
        elif isinstance(module, Transformer | UNet):
            last = module.leave
        else:
            continue
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
    return unet
