import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fromnoise.errors import RequestError
from fromnoise.world import (
    FULL,
    SMALL,
    SPELLING,
    Mix,
    Relation,
    Scene,
    World,
    sample_scene,
    scene_seed,
    world_of,
)
from fromnoise.world.geometry import MIN_SIDE, Box, apart, box_of, hidden_part, holds, inside
from fromnoise.world.layout import layout
from fromnoise.world.placing import FLOATING, FOOT
from fromnoise.world.vocabulary import LETTERS, RELATIONS, THINGS, TIMELESS, TIMES

LITTLE = [sample_scene(scene_seed(7, index)) for index in range(5000)]
MUCH = [sample_scene(scene_seed(7, index), Mix(world=FULL)) for index in range(5000)]
SPELT = [sample_scene(scene_seed(7, index), Mix(world=SPELLING)) for index in range(2000)]
SCENES = LITTLE + MUCH + SPELT


def related(scene: Scene, i: int, j: int) -> set[str]:
    return {r.word for r in scene.relations if {r.subject, r.object} == {i, j}}


@given(st.integers(0, 2**63 - 1))
def test_a_seed_always_gives_the_same_scene(seed: int):
    assert sample_scene(seed) == sample_scene(seed)
    assert sample_scene(seed).seed == seed


def test_scene_seeds_do_not_repeat_within_or_between_runs():
    seeds = {scene_seed(run, index) for run in range(20) for index in range(2000)}
    assert len(seeds) == 40_000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_scene_seeds_are_splitmix64():
    published = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)  # its first outputs from seed 0
    assert [scene_seed(0, index) for index in range(3)] == [word >> 1 for word in published]


@pytest.mark.parametrize("seed", [-1, -(2**40)])
def test_a_negative_seed_is_refused_by_name(seed: int):
    with pytest.raises(RequestError, match=f"seed: must be >= 0, not {seed}"):
        sample_scene(seed)


def test_a_mix_of_nothing_is_refused():
    with pytest.raises(RequestError, match="weights"):
        Mix(single=0, pair=0, count=0, rich=0)


def test_a_mix_chooses_the_sorts_of_scenes():
    counts = [sample_scene(k, Mix(single=0, pair=0, count=1, rich=0)) for k in range(300)]
    assert {len(scene.things) for scene in counts} == {2, 3, 4}
    many = [sample_scene(k, Mix(single=0, pair=0, count=1, rich=0, world=FULL)) for k in range(300)]
    assert {len(scene.things) for scene in many} == {2, 3, 4, 5}
    assert all(len({(t.kind, t.colour, t.texture) for t in scene.things}) == 1 for scene in counts)
    rich = [sample_scene(k, Mix(single=0, pair=0, count=0, rich=1)) for k in range(300)]
    assert all(scene.relations for scene in rich)
    assert {len(scene.things) for scene in rich} == {2, 3}


def test_words_come_from_the_vocabulary():
    for scene in SCENES:
        world = world_of(scene.world)
        assert scene.setting in world.settings
        assert scene.time in (TIMES[:1] if scene.setting in TIMELESS else world.times)
        assert scene.weather in (world.weathers[:1] if scene.setting in TIMELESS else world.weathers)
        assert scene.style in world.styles
        assert {thing.kind for thing in scene.things} <= set(world.things)
        assert all(t.colour in (world.colours if THINGS[t.kind].usual else ("",)) for t in scene.things)
        assert {thing.texture for thing in scene.things} <= set(world.textures)


def test_every_outline_is_inside_the_frame_and_large_enough_to_draw():
    for scene in SCENES:
        for thing in scene.things:
            box = box_of(thing)
            assert inside(box), (thing, scene)
            assert min(box.right - box.left, box.bottom - box.top) >= MIN_SIDE - 1e-9, thing


def test_stated_relations_hold_by_coordinates():
    seen: Counter[str] = Counter()
    for scene in SCENES:
        for relation in scene.relations:
            a, b = scene.things[relation.subject], scene.things[relation.object]
            assert holds(relation.word, box_of(a), box_of(b)), scene
            seen[relation.word] += 1
    assert set(seen) == set(RELATIONS)
    assert min(seen[word] for word in SMALL.relations) > 0.5 * max(seen.values())


def test_things_overlap_only_where_a_relation_says_so():
    for scene in SCENES:
        for i, j in combinations(range(len(scene.things)), 2):
            if not related(scene, i, j) & {"on top of", "in front of", "behind", "inside"}:
                assert apart(box_of(scene.things[i]), box_of(scene.things[j]), 0.015), scene


def test_things_are_listed_back_to_front():
    for scene in SCENES:
        for relation in scene.relations:
            if relation.word in ("on top of", "in front of", "inside"):
                assert relation.subject > relation.object, scene
            if relation.word == "behind":
                assert relation.subject < relation.object, scene


