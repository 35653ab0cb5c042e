import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromnoise.errors import RequestError
from fromnoise.world import (
    FULL,
    SMALL,
    WORLDS,
    Atoms,
    Mix,
    Naming,
    Relation,
    Scene,
    Thing,
    caption,
    contradictions,
    held_out_prompts,
    parse,
    sample_caption,
    sample_scene,
    scene_seed,
    seen_prompts,
    unknown_words,
    withheld,
    world_of,
)
from fromnoise.world.captions import DENSITIES, Density, size_word
from fromnoise.world.phrases import NEAR, SETTING_PHRASES, TEMPLATES, TIME_PHRASES
from fromnoise.world.phrases_full import STYLE_TEMPLATES
from fromnoise.world.phrasing import phrasing_of
from fromnoise.world.templates import style_templates, templates_for
from fromnoise.world.vocabulary import TIMELESS

LITTLE = [sample_scene(scene_seed(11, index)) for index in range(1500)]
MUCH = [sample_scene(scene_seed(11, index), Mix(world=FULL)) for index in range(2500)]
SCENES = LITTLE + MUCH
SLOTS = (("things",), ("place", "things"), ("things", "time"), ("place", "things", "time"))
MOST_WORDS = {"small": 28, "full": 42}
CAT = Scene(1, "beach", "night", (Thing("cat", "black", 0.5, 0.6, 0.4),))


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("density", DENSITIES)
def test_what_a_caption_says_is_true_and_read_back(density: Density, held_out: bool):
    for index, scene in enumerate(SCENES):
        text = caption(scene, index, density, held_out=held_out)
        world = world_of(scene.world)
        atoms = parse(text, world)
        assert contradictions(atoms, scene) == [], (text, scene)
        assert {naming.kind for naming in atoms.things} == {thing.kind for thing in scene.things}, text
        assert text == text.lower()
        assert len(text.split()) <= MOST_WORDS[scene.world], text
        assert "  " not in text
        assert "{" not in text
        assert unknown_words(text, world) == [], text


def test_a_full_caption_says_everything():
    for index, scene in enumerate(SCENES):
        atoms = parse(caption(scene, index, "full"), world_of(scene.world))
        assert atoms.setting == scene.setting
        assert (atoms.weather or "clear") == (scene.weather or "clear")
        assert atoms.style == scene.style
        assert atoms.time == ("" if scene.setting in TIMELESS else scene.time)
        assert len(atoms.relations) == len(scene.relations)
        for naming in atoms.things:
            thing = next(thing for thing in scene.things if thing.kind == naming.kind)
            assert naming.colour == thing.colour
            assert (naming.texture or "plain") == thing.texture
            assert naming.size == size_word(scene, thing)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_training_caption_is_true_and_always_the_same(scene_number: int, seed: int):
    for world in WORLDS.values():
        scene = sample_scene(scene_number, Mix(world=world))
        text = sample_caption(scene, seed)
        assert text == sample_caption(scene, seed)
        assert contradictions(parse(text, world), scene) == []


def test_the_style_templates_are_used_by_training_or_kept_for_tests():
    seen, kept = style_templates(False), style_templates(True)
    assert kept
    assert not set(seen) & set(kept)
    assert set(seen) | set(kept) == set(STYLE_TEMPLATES)
    assert "{noun} of {scene}" in seen


def test_a_style_is_never_left_unsaid():
    styled = [scene for scene in MUCH if scene.style]
    for index, scene in enumerate(styled):
        for density in DENSITIES:
            assert parse(caption(scene, index, density), FULL).style == scene.style
    assert f"unsaid style: {styled[0].style}" in contradictions(parse("", FULL), styled[0])


def test_parse_knows_the_words_of_its_world():
    text = "a chalk drawing of a tiny glossy teal owl inside a gold ring in a foggy garden at dawn"
    assert parse(text, FULL) == Atoms(
        (Naming("owl", 1, "teal", "glossy", "tiny"), Naming("ring", 1, "gold")),
        (Relation("inside", 0, 1),),
        "garden",
        "sunrise",
        "foggy",
        "chalk",
    )
    assert {word for word, _ in unknown_words(text)} >= {"chalk", "teal", "owl", "foggy", "garden"}
    assert unknown_words(text, FULL) == []
    assert parse("a ghost under a starry sky", FULL).weather == "starry"
    assert parse("a pixel cat in a snowy forest", FULL).style == "pixel"
    assert dict(unknown_words("a turquoise pyramid in a park", FULL)) == {
        "turquoise": ["teal"],
        "pyramid": ["cone"],
        "park": ["garden"],
    }


