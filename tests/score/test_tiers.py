import pytest

from fromnoise.cli.score import TIERS as OFFERED
from fromnoise.errors import RequestError
from fromnoise.score import SEEN, TIERS, Tier, make_tier, make_tiers, tiers_for
from fromnoise.score.plans import OVERALL, WORDINGS
from fromnoise.world import FULL, SMALL, SPELLING, WORLDS, World, contradictions, parse, publish, withheld
from fromnoise.world.splits import LISTED

CASES = [(world, name) for world in WORLDS.values() for name in tiers_for(world)]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0].name}-{case[1]}")
def case(request: pytest.FixtureRequest) -> tuple[World, Tier]:
    world, name = request.param
    return world, make_tier(name, 40, 20, world=world)


@pytest.fixture
def tier(case: tuple[World, Tier]) -> Tier:
    return case[1]


def test_prompts_are_different_and_as_many_as_asked(case: tuple[World, Tier]) -> None:
    world, tier = case
    splits = [split for split in TIERS[tier.name].splits if split not in LISTED or split in publish(world)]
    assert {split: len(prompts) for split, prompts in tier.prompts.items()} == {
        SEEN: 40,
        **dict.fromkeys(splits, 20),
    }
    for prompts in tier.prompts.values():
        assert len({prompt.text for prompt in prompts}) == len(prompts)


def test_prompts_are_true_of_their_scenes_and_ask_what_the_tier_counts(case: tuple[World, Tier]) -> None:
    world, tier = case
    asked: set[str] = set()
    for prompt in (prompt for prompts in tier.prompts.values() for prompt in prompts):
        atoms, scene = prompt.atoms, prompt.scene
        assert scene.world == world.name
        assert atoms == parse(prompt.text, world)
        assert contradictions(atoms, scene) == [], prompt.text
        assert atoms.setting == scene.setting
        assert "relation" not in tier.parts or atoms.relations
        assert "colour" not in tier.parts or all(naming.colour for naming in atoms.things)
        assert "count" not in tier.parts or atoms.things[0].count > 1
        assert "pattern" not in tier.parts or atoms.things[0].texture
        assert "size" not in tier.parts or atoms.things[0].size
        asked |= {part for part in ("time", "weather", "style") if getattr(atoms, part)}
    assert asked >= {*tier.parts} & {"time", "weather", "style"}


def test_held_out_prompts_are_held_out_and_seen_ones_are_not(tier: Tier) -> None:
    for split, prompts in tier.prompts.items():
        assert {frozenset(withheld(prompt.scene)) for prompt in prompts} == {
            frozenset() if split in (SEEN, WORDINGS) else frozenset({split})
        }


def test_the_tiers_of_a_world_are_those_it_has_words_for() -> None:
    assert tiers_for(SPELLING) == tuple(TIERS) == OFFERED
    assert set(TIERS) - {*tiers_for(FULL)} == {"letter"}
    assert set(TIERS) - {*tiers_for(SMALL)} == {"style", "letter"}
    assert {*tiers_for(FULL)} - {*tiers_for(FULL, {"pattern", "weather"})} == {
        *("pattern", "place", "complex", "wording")
    }
    assert "place" in tiers_for(SMALL, {"pattern", "weather", "style"})
    assert "pattern" not in tiers_for(SMALL, {"pattern", "weather", "style"})
    assert [TIERS[name].number for name in OVERALL] == ["T1", "T2", "T3", "T4", "T5", "T6"]
    assert {plan.number for plan in TIERS.values()} == {"", *(f"T{n}" for n in range(1, 10))}


def test_other_wordings_are_kept_templates() -> None:
    tier = make_tier("wording", 30, 30, world=FULL)
    assert any(prompt.text.startswith("this picture shows") for prompt in tier.prompts[WORDINGS])
    plain = ("a picture of", "here is", "a scene")
    assert not any(p.text.startswith(plain) for p in tier.prompts[WORDINGS] if not p.scene.style)


def test_a_seed_always_gives_the_same_prompts() -> None:
    assert make_tier("two", 5, 2).prompts == make_tier("two", 5, 2).prompts
    assert make_tier("two", 5, 0, seed=8).prompts != make_tier("two", 5, 0).prompts
    assert list(make_tier("two", 5, 0).prompts) == [SEEN]


def test_attributed_things_differ_in_colour_so_that_a_swap_shows() -> None:
    for prompt in make_tier("attribution", 40, 0).prompts[SEEN]:
        first, second = prompt.atoms.things
        assert first.colour != second.colour


def test_the_bar_has_enough_seen_prompts() -> None:
    (tier,) = make_tiers(["single"], 250, 0)
    assert len(tier.prompts[SEEN]) == 250


@pytest.mark.parametrize(
    ("name", "seen", "held_out", "complaint"),
    [
        ("singel", 10, 0, "did you mean 'single'"),
        ("style", 10, 0, "the small world has nothing for 'style'"),
        ("two", 1, 0, "2 or more prompts a split"),
        ("two", 5, 1, "2 or more prompts a split"),
        ("count", 5, 400, "not many more than .* of split H3, and 400 were asked for"),
    ],
)
def test_tiers_that_cannot_be_made_are_refused(name: str, seen: int, held_out: int, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        make_tier(name, seen, held_out)
