"""What a picture shows, exactly: the ground truth that captions describe and the renderer draws."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thing:
    """One drawn thing.

    Units: x, y centre of its outline in the frame, 0..1, y downwards; size its height as part of the frame's
    """

    kind: str
    colour: str
    x: float
    y: float
    size: float
    texture: str = "plain"
    variant: int = 0  # which of the kind's drawings; drawings take it modulo how many they have
    lean: float = 0.0  # radians, clockwise
    flip: bool = False
    seed: int = 0  # pose and proportions
    open: bool = False  # drawn with an opening, because something is inside it


@dataclass(frozen=True, slots=True)
class Relation:
    """`things[subject]` is `word` of `things[object]`: "left of", "on top of", …"""

    word: str
    subject: int
    object: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything in one picture; things are listed back to front."""

    seed: int
    setting: str
    time: str
    things: tuple[Thing, ...]
    relations: tuple[Relation, ...] = ()
    weather: str = ""
    style: str = ""
    world: str = "small"  # whose words these are
