"""What every comparison with another implementation needs: shared weights and one measure of error."""

import torch
from mapping import Names, renamed
from torch import Tensor, nn

TOLERANCE = 1e-5  # float32, relative


def share_weights(theirs: nn.Module, ours: nn.Module, names: Names) -> None:
    """Give both the same random weights, held once in memory. A tensor without a partner is an error."""
    assert renamed(norms(theirs), names) == norms(ours)  # an epsilon is too small to show in the output
    state = random_weights(theirs)
    theirs.load_state_dict(state, assign=True)
    ours.load_state_dict(renamed(state, names), assign=True)
    for network in (theirs, ours):
        network.eval().requires_grad_(False)


def norms(network: nn.Module) -> dict[str, tuple[float, int]]:
    """The epsilon of every norm, and its number of groups."""
    return {
        name: (module.eps, module.num_groups if isinstance(module, nn.GroupNorm) else 1)
        for name, module in network.named_modules()
        if isinstance(module, nn.GroupNorm | nn.LayerNorm)
    }


def random_weights(network: nn.Module, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Large enough that every tensor matters; scaled by fan-in, so that no depth makes numbers explode."""
    generator = generator or torch.Generator().manual_seed(0)
    scales = {f"{name}.weight" for name in norms(network)}
    state: dict[str, Tensor] = {}
    for key, like in network.state_dict().items():
        weight = torch.empty(like.shape).normal_(generator=generator)
        if key in scales:
            state[key] = weight.mul_(0.1).add_(1)
        else:
            state[key] = weight.mul_(like[0].numel() ** -0.5 if like.ndim > 1 else 0.1)
    return state


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, in units of the typical value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.square().mean().sqrt())
