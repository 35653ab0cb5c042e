"""The procedural world: captioned scenes with exact ground truth, which the embedded model learns from."""

from fromnoise.world.captions import caption, sample_caption
from fromnoise.world.grammar import Mix, sample_held_out, sample_scene, scene_seed
from fromnoise.world.prompts import Prompt, held_out_prompts, seen_prompts
from fromnoise.world.published import publish
from fromnoise.world.reading import Atoms, Naming, contradictions, parse, unknown_words, words_for
from fromnoise.world.scene import Relation, Scene, Thing
from fromnoise.world.splits import withheld
from fromnoise.world.worlds import FULL, SMALL, SPELLING, WORLDS, World, world_of

__all__ = [
    "FULL",
    "SMALL",
    "SPELLING",
    "WORLDS",
    "Atoms",
    "Mix",
    "Naming",
    "Prompt",
    "Relation",
    "Scene",
    "Thing",
    "World",
    "caption",
    "contradictions",
    "held_out_prompts",
    "parse",
    "publish",
    "sample_caption",
    "sample_held_out",
    "sample_scene",
    "scene_seed",
    "seen_prompts",
    "unknown_words",
    "withheld",
    "words_for",
    "world_of",
]
