"""Where words look: a word for a thing or a colour is to be read where the picture shows it, not elsewhere.

Source: Wang et al. 2024, TokenCompose, eq. 4 (arXiv:2312.03626), with exact masks, and with colours too
"""

from dataclasses import dataclass
from math import isqrt
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.nets.blocks import TransformerBlock
from fromnoise.nets.diffusion import UNet
from fromnoise.text import Tokenizer
from fromnoise.world import words_for
from fromnoise.world.render import COLOUR_NUMBER, KIND_NUMBER


@dataclass(frozen=True)
class Words:
    """Which tokens stand for which thing or colour.

    Shapes: kinds, colours (vocabulary,)
    Units:  numbers of label maps; 0 for all other tokens
    """

    kinds: Tensor
    colours: Tensor

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """Phrases of several tokens are left out: no single one of them is the thing."""
        kinds, colours = torch.zeros(2, tokenizer.size, dtype=torch.uint8)
        for table, numbers, names in (
            (kinds, KIND_NUMBER, words_for("kind")),
            (colours, COLOUR_NUMBER, words_for("colour")),
        ):
            for phrase, word in names.items():
                first, *rest = tokenizer.encode(phrase)
                if not rest:
                    table[first] = numbers[word]
        return cls(kinds, colours)

    def shown(self, tokens: Tensor, kinds: Tensor, colours: Tensor) -> Tensor:
        """Where a picture shows what each token stands for.

        Shapes: (B, n), (B, h, w), (B, h, w) -> (B, n, h, w), of 0 and 1
        """
        told = torch.zeros((), device=tokens.device)
        for table, labels in ((self.kinds, kinds), (self.colours, colours)):
            number = table.to(tokens.device)[tokens.long()][..., None, None]
            told = told + ((number == labels[:, None]) & (number > 0))
        return told


class Pointing:
    """Overhears the cross-attention of a U-Net that learns, and tells how far it looks past what is named."""

    def __init__(self, unet: UNet, words: Words) -> None:
        self.words = words
        self.looks: list[Tensor] = []  # a cross-attention each: (B, places, n), its heads' mean
        for module in unet.modules():
            if isinstance(module, TransformerBlock):
                module.cross_attention.attend = self._attend

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> Tensor:
        looks = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(-1)
        if torch.is_grad_enabled():
            self.looks.append(looks.float().mean(1))
        return looks.to(v.dtype) @ v

    def loss(self, tokens: Tensor, kinds: Tensor, colours: Tensor) -> Tensor:
        """The share of each such word's attention that falls beside what it names, squared.

        Shapes: (B, n), (B, h, w), (B, h, w) -> ()
        """
        looks, self.looks = self.looks, []
        shown = self.words.shown(tokens, kinds, colours)
        losses: list[Tensor] = []
        for look in looks:
            coarser = isqrt(kinds[0].numel() // look.shape[1])
            here = F.max_pool2d(shown, coarser).flatten(2).transpose(1, 2)  # (B, places, n)
            look = look[..., : here.shape[-1]]  # a context may say more than its tokens
            beside = 1 - (look * here).sum(1) / look.sum(1).clamp_min(1e-6)
            visible = here.amax(1)
            losses.append((beside.square() * visible).sum() / visible.sum().clamp_min(1))
        return torch.stack(losses).mean()
