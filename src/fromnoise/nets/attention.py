"""Attention: self, cross and causal in one class."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fromnoise.errors import SpecError

QUERIES = 1024  # at a time, on a CPU: memory grows with the number of pixels, not with its square


def attend(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m d"],
    *,
    causal: bool = False,
) -> Float[Tensor, "b h n d"]:
    """softmax(q k^T / sqrt(d)) v: fused where torch's fused form is fast, by matrix products where it is not.

    On a CPU the fused form's backward takes up to ten times as long as that of the plain products.
    Shapes: (B, H, N, D), (B, H, M, D), (B, H, M, D) -> (B, H, N, D)
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    if causal:
        return _gather(q, k, v, torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1))
    parts = [_gather(q[..., at : at + QUERIES, :], k, v) for at in range(0, q.shape[-2], QUERIES)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2)


def _gather(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None = None) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    return scores.softmax(-1).to(v.dtype) @ v


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
        y = attend(q, k, v, causal=causal)
        out: Tensor = self.to_out(y.transpose(1, 2).flatten(2))  # (B, H, N, D/H) -> (B, N, D)
        return out

    def _heads(self, p: Tensor) -> Tensor:  # (B, N, D) -> (B, H, N, D/H)
        return p.reshape(*p.shape[:-1], self.heads, -1).transpose(1, 2)
