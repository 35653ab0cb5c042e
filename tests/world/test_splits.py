from itertools import product
from random import Random

import pytest

from fromnoise.errors import RequestError
from fromnoise.world import (
    Mix,
    Scene,
    Thing,
    grammar,
    publish,
    sample_held_out,
    sample_scene,
    scene_seed,
    withheld,
)
from fromnoise.world.splits import COUNTED, HOMES, SPLITS, relation_is_withheld, withheld_pairs
from fromnoise.world.vocabulary import COLOURS, SETTINGS, THINGS

KEPT = 0.85
SCENES = [sample_scene(scene_seed(3, index)) for index in range(5000)]


def alone(kind: str, colour: str, setting: str, time: str = "day") -> Scene:
    return Scene(0, setting, time, (Thing(kind, colour, 0.5, 0.6, 0.4),))


def test_training_never_shows_a_withheld_combination():
    assert not [scene for scene in SCENES if withheld(scene)]


def test_no_withheld_pair_is_in_the_training_scenes_by_their_words():
    shown = {(t.colour, t.kind) for s in SCENES for t in s.things}
    shown |= {(s.setting, t.kind) for s in SCENES for t in s.things}
    assert not shown & (withheld_pairs("H1") | withheld_pairs("H4"))


def test_at_most_12_percent_of_scenes_are_withheld():
    mix, drawn = Mix(), []
    for index in range(4000):
        rng = Random(index)
        sorts = (grammar._single, grammar._pair, grammar._count, grammar._rich)
        scene = rng.choices(sorts, (mix.single, mix.pair, mix.count, mix.rich))[0](rng, index, mix)
        if scene is not None:
            drawn.append(bool(withheld(scene)))
    assert 0.04 < sum(drawn) / len(drawn) <= 0.12


def test_every_word_keeps_85_percent_of_its_partners():
    axes = {"H1": COLOURS, "H3": COUNTED, "H4": SETTINGS}
    for word in (*COLOURS, *COUNTED, *SETTINGS):
        split = next(split for split, words in axes.items() if word in words)
        lost = sum(pair[0] == word for pair in withheld_pairs(split))
        assert 1 - lost / len(THINGS) >= KEPT, word
    for kind in THINGS:
        lost = sum(pair[1] == kind for split in axes for pair in withheld_pairs(split))
        assert 1 - lost / (len(COLOURS) + len(SETTINGS) + len(COUNTED)) >= KEPT, kind


def test_every_word_appears_alone():
    singles = [scene for scene in SCENES if len(scene.things) == 1]
    assert {s.things[0].kind for s in singles} == set(THINGS)
    assert {s.things[0].colour for s in singles} == set(COLOURS)
    assert {s.setting for s in singles} == set(SETTINGS)


def test_usual_colours_and_homes_are_never_withheld():
    for kind, row in THINGS.items():
        assert not [c for c in row.usual if (c, kind) in withheld_pairs("H1")]
        assert not [s for s in HOMES.get(kind, ()) if (s, kind) in withheld_pairs("H4")]


def test_the_showcases_are_on_the_right_side():
    assert withheld(alone("lighthouse", "red", "island", "sunset")) == set()
    assert withheld(alone("whale", "purple", "sea", "night")) == set()
    assert withheld(alone("whale", "blue", "desert")) == {"H4"}


@pytest.mark.parametrize("split", SPLITS)
def test_a_held_out_scene_is_withheld_by_its_split_alone(split: str):
    scenes = [sample_held_out(seed, split) for seed in range(60)]
    assert all(withheld(scene) == {split} for scene in scenes)
    assert scenes == [sample_held_out(seed, split) for seed in range(60)]


def test_a_split_without_scenes_is_refused_by_name():
    with pytest.raises(RequestError, match="'H6'"):
        sample_held_out(0, "H6")
    with pytest.raises(RequestError, match="choose from H1, H3, H4"):
        withheld_pairs("H2")


def test_a_relation_and_its_inverse_are_withheld_together():
    for a, b in product(THINGS, THINGS):
        assert relation_is_withheld("left of", a, b) == relation_is_withheld("right of", b, a)
        assert relation_is_withheld("above", a, b) == relation_is_withheld("below", b, a)
    share = sum(relation_is_withheld("above", a, b) for a, b in product(THINGS, THINGS)) / len(THINGS) ** 2
    assert 0.06 < share < 0.14


def test_the_published_list_holds_every_withheld_pair():
    published = publish()
    assert set(published) == set(SPLITS)
    for split in ("H1", "H3", "H4"):
        assert set(published[split]) == {" ".join(pair) for pair in withheld_pairs(split)}
        assert published[split]
    assert "desert whale" in published["H4"]
    assert all(len(line.split()) >= 3 for line in published["H2"])
