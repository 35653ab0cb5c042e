"""Where the ground of each setting is: the grammar places by these numbers, the renderer draws."""

from dataclasses import dataclass
from typing import Final

from fromnoise.errors import RequestError, did_you_mean


@dataclass(frozen=True, slots=True)
class Layout:
    """The lines of one setting.

    Units: parts of the frame, 0..1, y downwards
    """

    horizon: float  # where sky and land (or water) meet
    ground: float  # where the feet of a thing stand
    left: float = 0.0  # things stand between left and right
    right: float = 1.0
    solid: bool = True  # False: nothing to stand on, things float


LAYOUTS: Final[dict[str, Layout]] = {
    "sea": Layout(horizon=0.60, ground=0.80),
    "beach": Layout(horizon=0.56, ground=0.85),
    "island": Layout(horizon=0.60, ground=0.80, left=0.20, right=0.80),
    "meadow": Layout(horizon=0.64, ground=0.84),
    "forest": Layout(horizon=0.66, ground=0.84),
    "desert": Layout(horizon=0.62, ground=0.84),
    "snow": Layout(horizon=0.62, ground=0.84),
    "space": Layout(horizon=1.0, ground=0.78, solid=False),
    "paper": Layout(horizon=0.0, ground=0.82),
    "city": Layout(horizon=0.68, ground=0.86),
    "garden": Layout(horizon=0.62, ground=0.85),
}


def layout(setting: str) -> Layout:
    """The lines of a setting.  Raises: RequestError for an unknown one."""
    if setting not in LAYOUTS:
        raise RequestError({"setting": f"{setting!r} is unknown"}, hint=did_you_mean(setting, tuple(LAYOUTS)))
    return LAYOUTS[setting]


def ground_y(setting: str) -> float:
    """The y of the line on which ground things stand.  Raises: RequestError for an unknown setting."""
    return layout(setting).ground
