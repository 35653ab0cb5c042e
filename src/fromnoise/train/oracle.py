"""Stage: the oracle, which names what stands where. It checks pictures, and tells how alike two look."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.errors import RequestError
from fromnoise.nets.oracle import Oracle, Sighting
from fromnoise.specs import OracleSpec
from fromnoise.train.device import autocast, device_of, onto
from fromnoise.train.pool import Pool, batch_at, divided
from fromnoise.train.recipe import Recipe
from fromnoise.train.state import generator

NOTHING_WEIGHT = 0.3  # most places hold nothing; they should not drown the things


class OracleTask:
    """Learn every label of the pool from its pictures, blurred and noisy ones included."""

    name = "oracle"

    def __init__(self, spec: OracleSpec, pool: Pool, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        oracle: Any = Oracle(spec)
        self.device = device_of(recipe)
        self.modules: Oracle = oracle.to(self.device, memory_format=torch.channels_last)
        self.pool, self.batch, self.seed = pool, recipe.batch, recipe.seed
        self.trained_on, self.held_out = divided(len(pool), recipe.held_out)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of all heads."""
        index = batch_at(step, self.batch, self.trained_on, self.seed)
        (pixels,) = onto(self.device, spoil(self.pool.pictures(index), generator(self.seed, 2, step)))
        with autocast(self.device):
            seen: Sighting = self.modules(pixels.contiguous(memory_format=torch.channels_last))
        losses = self._losses(seen, index)
        return torch.stack(list(losses.values())).sum(), {k: v.item() for k, v in losses.items()}

    def _losses(self, seen: Sighting, index: Tensor) -> dict[str, Tensor]:
        losses = {
            "kinds": _places(seen.kinds, self._so(self.pool.kinds, index)),
            "colours": _places(seen.colours, self._so(self.pool.colours, index)),
            "setting": 0.3 * F.cross_entropy(seen.setting.float(), self._so(self.pool.setting, index)),
            "time": 0.3 * F.cross_entropy(seen.time.float(), self._so(self.pool.time, index)),
        }
        if seen.textures is not None:
            losses["textures"] = _places(seen.textures, self._textures(index))
        for name, logits, labels in self._looks(seen, index):
            losses[name] = 0.3 * F.cross_entropy(logits.float(), labels)
        return losses

    def _looks(self, seen: Sighting, index: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Weather and style, of an oracle that tells them, with what is so."""
        if seen.weather is not None:
            yield "weather", seen.weather, self._so(self.pool.weather, index)
        if seen.style is not None:
            yield "style", seen.style, self._so(self.pool.style, index)

    def _so(self, labels: Tensor, index: Tensor) -> Tensor:
        """What is true of some scenes."""
        (true,) = onto(self.device, labels[index])
        return true

    def _textures(self, index: Tensor) -> Tensor:
        """Shapes: (B,) -> (B, S/4, S/4)  Raises: RequestError if the pool was made without"""
        if self.pool.textures is None:
            raise RequestError(
                {"pool": "this oracle is to learn textures, and the pool tells of none"},
                hint="say which world at every stage: --world",
            )
        return self._so(self.pool.textures, index)

    def look(self, folder: Path, step: int) -> dict[str, float]:
        """Shares of places and pictures that are named right, on pictures that were never trained on."""
        index = self.held_out
        seen: Sighting = self.modules(*onto(self.device, self.pool.pictures(index)))
        kinds, colours = self._so(self.pool.kinds, index), self._so(self.pool.colours, index)
        setting, time = self._so(self.pool.setting, index), self._so(self.pool.time, index)
        thing = kinds > 0
        right = {
            "kind_right": (seen.kinds.argmax(1) == kinds)[thing].float().mean().item(),
            "nothing_right": (seen.kinds.argmax(1) == kinds)[~thing].float().mean().item(),
            "colour_right": (seen.colours.argmax(1) == colours)[thing].float().mean().item(),
            "setting_right": (seen.setting.argmax(1) == setting).float().mean().item(),
            "time_right": (seen.time.argmax(1) == time).float().mean().item(),
        }
        if seen.textures is not None:
            same = seen.textures.argmax(1) == self._textures(index)
            right["texture_right"] = same[thing].float().mean().item()
        for name, logits, labels in self._looks(seen, index):
            right[f"{name}_right"] = (logits.argmax(1) == labels).float().mean().item()
        return right


def _places(logits: Tensor, labels: Tensor) -> Tensor:
    weight = torch.ones(logits.shape[1], device=logits.device)
    weight[0] = NOTHING_WEIGHT
    return F.cross_entropy(logits.float(), labels.long(), weight=weight)


def spoil(pixels: Tensor, chance: torch.Generator) -> Tensor:
    """Make some pictures of a batch soft, some noisy: the oracle must also read what a young model draws."""
    soft = F.interpolate(F.avg_pool2d(pixels, 2), scale_factor=2, mode="bilinear")
    strength = torch.rand(len(pixels), 2, 1, 1, 1, generator=chance)
    pixels = torch.where(strength[:, 0] < 0.3, soft, pixels)
    noise = torch.randn(pixels.shape, generator=chance)
    return pixels + 0.1 * (strength[:, 1] - 0.5).clamp_min(0) * noise
