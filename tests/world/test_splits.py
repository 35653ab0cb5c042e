from collections import Counter
from functools import cache
from itertools import product
from random import Random

import pytest

from fromnoise.errors import RequestError
from fromnoise.world import (
    WORLDS,
    Mix,
    Scene,
    Thing,
    World,
    grammar,
    publish,
    sample_held_out,
    sample_scene,
    scene_seed,
    withheld,
)
from fromnoise.world.splits import LISTED, SPLITS, partners_of, relation_is_withheld, withheld_pairs
from fromnoise.world.vocabulary import COUNTS, THINGS

KEPT = 0.85
NUMBER = {"small": 5000, "full": 6000, "letters": 6000}
every_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)


@cache
def scenes_of(world: World) -> list[Scene]:
    mix = Mix(world=world)
    return [sample_scene(scene_seed(3, index), mix) for index in range(NUMBER[world.name])]


def splits_of(world: World) -> list[str]:
    return [split for split in SPLITS if split not in LISTED or withheld_pairs(split, world)]


def alone(kind: str, colour: str, setting: str, time: str = "day") -> Scene:
    return Scene(0, setting, time, (Thing(kind, colour, 0.5, 0.6, 0.4),))


@every_world
def test_training_never_shows_a_withheld_combination(world: World):
    assert not [scene for scene in scenes_of(world) if withheld(scene)]


@every_world
def test_no_withheld_pair_is_in_the_training_scenes_by_their_words(world: World):
    scenes = scenes_of(world)
    shown = {(t.colour, t.kind) for s in scenes for t in s.things}
    shown |= {(word, t.kind) for s in scenes for word in (s.setting, s.style) for t in s.things}
    assert not shown & {pair for split in ("H1", "H4", "H5") for pair in withheld_pairs(split, world)}
    numbers = Counter(COUNTS[n - 1] + " " + kind for s in scenes for kind, n in kinds_in(s).items() if n > 1)
    assert not set(numbers) & set(publish(world)["H3"])


def kinds_in(scene: Scene) -> Counter[str]:
    return Counter(thing.kind for thing in scene.things)


@every_world
def test_at_most_12_percent_of_scenes_are_withheld(world: World):
    mix, drawn = Mix(world=world), []
    for index in range(4000):
        rng = Random(index)
        sorts = (grammar._single, grammar._pair, grammar._count, grammar._rich)
        scene = rng.choices(sorts, (mix.single, mix.pair, mix.count, mix.rich))[0](rng, index, mix)
        if scene is not None:
            drawn.append(bool(withheld(scene)))
    assert 0.04 < sum(drawn) / len(drawn) <= 0.12


@every_world
def test_every_word_keeps_85_percent_of_its_partners(world: World):
    axes = partners_of(world)
    for split, words in axes.items():
        for word in words:
            lost = sum(pair[0] == word for pair in withheld_pairs(split, world))
            assert 1 - lost / len(world.things) >= KEPT, word
    for kind in world.things:
        lost = sum(pair[1] == kind for split in axes for pair in withheld_pairs(split, world))
        assert 1 - lost / sum(map(len, axes.values())) >= KEPT, kind


@every_world
def test_every_word_appears_alone(world: World):
    singles = [scene for scene in scenes_of(world) if len(scene.things) == 1]
    assert {s.things[0].kind for s in singles} == set(world.things)
    assert {s.things[0].colour for s in singles} - {""} == set(world.colours)
    assert {s.things[0].texture for s in singles} == set(world.textures)
    assert {s.setting for s in singles} == set(world.settings)
    assert {s.weather for s in singles} == set(world.weathers)
    assert {s.style for s in singles} == set(world.styles)


@every_world
def test_usual_colours_and_homes_are_never_withheld(world: World):
    for kind in world.things:
        assert not [c for c in THINGS[kind].usual if (c, kind) in withheld_pairs("H1", world)]
        assert not [s for s in world.homes.get(kind, ()) if (s, kind) in withheld_pairs("H4", world)]


def test_the_showcases_are_on_the_right_side():
    assert withheld(alone("lighthouse", "red", "island", "sunset")) == set()
    assert withheld(alone("whale", "purple", "sea", "night")) == set()
    assert withheld(alone("whale", "blue", "desert")) == {"H4"}


@pytest.mark.parametrize(("world", "split"), [(w, s) for w in WORLDS.values() for s in splits_of(w)])
def test_a_held_out_scene_is_withheld_by_its_split_alone(world: World, split: str):
    scenes = [sample_held_out(seed, split, world=world) for seed in range(40)]
    assert all(withheld(scene) == {split} for scene in scenes)
    assert {scene.world for scene in scenes} == {world.name}
    assert scenes == [sample_held_out(seed, split, world=world) for seed in range(40)]


def test_a_split_without_scenes_is_refused_by_name():
    with pytest.raises(RequestError, match="'H6'"):
        sample_held_out(0, "H6")
    with pytest.raises(RequestError, match="H5 holds nothing of the small world"):
        sample_held_out(0, "H5")
    with pytest.raises(RequestError, match="choose from H1, H3, H4"):
        withheld_pairs("H2")


def test_a_relation_and_its_inverse_are_withheld_together():
    for a, b in product(THINGS, THINGS):
        assert relation_is_withheld("left of", a, b) == relation_is_withheld("right of", b, a)
        assert relation_is_withheld("above", a, b) == relation_is_withheld("below", b, a)
        assert relation_is_withheld("in front of", a, b) == relation_is_withheld("behind", b, a)
    share = sum(relation_is_withheld("above", a, b) for a, b in product(THINGS, THINGS)) / len(THINGS) ** 2
    assert 0.06 < share < 0.14


@every_world
def test_the_published_list_holds_every_withheld_pair(world: World):
    published = publish(world)
    assert set(published) == {*splits_of(world), "H6"}
    for split in set(published) & {*LISTED}:
        assert set(published[split]) == {" ".join(pair) for pair in withheld_pairs(split, world)}
        assert published[split]
    assert "desert whale" in published["H4"]
    assert all(len(line.split()) >= 3 for line in published["H2"])
    assert any("{scene}" in template for template in published["H6"]) == world.has_looks
