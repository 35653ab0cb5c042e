"""A network on a graphics card, recorded once for each shape of its inputs and played back from then on.

A recording (CUDA graph) spares the processor from asking for a thousand kernels one by one at every step. It
reads and writes always the same memory: inputs are copied in, the answer is copied out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast
from warnings import warn

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)

KEPT: Final = 8  # recordings; of more shapes the one not asked for longest goes
COMPILED: Final = "max-autotune-no-cudagraphs"  # torch.compile's mode: the recording is ours
PICTURES: Final = 4  # dimensions of what has channels, and may have them last

Shape = tuple[tuple[torch.Size, torch.dtype] | None, ...]


class Recorder(Protocol):
    """What a recording needs of a card; see `Card`."""

    def warm_up(self, run: Callable[[], Tensor]) -> None:
        """Run it a few times."""
        ...

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """What plays a run again, and where its answer then is."""
        ...

    def tuned(self) -> Any:
        """A context with torch's settings for drawing."""
        ...


class OnCard(nn.Module):
    """A network asked with channels last, within the settings for drawing."""

    def __init__(self, plain: nn.Module, card: Recorder, run: Callable[..., Tensor] | None = None) -> None:
        super().__init__()
        self.plain, self.card = plain, card
        self.run: Callable[..., Tensor] = run or plain

    @torch.inference_mode()
    def forward(self, *inputs: Tensor | None) -> Tensor:
        """What the plain network answers."""
        with self.card.tuned():
            return self.ask(*inputs)

    def ask(self, *inputs: Tensor | None) -> Tensor:
        """Let the network calculate."""
        return self.run(*(each if each is None else channels_last(each) for each in inputs))


@dataclass(frozen=True, slots=True)
class Recording:
    """One shape's: where inputs are put, what plays it, and where the answer is then."""

    places: tuple[Tensor | None, ...]
    play: Callable[[], None]
    answer: Tensor

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        """The answer is a copy: the next one will be written to the same place."""
        for place, given in zip(self.places, inputs, strict=True):
            if place is not None and given is not None:
                place.copy_(given, non_blocking=True)
        self.play()
        return self.answer.clone()


class Graphed(OnCard):
    """A network that is recorded at the first question of a shape, and again if its weights were exchanged.

    What cannot be recorded is asked as it is, with a warning that says why.
    """

    def __init__(self, plain: nn.Module, card: Recorder, run: Callable[..., Tensor] | None = None) -> None:
        super().__init__(plain, card, run)
        self.recordings: dict[Shape, Recording] = {}  # the one asked for last is the last
        self.unrecorded: dict[Shape, str] = {}  # and why
        self.weights = Weights(plain)

    def ask(self, *inputs: Tensor | None) -> Tensor:
        """Play the recording of this shape, made now if there is none."""
        if self.weights.have_changed():  # a recording reads from the old ones' memory
            self.recordings.clear()
        shape = tuple(None if each is None else (each.shape, each.dtype) for each in inputs)
        if shape in self.unrecorded:
            return super().ask(*inputs)
        recording = self.recordings.pop(shape, None) or self.recorded(shape, inputs)
        if recording is None:
            return super().ask(*inputs)
        while len(self.recordings) >= KEPT:
            del self.recordings[next(iter(self.recordings))]
        self.recordings[shape] = recording
        return recording(*inputs)

    def recorded(self, shape: Shape, inputs: tuple[Tensor | None, ...]) -> Recording | None:
        """Record a shape; None if that is not possible.  Raises: as the network itself"""
        places = tuple(each if each is None else channels_last(each).clone() for each in inputs)

        def run() -> Tensor:
            return self.run(*places)

        self.card.warm_up(run)
        try:
            return Recording(places, *self.card.record(run))
        except RuntimeError as error:  # out of memory is one too
            why = self.unrecorded[shape] = str(error).partition("\n")[0]
            name = type(self.plain).__name__
            warn(f"{name} draws without a CUDA graph, which may be slower: {why}", RuntimeWarning, 2)
            return None


class Weights:
    """A network's tensors, and whether they are still the same, in the same memory."""

    def __init__(self, network: nn.Module) -> None:
        self.slots = [
            (part, name)
            for part in network.modules()
            for name, _ in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))
        ]
        self.seen: list[tuple[Tensor, int]] = []

    def have_changed(self) -> bool:
        """Since this was asked last; at first they have."""
        tensors: list[Tensor] = [getattr(part, name) for part, name in self.slots]
        before, self.seen = self.seen, [(tensor, tensor.data_ptr()) for tensor in tensors]
        return len(before) != len(self.seen) or any(
            now is not then or place != former
            for (now, place), (then, former) in zip(self.seen, before, strict=True)
        )


def channels_last(tensor: Tensor) -> Tensor:
    """Each pixel's channels side by side, as a card's matrix units read them; other tensors as they are."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == PICTURES else tensor


def kernels_last(network: nn.Module) -> None:
    """Lay a network's kernels out like that, in place."""
    for parameter in network.parameters():
        parameter.data = channels_last(parameter.data)


def for_card(network: N, card: Recorder, *, stays: bool = True, compiled: bool = False) -> N:
    """The same network for drawing on a card; the plain one's kernels get their channels last, in place.

    `stays`: its weights are never moved, so that it can be recorded
    `compiled`: made anew by torch's compiler, which takes minutes before the first picture of each shape
    """
    kernels_last(network)
    run = cast(Callable[..., Tensor], _compiled(network) if compiled else network)
    return cast(N, Graphed(network, card, run) if stays else OnCard(network, card, run))


def _compiled(network: nn.Module, **how: Any) -> Any:
    how = how or {"mode": COMPILED}
    return torch.compile(network, dynamic=False, **how)  # pyright: ignore
