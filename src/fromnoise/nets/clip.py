"""CLIP: the text transformer that conditions the U-Net, and the image tower that trains it.

Source: Radford et al. 2021 (arXiv:2103.00020)
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from fromnoise.nets.attention import Attention
from fromnoise.specs import Activation, ClipSpec, ImageTowerSpec


@dataclass(frozen=True, slots=True)
class TextStates:
    """What a text looks like to the U-Net: a vector for each token, and one for the whole."""

    context: Float[Tensor, "b n d"]
    pooled: Float[Tensor, "b p"]


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, bias=True)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "b n d"], *, causal: bool) -> Float[Tensor, "b n d"]:
        """Shapes: (B, N, D) -> (B, N, D)"""
        x = x + self.attention(self.norm1(x), causal=causal)
        return x + self.fc2(self._activate(self.fc1(self.norm2(x))))

    def _activate(self, x: Tensor) -> Tensor:
        # Source: Hendrycks & Gimpel 2016, sec. 2 (arXiv:1606.08415): the sigmoid form of GELU
        return x * torch.sigmoid(1.702 * x) if self.activation == "quick_gelu" else F.gelu(x)


class TextTransformer(nn.Module):
    """Tokens to states; each token sees those before it.

    Shapes: tokens (B, N) -> context (B, N, width), pooled (B, projection or width)
    """

    def __init__(self, spec: ClipSpec) -> None:
        super().__init__()
        self.spec = spec
        self.tokens = nn.Embedding(spec.vocab, spec.width)
        self.positions = nn.Embedding(spec.context, spec.width)
        self.layers = nn.ModuleList(
            Layer(spec.width, spec.heads, spec.activation) for _ in range(spec.layers)
        )
        self.norm = nn.LayerNorm(spec.width)
        self.project = nn.Linear(spec.width, spec.projection, bias=False) if spec.projection else None

    def forward(self, tokens: Int[Tensor, "b n"], learnt: Float[Tensor, "k d"] | None = None) -> TextStates:
        """The state that `spec.hidden` names for every token, and the last layer's state of the end token.

        `learnt`: vectors of words beyond the vocabulary; token `spec.vocab` is the first of them
        """
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self._vectors(tokens, learnt) + self.positions(places)
        read_after = len(self.layers) + 1 + self.spec.hidden  # -1: after the last layer
        context = x
        for done, layer in enumerate(self.layers, start=1):
            x = layer(x, causal=True)
            if done == read_after:
                context = x
        last = self.norm(x)
        is_end = (tokens == self.spec.end).int()
        pooled = last[torch.arange(len(tokens), device=tokens.device), is_end.argmax(dim=1)]
        return TextStates(
            context=self.norm(context) if self.spec.final_norm else context,
            pooled=pooled if self.project is None else self.project(pooled),
        )

    def _vectors(self, tokens: Tensor, learnt: Tensor | None) -> Tensor:
        if learnt is None:
            return self.tokens(tokens)
        beyond = tokens - self.spec.vocab
        known: Tensor = self.tokens(tokens.clamp(max=self.spec.vocab - 1))
        return torch.where((beyond >= 0)[..., None], learnt.to(known)[beyond.clamp(min=0)], known)


class ImageTower(nn.Module):
    """A vision transformer: a picture becomes one vector in the space of the texts.

    Shapes: pixels (B, 3, size, size) in [-1, 1] -> (B, projection)
    Source: Dosovitskiy et al. 2021 (arXiv:2010.11929)
    """

    def __init__(self, spec: ImageTowerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.patches = nn.Conv2d(3, spec.width, spec.patch, stride=spec.patch, bias=False)
        self.whole = nn.Parameter(torch.randn(spec.width) * spec.width**-0.5)
        self.positions = nn.Embedding((spec.size // spec.patch) ** 2 + 1, spec.width)
        self.norm_in = nn.LayerNorm(spec.width)
        self.layers = nn.ModuleList(Layer(spec.width, spec.heads, "quick_gelu") for _ in range(spec.layers))
        self.norm_out = nn.LayerNorm(spec.width)
        self.project = nn.Linear(spec.width, spec.projection, bias=False)

    def forward(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b p"]:
        """Read the picture from the state of the extra "whole" position."""
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.whole.expand(len(x), 1, -1), x], dim=1) + self.positions.weight
        x = self.norm_in(x)
        for layer in self.layers:
            x = layer(x, causal=False)
        return self.project(self.norm_out(x[:, 0]))
