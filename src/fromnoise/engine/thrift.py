"""A memory plan at work: what is kept, and what is given back between the parts of a drawing."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from torch import Tensor, nn

from fromnoise.engine.in_turn import InTurn
from fromnoise.engine.memory import hand_back, lasting_memory
from fromnoise.engine.packing import forget_packed, keep_packed
from fromnoise.engine.plan import MemoryPlan
from fromnoise.engine.winograd import keep_spread

TOLD: Final = "_told"  # in a network: what it was told last, for to tell all its parts takes milliseconds
Networks = tuple[nn.Module, nn.Module, nn.Module | None]
"""The U-Net, the decoder, and a refiner's U-Net."""


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

    def __init__(self, plan: MemoryPlan | None, networks: Callable[[], Networks]) -> None:
        """`networks`: gives them made fast; not asked where there is no plan"""
        self.plan, self.networks = plan, networks

    @contextmanager
    def drawing(self) -> Generator[None]:
        """Afterwards a refiner holds nothing: the next plan need not know of it."""
        try:
            yield
        finally:
            if self.plan is not None and (late := self.networks()[2]) is not None:
                forget_packed(late)

    def follow(self) -> None:
        """Have the networks keep what the plan says; another drawing may have told them otherwise."""
        if self.plan is None:
            return
        unet, decoder, late = self.networks()
        room = self.plan.count(self.plan.kept) if self.plan.streams else None
        wanted = {unet: (self.plan.spreads, room), decoder: (self.plan.spreads, None)}
        if late is not None:
            wanted.setdefault(late, (False, None))
        for network, told in wanted.items():
            if vars(network).get(TOLD) != told:
                keep_spread(network, told[0])
                keep_packed(network, told[1])
                vars(network)[TOLD] = told

    def asked(self, make: Callable[[], Any]) -> Any:
        """The U-Net for one batch, which remembers what it likes: all texts at once, or one at a time."""
        if self.plan is None:
            return make()
        unet = InTurn(make) if self.plan.sequential else make()
        return Tidy(unet) if self.plan.returns else unet

    @contextmanager
    def painting(self) -> Generator[None]:
        """The U-Net makes room for the autoencoder, and the decoder for the next steps of the U-Net."""
        self.follow()
        if self.plan is None or not self.plan.returns:
            yield
            return
        unet, decoder, _ = self.networks()
        if self.plan.given:
            forget_packed(unet, self.plan.count(self.plan.kept - self.plan.given))
        hand_back()
        try:
            with lasting_memory() if self.plan.sequential else nullcontext():
                yield
        finally:
            forget_packed(decoder)
            hand_back()
