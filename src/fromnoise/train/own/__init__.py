"""Learning from one's own pictures: a whole U-Net, a LoRA, or a word, from a folder and a model."""

from fromnoise.train.own.session import Session, name_of
from fromnoise.train.own.wishes import FORMATS, KINDS, LAYERS, Kind, Wishes

__all__ = ["FORMATS", "KINDS", "LAYERS", "Kind", "Session", "Wishes", "name_of"]
