"""Patterns and sizes: what label maps tell of them, and what a verdict says."""

from dataclasses import replace

import pytest
import torch

from fromnoise.errors import RequestError
from fromnoise.world import FULL, SMALL, WORLDS, Mix, World, parse, sample_scene, scene_seed
from fromnoise.world.captions import size_word
from fromnoise.world.check import judge
from fromnoise.world.geometry import Box, largest, size_at, size_seen, smallest
from fromnoise.world.render import render
from fromnoise.world.seeing import Found, Seen, sightings
from fromnoise.world.vocabulary import TEXTURES

every_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
BALL = Found("ball", "red", Box(0.3, 0.3, 0.7, 0.7), 0.12, texture="striped")


def seen(*things: Found, textured: bool = True) -> Seen:
    return Seen(things, "meadow", "day", textured=textured)


def square(side: float) -> Box:
    return Box(0.1, 0.1, 0.1 + side, 0.1 + side)


@every_world
def test_every_size_is_seen_as_what_it_is_called(world: World) -> None:
    for word, (least, most) in world.sizes.items():
        for part in (least, (least + most) / 2, most):
            assert size_seen("ball", square(size_at("ball", part, world)), world) == word


def test_a_size_is_measured_by_the_side_that_shows_most() -> None:
    tall = largest("lighthouse")
    assert size_seen("lighthouse", Box(0.4, 0.1, 0.5, 0.1 + tall), FULL) == "big"
    assert size_seen("lighthouse", Box(0.4, 0.1, 0.4 + 0.45 * tall, 0.3), FULL) == "big"
    assert size_seen("lighthouse", Box(0.4, 0.4, 0.5, 0.4 + smallest("lighthouse")), FULL) == "tiny"
    assert size_seen("lighthouse", Box(0.4, 0.4, 0.5, 0.4 + smallest("lighthouse")), SMALL) == "small"


@every_world
def test_sizes_and_textures_of_renders_are_seen_at_the_quarter_that_oracles_see(world: World) -> None:
    mix = Mix(pair=0, count=0, rich=0, tiny=0.3, small=0.25, big=0.25, pattern=0.6, world=world)
    scenes = [sample_scene(scene_seed(5, index), mix) for index in range(100)]
    drawn, few = render(scenes, 128), slice(2, None, 4)
    maps = zip(scenes, *(m[:, few, few] for m in (drawn.kinds, drawn.colours, drawn.textures)), strict=True)
    right = {"size": 0, "texture": 0}
    for scene, kinds, colours, textures in maps:
        (found,) = sightings(kinds, colours, scene.setting, scene.time, textures=textures).things
        thing = scene.things[0]
        right["size"] += size_seen(found.kind, found.box, world) == size_word(scene, thing)
        right["texture"] += found.texture == thing.texture
    assert right["size"] >= 98
    assert right["texture"] == 100


def test_a_pattern_is_compared_where_it_is_told() -> None:
    striped, spotted = parse("a striped red ball"), parse("a spotted red ball")
    assert judge(striped, seen(BALL)).pattern is True
    wrong = judge(spotted, seen(BALL))
    assert (wrong.pattern, wrong.colour) == (False, True)
    assert wrong.faults == (("wrong pattern", "ball is striped, not spotted"),)
    assert judge(spotted, seen(replace(BALL, texture=""), textured=False)).pattern is None
    assert judge(parse("a red ball"), seen(BALL)).pattern is None
    assert judge(striped, seen()).pattern is False


def test_a_size_is_compared_in_the_words_of_its_world() -> None:
    little = replace(BALL, box=square(0.2))
    assert judge(parse("a small red ball"), seen(little)).size is True
    assert judge(parse("a tiny red ball", FULL), seen(little), FULL).size is True
    wrong = judge(parse("a small red ball", FULL), seen(little), FULL)
    assert wrong.faults == (("wrong size", "ball is tiny, not small"),)
    assert judge(parse("a big red ball"), seen(BALL)).faults == (
        ("wrong size", "ball is of usual size, not big"),
    )
    assert judge(parse("a red ball"), seen(little)).size is None
    assert judge(parse("a big red ball"), seen()).size is False


def test_a_map_of_textures_that_does_not_fit_is_refused() -> None:
    maps = torch.ones(4, 4), torch.ones(4, 4)
    with pytest.raises(RequestError, match=r"kinds and colours and textures must be of one shape"):
        sightings(*maps, "sea", "day", textures=torch.ones(4, 5))
    with pytest.raises(RequestError, match="textures: "):
        sightings(*maps, "sea", "day", textures=torch.full((4, 4), len(TEXTURES) + 1))