def test_ground_things_stand_on_the_ground_and_sky_things_hang_above_it():
    for scene in SCENES:
        lines = layout(scene.setting)
        for i, thing in enumerate(scene.things):
            carried = {Relation(word, i, 1 - i) for word in ("on top of", "inside")} & {*scene.relations}
            if scene.setting in FLOATING or carried or len(scene.things) > 2:
                continue
            foot = box_of(thing).bottom
            if THINGS[thing.kind].place == "ground":
                assert lines.ground - 0.02 <= foot <= 1, scene
                assert lines.left + FOOT - 1e-9 <= thing.x <= lines.right - FOOT + 1e-9, scene
            if THINGS[thing.kind].place == "sky" and not scene.relations:
                assert thing.y < max(0.42, 0.03 + thing.size / 2 + 0.01), scene


def test_a_single_thing_fills_a_good_part_of_the_frame():
    singles = [scene.things[0] for scene in SCENES if len(scene.things) == 1]
    spans = [max(t.size, t.size * THINGS[t.kind].aspect) for t in singles]
    assert sorted(spans)[len(spans) // 5] > 0.38
    assert max(spans) <= 0.8 + 1e-9


@pytest.mark.parametrize(("world", "scenes"), [(SMALL, LITTLE), (FULL, MUCH)], ids=["small", "full"])
def test_the_words_of_a_scene_are_spread_evenly(world: World, scenes: list[Scene]):
    kinds = Counter(scene.things[0].kind for scene in scenes if len(scene.things) == 1)
    homes = Counter(scene.setting for scene in scenes)
    times = Counter(scene.time for scene in scenes if scene.setting not in TIMELESS)
    assert set(kinds) == set(world.things)
    assert min(kinds.values()) > 0.5 * max(kinds.values())
    assert min(homes.values()) > 0.4 * max(homes.values())
    assert min(times.values()) > 0.75 * max(times.values())
    assert 0.5 < sum(len(scene.things) == 1 for scene in scenes) / len(scenes) < 0.75
    plain = sum(scene.things[0].texture == "plain" for scene in scenes) / len(scenes)
    assert 0.85 < plain < 0.91


def test_letters_are_never_seen_in_a_mirror():
    things = [thing for scene in SPELT for thing in scene.things]
    assert {thing.kind for thing in things} >= set(LETTERS)
    assert not any(thing.flip for thing in things if thing.kind in LETTERS)
    assert any(thing.flip for thing in things)


def test_weathers_and_styles_come_up_as_often_as_the_mix_says():
    outside = [scene for scene in MUCH if scene.setting not in TIMELESS]
    assert 0.28 < sum(scene.weather != "clear" for scene in outside) / len(outside) < 0.40
    assert all(scene.time == "night" for scene in MUCH if scene.weather == "starry")
    styles = Counter(scene.style for scene in MUCH)
    assert 0.20 < 1 - styles[""] / len(MUCH) < 0.32
    assert min(styles.values()) > 0.02 * len(MUCH)


def test_no_sun_shines_at_night():
    assert not [s for s in SCENES if s.time == "night" and any(t.kind == "sun" for t in s.things)]


low = st.floats(0.05, 0.5)


@settings(max_examples=200)
@given(low, low, st.floats(0.1, 0.4), st.floats(0.1, 0.4))
def test_relations_are_opposites_and_exclude_each_other(x: float, y: float, w: float, h: float):
    a, b = Box(x, y, x + w, y + h), Box(0.4, 0.4, 0.6, 0.6)
    said = {word for word in RELATIONS if holds(word, a, b)}
    assert holds("left of", a, b) == holds("right of", b, a)
    assert holds("above", a, b) == holds("below", b, a)
    assert len(said & {"left of", "right of", "above", "below"}) <= 1
    assert len(said) <= 1


def test_relations_know_the_right_answer():
    left, right = Box(0.1, 0.4, 0.3, 0.6), Box(0.5, 0.4, 0.7, 0.6)
    assert holds("left of", left, right)
    assert not holds("right of", left, right)
    assert not holds("left of", Box(0.1, 0.0, 0.3, 0.2), Box(0.5, 0.7, 0.7, 0.9)), "a diagonal is not clear"
    assert holds("on top of", Box(0.5, 0.21, 0.7, 0.41), right)
    assert not holds("on top of", Box(0.5, 0.1, 0.7, 0.3), right), "it hovers"
    assert holds("in front of", Box(0.6, 0.5, 0.8, 0.7), right)
    assert hidden_part(right, Box(0.6, 0.5, 0.8, 0.7)) == pytest.approx(0.25)


def test_the_grammar_needs_no_torch():
    code = "import sys, fromnoise.world; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