@pytest.mark.parametrize("slots", SLOTS)
def test_every_template_is_used_by_training_or_kept_for_tests(slots: tuple[str, ...]):
    seen, kept = templates_for(slots, False), templates_for(slots, True)
    assert kept
    assert not set(seen) & set(kept)
    assert set(seen) | set(kept) <= set(TEMPLATES)
    assert len(seen) >= 5


def test_the_test_only_templates_are_about_15_percent():
    kept = [template for slots in SLOTS for template in templates_for(slots, True)]
    assert 0.10 <= len(kept) / len(TEMPLATES) <= 0.18


def test_training_never_uses_a_test_only_template():
    place, time = SETTING_PHRASES["beach"][0], TIME_PHRASES["night"][0]
    kept = {
        t.format(things="a black cat", place=place, time=time)
        for slots in SLOTS
        for t in templates_for(slots, True)
    }
    assert kept & {caption(CAT, seed, held_out=True) for seed in range(400)}
    assert not kept & {sample_caption(CAT, seed) for seed in range(2000)}


def test_training_never_uses_a_test_only_template_of_a_style():
    assert style_templates(True) == ("{scene} as {noun}",)
    styled = [scene for scene in MUCH if scene.style]
    nouns = [noun for nouns in phrasing_of(FULL).style_nouns.values() for noun in nouns]
    kept = re.compile(f"[^,] as ({'|'.join(nouns)})$")
    assert not [text for s in styled for k in range(3) if kept.search(text := sample_caption(s, k))]
    assert all(kept.search(caption(scene, 0, held_out=True)) for scene in styled)


def test_one_scene_is_said_in_many_ways():
    assert len({sample_caption(CAT, seed) for seed in range(300)}) > 60


def test_every_phrase_of_a_setting_and_a_time_comes_up_and_is_read_back():
    for word, phrases in (SETTING_PHRASES | TIME_PHRASES).items():
        for phrase in phrases:
            atoms = parse(f"a cat {phrase}")
            assert word in (atoms.setting, atoms.time), phrase
    for world in WORLDS.values():
        said = phrasing_of(world)
        assert set(said.settings) == set(world.settings)
        assert set(said.times) == set(world.times)
        assert set(said.relations) >= set(world.relations)
        assert set(said.weathers) == set(world.weathers[1:])
        assert set(said.style_nouns) == set(said.style_remarks) == set(world.styles[1:])
        assert set(said.textures) == set(world.textures[1:])
        assert set(said.sizes) == {*world.sizes} - {""}


def test_an_unusual_colour_is_never_left_unsaid():
    scene = replace(CAT, things=(replace(CAT.things[0], colour="pink"),))
    for density in DENSITIES:
        assert all("pink" in caption(scene, seed, density) for seed in range(50))
    assert "unsaid colour: pink cat" in contradictions(parse("a cat"), scene)


def test_a_setting_without_time_is_never_said_to_have_one():
    scene = replace(CAT, setting="space", time="day")
    texts = [caption(scene, seed, density) for density in DENSITIES for seed in range(60)]
    assert not [text for text in texts if parse(text).time]


def test_parse_knows_the_right_answer():
    assert parse("a red lighthouse on an island at sunset") == Atoms(
        (Naming("lighthouse", colour="red"),), setting="island", time="sunset"
    )
    assert parse("three stripy yellow boxes to the left of a tiny cat, in space") == Atoms(
        (Naming("box", 3, "yellow", "striped"), Naming("cat", size="small")),
        (Relation("left of", 0, 1),),
        "space",
    )
    assert parse("2 fish beneath the stars").things == (Naming("fish", 2), Naming("star"))
    assert parse("nothing known") == Atoms(())


@pytest.mark.parametrize(
    "lie",
    [
        "a black cat on a beach at sunset",
        "a black cat in the sea",
        "two black cats",
        "a white cat",
        "a striped black cat",
        "a big black cat",
        "a black cat next to a red ball",
        "a black dog with a red ball",
    ],
)
def test_a_lie_is_found(lie: str):
    assert contradictions(parse(lie), CAT)


