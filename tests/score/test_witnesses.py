from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fromnoise.score import (
    SEEN,
    Audit,
    ClassicalReader,
    Clip,
    Glance,
    Likeness,
    Memory,
    Section,
    Share,
    Variety,
    Witness,
    make_tier,
)
from fromnoise.score.clip import swapped
from fromnoise.score.witness import Source
from fromnoise.world import SMALL, Prompt, parse
from fromnoise.world.geometry import Box
from fromnoise.world.render import render
from fromnoise.world.seeing import Found, Seen

SIZE = 32


def glance(
    prompts: Sequence[Prompt], pixels: Tensor, source: Source = "model", tier: str = "single", each: int = 1
) -> Glance:
    numbers = tuple(n for n in range(len(prompts)) for _ in range(each))
    seen = [Seen((), "", "")] * len(numbers)
    features = pixels.mean(dim=(2, 3))
    return Glance(tier, SEEN, source, numbers, tuple(prompts[n] for n in numbers), pixels, seen, features)


def only(witness: Witness) -> Section:
    (section,) = witness.tell()
    return section


def rendered(prompts: Sequence[Prompt], size: int = SIZE) -> Tensor:
    return render([prompt.scene for prompt in prompts], size).pixels.float() / 127.5 - 1


@pytest.fixture(scope="module")
def prompts() -> tuple[Prompt, ...]:
    return make_tier("single", 60, 0).prompts[SEEN]


def test_true_pictures_are_like_true_pictures_and_grey_ones_are_not(prompts: tuple[Prompt, ...]) -> None:
    def features(pixels: Tensor) -> Tensor:
        return pixels.mean(dim=(2, 3))

    witness = Likeness(features, [prompt.scene for prompt in prompts[30:]], SIZE)
    witness.watch(glance(prompts[:30], rendered(prompts[:30]), "ceiling"))
    witness.watch(glance(prompts[:30], torch.zeros(30, 3, SIZE, SIZE) - 0.9, "model"))
    grey, true = only(witness).rows
    assert (grey[""], true[""]) == ("model", "ceiling")
    assert abs(float(true["KID × 1000"])) < 3 * float(true["standard error"])  # type: ignore[arg-type]
    assert float(grey["KID × 1000"]) > 10 * float(true["standard error"])  # type: ignore[arg-type]
    assert "30 renders of other" in only(witness).note


def test_variety_is_nothing_for_one_picture_and_one_for_any(prompts: tuple[Prompt, ...]) -> None:
    chance = torch.Generator().manual_seed(0)
    any_ones = torch.rand(60, 3, 1, 1, generator=chance)
    same = any_ones[:20].repeat_interleave(3, dim=0)
    for pixels, low, high in ((same, 0.0, 0.0), (any_ones, 0.8, 1.2)):
        witness = Variety()
        witness.watch(glance(prompts[:20], pixels, each=3))
        (row,) = only(witness).rows
        assert low <= float(row["distance"]) <= high  # type: ignore[arg-type]


def test_the_spread_of_places_is_their_root_mean_square(prompts: tuple[Prompt, ...]) -> None:
    kind = prompts[0].atoms.things[0].kind
    spots = [Found(kind, "red", Box(x, 0.4, x + 0.2, 0.6), 0.04) for x in (0.2, 0.6)]
    one = glance(prompts[:1], torch.zeros(2, 3, 1, 1), each=2)
    seen = [Seen((spot,), "", "") for spot in spots]
    witness = Variety()
    witness.watch(Glance(one.tier, SEEN, "model", one.numbers, one.prompts, one.pixels, seen, one.features))
    (row,) = only(witness).rows
    assert row["spread"] == pytest.approx((2 * 0.2**2) ** 0.5)


def test_a_model_that_repeats_its_training_is_found_out(prompts: tuple[Prompt, ...]) -> None:
    trained = [prompt.scene for prompt in prompts[:40]]
    copier, honest = Memory(trained, 20, SIZE), Memory(trained[20:], 20, SIZE)
    for witness in (copier, honest):
        witness.watch(glance(prompts[:20], rendered(prompts[:20])))
    (row,) = only(copier).rows
    assert (row["copies"], row["nearest has a prompt's facts"]) == (Share(20, 20), Share(20, 20))
    (row,) = only(honest).rows
    assert row["copies"] == Share(0, 20)
    assert "0 of the first 20" in only(honest).note.replace("\n", " ")


def test_the_audit_agrees_on_true_pictures_and_says_where_not() -> None:
    prompts = make_tier("paper", 20, 0).prompts[SEEN]
    second, pixels = ClassicalReader.of(SMALL, 64), rendered(prompts, 64)
    truth = second(pixels)
    one = glance(prompts, pixels, "ceiling", "paper")
    for firsts, agreed in ((truth, 20), ([Seen((), "paper", "")] * 5 + truth[5:], 15)):
        audit = Audit(second)
        audit.watch(Glance("paper", SEEN, "ceiling", one.numbers, prompts, pixels, firsts, one.features))
        audit.watch(glance(prompts, pixels, "model", "single"))  # none of its business
        (row,) = only(audit).rows
        assert row["second checker"] == Share(20, 20)
        assert row["checker"] == row["agree"] == Share(agreed, 20)
    assert list(Audit(second).tell()) == []


@pytest.mark.parametrize("tier", ["attribution", "position", "count"])
def test_a_swapped_prompt_says_something_else_of_the_same_things(tier: str) -> None:
    for prompt in make_tier(tier, 30, 0).prompts[SEEN]:
        other = swapped(prompt, tier)
        assert other is not None
        atoms, changed = prompt.atoms, parse(other)
        assert {t.kind for t in changed.things} == {t.kind for t in atoms.things}
        assert (changed.setting, changed.time) == (atoms.setting, atoms.time)
        if tier == "attribution":
            assert [t.colour for t in changed.things] == [t.colour for t in atoms.things][::-1]
        if tier == "count":
            assert abs(changed.things[0].count - atoms.things[0].count) == 1


@pytest.mark.parametrize(("insight", "right"), [(1.0, 10), (0.0, 0)])
def test_clip_is_asked_whether_it_would_notice(insight: float, right: int) -> None:
    prompts = make_tier("attribution", 10, 0).prompts[SEEN]
    true = {prompt.text for prompt in prompts}

    def like(texts: Sequence[str], pixels: Tensor) -> Tensor:
        return torch.tensor([0.5 + insight * (text in true) for text in texts])

    witness = Clip(like)
    witness.watch(glance(prompts, rendered(prompts), "ceiling", "attribution"))
    witness.watch(glance(prompts, rendered(prompts), "model", "attribution"))
    scores, swaps = witness.tell()
    assert scores.rows == ({"": "attribution", "model": 0.5 + insight, "ceiling": 0.5 + insight},)
    assert swaps.rows == ({"swapped": "colours", "right": Share(right, 10)},)
