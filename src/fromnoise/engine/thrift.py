"""A memory plan at work: what is kept, and what is given back between the parts of a drawing."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

from fromnoise.engine.in_turn import InTurn
from fromnoise.engine.memory import hand_back, lasting_memory
from fromnoise.engine.packing import forget_packed, keep_packed
from fromnoise.engine.plan import MemoryPlan
from fromnoise.engine.winograd import keep_spread


class Tidy:
    """A U-Net that hands back, with its first answer, the holes that packing its weights has left."""

    def __init__(self, unet: Callable[..., Tensor]) -> None:
        self.unet, self.is_first = unet, True

    def __call__(self, *given: Tensor | None) -> Tensor:
        """What the U-Net says."""
        answer = self.unet(*given)
        if self.is_first:
            hand_back()
            self.is_first = False
        return answer


class Thrift:
    """Follows a plan for one drawing; without one it does nothing."""

    def __init__(self, plan: MemoryPlan | None, networks: Callable[[], tuple[nn.Module, nn.Module]]) -> None:
        """`networks`: gives the U-Net and the decoder, made fast; not asked where there is no plan"""
        self.plan, self.networks = plan, networks

    def begin(self) -> None:
        """The texts are read: from here on the U-Net is at work."""
        if self.plan is None:
            return
        for network in self.networks():
            keep_spread(network, self.plan.spreads)
        if self.plan.returns:
            hand_back()
            keep_packed(self.networks()[0], self.plan.count(self.plan.kept) if self.plan.streams else None)

    def asked(self, make: Callable[[], Any]) -> Any:
        """The U-Net for one batch, which remembers what it likes: all texts at once, or one at a time."""
        if self.plan is None:
            return make()
        unet = InTurn(make) if self.plan.sequential else make()
        return Tidy(unet) if self.plan.returns else unet

    @contextmanager
    def decoding(self) -> Generator[None]:
        """The U-Net makes room for the decoder, and the decoder for the next picture's U-Net."""
        if self.plan is None or not self.plan.returns:
            yield
            return
        unet, decoder = self.networks()
        if self.plan.given:
            forget_packed(unet, self.plan.count(self.plan.kept - self.plan.given))
        hand_back()
        try:
            with lasting_memory() if self.plan.sequential else nullcontext():
                yield
        finally:
            forget_packed(decoder)
            hand_back()