def test_beside_and_behind_are_judged_by_coordinates():
    things = (Thing("tree", "green", 0.25, 0.6, 0.4), Thing("box", "red", 0.75, 0.65, 0.3))
    scene = Scene(1, "meadow", "day", things)
    assert contradictions(parse("a green tree beside a red box"), scene) == []
    assert contradictions(parse("a green tree behind a red box"), scene)
    assert contradictions(parse("a red box left of a green tree"), scene)


def test_an_unknown_density_is_refused_with_a_suggestion():
    with pytest.raises(RequestError, match="did you mean 'short'"):
        caption(CAT, 0, "shirt")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("word", "nearest"),
    [("kitten", "cat"), ("ships", "boat"), ("crimson", "red"), ("evening", "sunset"), ("castel", "castle")],
)
def test_the_linter_names_the_nearest_known_word(word: str, nearest: str):
    found = dict(unknown_words(f"a {word} on a beach"))
    assert found[word][0] == nearest


def test_the_linter_is_silent_about_known_words_and_helpless_about_nonsense():
    assert unknown_words("A red lighthouse, on an island at sunset!") == []
    assert unknown_words("zzzqx zzzqx") == [("zzzqx", [])]


def test_the_linter_reads_any_script_and_leaves_learnt_words_whole():
    assert [word for word, _ in unknown_words("красный house, 赤い灯台, a naïve café")] == [
        "красный",
        "赤い灯台",
        "naïve",
        "café",
    ]
    assert unknown_words("a red my-Glim on a beach", learnt={"my-glim"}) == []
    assert [word for word, _ in unknown_words("a my-glimmer", learnt={"my-glim"})] == ["my", "glimmer"]


@pytest.mark.parametrize("five", ["five", "5"])
def test_a_number_that_the_world_never_counts_to_is_no_word_of_it(five: str):
    assert unknown_words(f"{five} boats") == [(five, ["four"])]
    assert unknown_words(f"{five} boats", FULL) == []
    assert unknown_words("four boats and one house") == []


def test_the_linters_table_leads_from_unknown_to_known_words():
    for known, strangers in NEAR.items():
        assert unknown_words(known) == []
        assert [word for word, _ in unknown_words(strangers)] == strangers.split()
    for known in phrasing_of(FULL).near:
        assert unknown_words(known, FULL) == []


def test_prompts_are_different_seen_and_carry_their_facts():
    prompts = seen_prompts(300, seed=5)
    assert len({prompt.text for prompt in prompts}) == 300
    assert prompts == seen_prompts(300, seed=5)
    assert prompts != seen_prompts(300, seed=6)
    for prompt in prompts:
        thing = prompt.scene.things[0]
        assert not withheld(prompt.scene)
        assert contradictions(prompt.atoms, prompt.scene) == []
        assert prompt.atoms.things == (Naming(thing.kind, 1, thing.colour),)
        assert prompt.atoms.setting == prompt.scene.setting
    assert {prompt.scene.things[0].kind for prompt in prompts} == set(SMALL.things)


@pytest.mark.parametrize("split", ["H1", "H4"])
def test_held_out_prompts_are_withheld(split: str):
    prompts = held_out_prompts(100, split=split)
    assert len({prompt.text for prompt in prompts}) == 100
    assert all(withheld(prompt.scene) == {split} for prompt in prompts)


@pytest.mark.parametrize("call", [lambda: seen_prompts(0), lambda: seen_prompts(10**6)])
def test_an_impossible_number_of_prompts_is_refused(call):
    with pytest.raises(RequestError, match="n: must be 1 to 2000"):
        call()
    with pytest.raises(RequestError, match="H1 or H4"):
        held_out_prompts(1, split="H2")


def test_only_a_single_thing_has_a_size_word():
    mix = Mix(single=0, pair=1, count=1, rich=1)
    for index in range(200):
        scene = sample_scene(index, mix)
        assert {size_word(scene, thing) for thing in scene.things} == {""}
    words = [size_word(s, s.things[0]) for s in LITTLE if len(s.things) == 1]
    assert 0.05 < words.count("small") / len(words) < 0.11
    assert 0.08 < words.count("big") / len(words) < 0.16
    words = [size_word(s, s.things[0]) for s in MUCH if len(s.things) == 1]
    assert {*words} == {"tiny", "small", "", "big"}
    assert 0.03 < words.count("tiny") / len(words) < 0.09
