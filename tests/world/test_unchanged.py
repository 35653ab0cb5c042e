"""The world that the shipped model learned from stays as it was: the same scenes, captions and pictures."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from fromnoise.world import Mix, Scene, sample_caption, sample_scene, scene_seed
from fromnoise.world.render import render

SHEET = Path(__file__).with_name(
    "unchanged.png"
)  # 6 rows of 8 pictures of 32 pixels, drawn before 2026-11-23
FIRST = Mix(single=0.70, pair=0.10, count=0.12, rich=0.08, pattern=0.06, variants=1, flips=False)
MIXES = {"mite": FIRST, "default": Mix()}  # of the first embedded model, and the usual one
DIGESTS = {
    "mite": "62e7fea8cb502c9cf9e5df78fcb227ad32302143f1bd523942b556dc49f13574",
    "default": "6abbadc747ff1767c820482ae9a230c05b7b2493074c2e4bfbf4b54c0ca758c2",
}


def told(scene: Scene) -> list[Any]:
    """A scene and four captions as plain data, field by field: new fields do not change it."""
    things = [
        [t.kind, t.colour, t.x, t.y, t.size, t.texture, t.variant, t.lean, t.flip, t.seed]
        for t in scene.things
    ]
    relations = [[r.word, r.subject, r.object] for r in scene.relations]
    captions = [sample_caption(scene, k) for k in range(4)]
    return [scene.seed, scene.setting, scene.time, things, relations, captions]


@pytest.mark.parametrize("name", MIXES)
def test_scenes_and_captions_are_those_of_before(name: str) -> None:
    scenes = [sample_scene(scene_seed(0, index), MIXES[name]) for index in range(500)]
    assert sha256(json.dumps([told(s) for s in scenes]).encode()).hexdigest() == DIGESTS[name]


def test_pictures_are_those_of_before() -> None:
    """To within the rounding of another processor."""
    scenes = [sample_scene(scene_seed(0, index), mix) for mix in MIXES.values() for index in range(24)]
    with Image.open(SHEET) as sheet:
        before = torch.from_numpy(numpy.array(sheet)).view(6, 32, 8, 32, 3)
    now = render(scenes, 32).pixels.view(6, 8, 3, 32, 32).permute(0, 3, 1, 4, 2)
    assert (now.int() - before.int()).abs().max() <= 1
