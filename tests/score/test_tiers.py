import pytest

from fromnoise.errors import RequestError
from fromnoise.score import SEEN, TIERS, Tier, make_tier, make_tiers
from fromnoise.world import contradictions, withheld


@pytest.fixture(scope="module", params=TIERS)
def tier(request: pytest.FixtureRequest) -> Tier:
    return make_tier(request.param, 40, 20)


def test_prompts_are_different_and_as_many_as_asked(tier: Tier) -> None:
    assert {split: len(prompts) for split, prompts in tier.prompts.items()} == {
        SEEN: 40,
        **dict.fromkeys(TIERS[tier.name].splits, 20),
    }
    for prompts in tier.prompts.values():
        assert len({prompt.text for prompt in prompts}) == len(prompts)


def test_prompts_are_true_of_their_scenes_and_ask_what_the_tier_counts(tier: Tier) -> None:
    for prompts in tier.prompts.values():
        for prompt in prompts:
            assert contradictions(prompt.atoms, prompt.scene) == [], prompt.text
            assert prompt.atoms.setting == prompt.scene.setting
            assert "relation" not in tier.parts or prompt.atoms.relations
            assert "colour" not in tier.parts or all(naming.colour for naming in prompt.atoms.things)
            assert "count" not in tier.parts or prompt.atoms.things[0].count > 1


def test_held_out_prompts_are_held_out_and_seen_ones_are_not(tier: Tier) -> None:
    for split, prompts in tier.prompts.items():
        assert {frozenset(withheld(prompt.scene)) for prompt in prompts} == {
            frozenset() if split == SEEN else frozenset({split})
        }


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
        ("two", 1, 0, "2 or more prompts a split"),
        ("two", 5, 1, "2 or more prompts a split"),
        ("count", 5, 400, "not many more than .* of split H3, and 400 were asked for"),
    ],
)
def test_tiers_that_cannot_be_made_are_refused(name: str, seen: int, held_out: int, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        make_tier(name, seen, held_out)
