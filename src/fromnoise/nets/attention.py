"""Attention: self, cross and causal in one class."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fromnoise.errors import SpecError


class Attention(nn.Module):
    """Each of N positions in `x` gathers from M positions in `context` (or from `x` itself).

    Letters: B batch, N queries, M keys, D width, C context width, H heads.
    Source:  Vaswani et al. 2017, eq. 1 (arXiv:1706.03762)
    """

    def __init__(
        self, width: int, heads: int, *, context_width: int | None = None, bias: bool = False
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise SpecError(f"attention width {width} does not divide into {heads} heads")
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k = nn.Linear(context_width or width, width, bias=bias)
        self.to_v = nn.Linear(context_width or width, width, bias=bias)
        self.to_out = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        context: Float[Tensor, "b m c"] | None = None,
        *,
        causal: bool = False,
    ) -> Float[Tensor, "b n d"]:
        """Shapes: (B, N, D), (B, M, C) -> (B, N, D). `causal`: position n sees only positions up to n."""
        context = x if context is None else context
        q, k, v = map(self._heads, (self.to_q(x), self.to_k(context), self.to_v(context)))
        y: Tensor = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        out: Tensor = self.to_out(y.transpose(1, 2).flatten(2))  # (B, H, N, D/H) -> (B, N, D)
        return out

    def _heads(self, p: Tensor) -> Tensor:  # (B, N, D) -> (B, H, N, D/H)
        return p.reshape(*p.shape[:-1], self.heads, -1).transpose(1, 2)
