"""Those who look on while pictures are drawn and judged, and tell something of them in the end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from fromnoise.score.tables import Section
from fromnoise.world.prompts import Prompt
from fromnoise.world.seeing import Seen

# who made a picture: the model; the renderer; the renderer, then the autoencoder; the renderer from a scene
# that was looked up
Source = Literal["model", "ceiling", "rebuilt", "retrieval"]


@dataclass(frozen=True, slots=True)
class Glance:
    """Some pictures of one set, in order.

    Shapes: pixels (B, 3, H, W) in [-1, 1]; features (B, D); numbers, prompts and seen B
    """

    tier: str
    split: str
    source: Source
    numbers: tuple[int, ...]  # of the prompts in their set
    prompts: tuple[Prompt, ...]
    pixels: Tensor
    seen: Sequence[Seen]
    features: Tensor


class Witness(Protocol):
    """Looks at every picture once, and then has something to tell."""

    def watch(self, glance: Glance) -> None:
        """Take note."""
        ...

    def tell(self) -> Iterator[Section]:
        """What came of it."""
        ...
