"""Stage: CLIP. A text and its picture learn to point the same way; the text tower then conditions the U-Net.

Source: Radford et al. 2021, fig. 3 (arXiv:2103.00020)
"""

from collections.abc import Mapping
from math import log
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.nets.clip import ImageTower, TextStates, TextTransformer
from fromnoise.specs import ClipSpec, ImageTowerSpec
from fromnoise.train.device import autocast, device_of, onto
from fromnoise.train.pool import CAPTIONS, Pool, batch_at, divided
from fromnoise.train.recipe import Recipe
from fromnoise.train.state import generator

SHARPEST, FIRST = log(100.0), log(1 / 0.07)  # of the learned temperature; Source: sec. 2.5


class TwoTowers(nn.Module):
    """A tower for texts, a tower for pictures, and how sharply their likeness is judged."""

    def __init__(self, text: ClipSpec, image: ImageTowerSpec) -> None:
        super().__init__()
        self.text, self.image = TextTransformer(text), ImageTower(image)
        for table in (self.text.tokens, self.text.positions):
            nn.init.normal_(table.weight, std=0.02)
        self.sharpness = nn.Parameter(torch.tensor(FIRST))


class ClipTask:
    """Tell which of a batch's captions belongs to which of its pictures, both ways."""

    name = "clip"

    def __init__(
        self,
        text: ClipSpec,
        image: ImageTowerSpec,
        pool: Pool,
        tokens: Tensor,
        recipe: Recipe,
        *,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        """`tokens`: (N, CAPTIONS, context), the pool's captions; `facts`: which tokenizer they are of."""
        torch.manual_seed(recipe.seed)
        self.facts = facts or {}
        self.pool, self.tokens, self.size = pool, tokens, image.size
        self.batch, self.seed = recipe.batch, recipe.seed
        self.device = device_of(recipe)
        self.modules = TwoTowers(text, image).to(self.device)
        self.trained_on, self.held_out = divided(len(pool), recipe.held_out)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Symmetric cross-entropy over the batch; equal captions do not count against each other."""
        chance = generator(self.seed, 4, step)
        index = batch_at(step, self.batch, self.trained_on, self.seed)
        tokens = self.tokens[index, torch.randint(CAPTIONS, index.shape, generator=chance)]
        tokens, pixels = onto(self.device, tokens, self.pool.pictures(index))
        with autocast(self.device):
            texts, images = self.point(tokens, pixels)
        sharpness = self.modules.sharpness.clamp(max=SHARPEST).exp()
        logits = sharpness * texts @ images.T
        right = torch.arange(len(index), device=self.device)
        twins = (tokens[:, None] == tokens[None]).all(-1) & (right[:, None] != right)
        logits = logits.masked_fill(twins, -1e4)
        loss = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
        return loss, {"found": (logits.argmax(1) == right).float().mean().item()}

    def point(self, tokens: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of texts and pictures."""
        small = F.interpolate(pixels, size=(self.size, self.size), mode="area")
        read: TextStates = self.modules.text(tokens.long())
        seen: Tensor = self.modules.image(small)
        return F.normalize(read.pooled.float(), dim=-1), F.normalize(seen.float(), dim=-1)

    def look(self, folder: Path, step: int) -> dict[str, float]:
        """How often the right one of all held-out captions is found."""
        tokens, pixels = self.tokens[self.held_out, 0], self.pool.pictures(self.held_out)
        texts, images = self.point(*onto(self.device, tokens, pixels))
        right = (texts @ images.T).argmax(1) == torch.arange(len(texts), device=self.device)
        return {"recall_at_1": right.float().mean().item()}
