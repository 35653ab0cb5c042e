"""What is to be seen in a picture: from maps of what stands where to things.

No network in here: the maps are the renderer's own, or an oracle's.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.errors import RequestError
from fromnoise.world.geometry import Box
from fromnoise.world.pieces import pieces_of, things_of
from fromnoise.world.vocabulary import COLOURS, TEXTURES, THINGS


@dataclass(frozen=True, slots=True)
class Found:
    """A thing seen in a picture.

    Units: box in parts of the frame, area in parts of its pixels; colour "" where no pixel had one,
           texture "" where the oracle does not tell
    """

    kind: str
    colour: str
    box: Box
    area: float
    texture: str = ""

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box."""
        return (self.box.left + self.box.right) / 2, (self.box.top + self.box.bottom) / 2


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in a picture; the largest thing first."""

    things: tuple[Found, ...]
    setting: str
    time: str
    weather: str = ""  # "" where the oracle does not tell
    style: str | None = None  # None where it does not; "" is the usual look
    textured: bool = False  # does it tell the textures of things?


def sightings(
    kinds: Tensor,
    colours: Tensor,
    setting: str,
    time: str,
    weather: str = "",
    style: str | None = None,
    textures: Tensor | None = None,
) -> Seen:
    """Gather the pixels of label maps into things.

    Shapes: kinds, colours and, where known, textures (H, W), of integers, at any resolution
    Units:  0 for nothing, else 1 + index in THINGS, in COLOURS and in TEXTURES
    Raises: RequestError if the maps differ in shape, or hold a number that stands for no word
    """
    maps = {"kinds": (kinds, THINGS), "colours": (colours, COLOURS)}
    maps |= {} if textures is None else {"textures": (textures, TEXTURES)}
    _check_maps(maps)
    found: list[Found] = []
    for thing in things_of(pieces_of(kinds)):
        colour = _vote(colours, thing.pixels, COLOURS)
        texture = "" if textures is None else _vote(textures, thing.pixels, TEXTURES)
        area = len(thing.pixels) / kinds.numel()
        found.append(Found(tuple(THINGS)[thing.kind - 1], colour, thing.box, area, texture))
    found.sort(key=lambda thing: -thing.area)
    return Seen(tuple(found), setting, time, weather, style, textured=textures is not None)


def _vote(numbers: Tensor, pixels: Tensor, words: tuple[str, ...]) -> str:
    """The most frequent word among some pixels; "" if they have none."""
    votes = torch.bincount(numbers.flatten()[pixels].long(), minlength=len(words) + 1)[1:]
    return words[int(votes.argmax())] if votes.any() else ""


def _check_maps(maps: Mapping[str, tuple[Tensor, Collection[str]]]) -> None:
    shapes = [tuple(numbers.shape) for numbers, _ in maps.values()]
    if len({*shapes}) != 1 or len(shapes[0]) != 2 or not all(shapes[0]):
        told = " and ".join(map(str, shapes))
        raise RequestError(f"maps of {' and '.join(maps)} must be of one shape (H, W), not {told}")
    for name, (numbers, words) in maps.items():
        least, most = int(numbers.min()), int(numbers.max())
        if least < 0 or most > len(words):
            raise RequestError({name: f"{least}..{most} are not all in 0..{len(words)}"})
