"""Where the networks of a file are: each is found by one of its tensors, whatever its name begins with."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fromnoise.specs import ModelSpec
from fromnoise.weights.layouts import sift

Room = Literal["unet", "vae", "text"]
Dialect = Literal["ldm", "diffusers", "openclip", "hf"]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Network:
    """One network of a file: what it is, where, and in whose names."""

    room: Room
    dialect: Dialect
    place: str  # what its tensors' names begin with, without the dot: "model.diffusion_model", or ""
    width: int  # of its first level or layer

    def holds(self, name: str) -> bool:
        """Is a tensor of this name in its place?"""
        return not self.place or name.startswith(f"{self.place}.")


ANCHORS: Final[tuple[tuple[str, Room, Dialect], ...]] = (  # the longer of two that end alike first
    ("encoder.down_blocks.0.resnets.0.norm1.weight", "vae", "diffusers"),
    ("encoder.down.0.block.0.norm1.weight", "vae", "ldm"),
    ("down_blocks.0.resnets.0.norm1.weight", "unet", "diffusers"),
    ("input_blocks.0.0.weight", "unet", "ldm"),
    ("text_model.encoder.layers.0.layer_norm1.weight", "text", "hf"),
    ("encoder.layers.0.layer_norm1.weight", "text", "hf"),
    ("transformer.resblocks.0.ln_1.weight", "text", "openclip"),
)


def find_networks(shapes: Shapes) -> tuple[Network, ...]:
    """The networks that can draw, in the order of their names; what `sift` drops is none of them."""
    names = (name for name in shapes if name.endswith(".weight"))
    return tuple(network for name in sift(sorted(names))[0] for network in _at(name, shapes[name]))


def _at(name: str, shape: tuple[int, ...]) -> Iterator[Network]:
    for anchor, room, dialect in ANCHORS:
        place = name.removesuffix(anchor)
        if place != name and (not place or place.endswith(".")):
            if shape:
                yield Network(room, dialect, place.removesuffix("."), shape[0])
            return


def text_places(networks: Sequence[Network], spec: ModelSpec | None) -> dict[Network, int]:
    """Which of the model's text encoders each one in a file is, by its width; without a model, by its turn.

    One whose width fits none is left out.
    """
    found = [network for network in networks if network.room == "text"]
    if spec is None:
        return {network: turn for turn, network in enumerate(found)}
    free = dict(enumerate(spec.texts))
    places = dict[Network, int]()
    for network in found:
        place = next((place for place, text in free.items() if text.width == network.width), None)
        if place is not None:
            places[network] = place
            del free[place]
    return places
