from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from fromnoise.errors import NonFiniteError, RequestError
from fromnoise.score import (
    SEEN,
    Beside,
    Draw,
    Glance,
    Progress,
    Report,
    Section,
    Settings,
    Share,
    Tier,
    make_tier,
    score,
)
from fromnoise.world import Prompt, Scene
from fromnoise.world.geometry import Box
from fromnoise.world.render import render
from fromnoise.world.seeing import Found, Seen, sightings

SIZE = 64
SMALL = Settings(seeds_per_prompt=2, batch=5, size=SIZE)


@dataclass(frozen=True)
class Album:
    """Renders of known scenes, and a reader that recognises each by its pixels."""

    pages: dict[str, int]
    pixels: Tensor
    truth: Sequence[Seen]

    @classmethod
    def of(cls, prompts: Sequence[Prompt]) -> "Album":
        scenes = [prompt.scene for prompt in prompts]
        drawn = render(scenes, SIZE)
        maps = zip(scenes, drawn.kinds, drawn.colours, strict=True)
        truth = [sightings(kinds, colours, s.setting, s.time) for s, kinds, colours in maps]
        return cls({p.text: n for n, p in enumerate(prompts)}, drawn.pixels.float() / 127.5 - 1, truth)

    def draw(self, texts: list[str], seeds: list[int]) -> Tensor:
        assert len(texts) == len(seeds)
        return self.pixels[[self.pages[text] for text in texts]]

    def read(self, pixels: Tensor) -> list[Seen]:
        distances = torch.cdist(pixels.flatten(1), self.pixels.flatten(1))
        assert distances.amin(1).max() < 1, "a picture that is not in the album"
        return [self.truth[n] for n in distances.argmin(1).tolist()]


@pytest.fixture(scope="module")
def tier() -> Tier:
    return make_tier("single", 16, 4)


@pytest.fixture(scope="module")
def album(tier: Tier) -> Album:
    return Album.of([prompt for prompts in tier.prompts.values() for prompt in prompts])


def last(events: Iterator[Progress | Report]) -> Report:
    *_, report = events
    assert isinstance(report, Report)
    return report


def test_right_pictures_score_like_the_ceiling(tier: Tier, album: Album) -> None:
    report = last(score(album.draw, album.read, [tier], SMALL))
    for split, prompts in tier.prompts.items():
        model, ceiling = report.row("single", split, "model"), report.row("single", split, "ceiling")
        assert model is not None
        assert ceiling is not None
        assert (model.pictures, ceiling.pictures) == (2 * len(prompts), len(prompts))
        assert {share.value for share in model.shares.values()} == {1.0}
        assert {share.value for share in ceiling.shares.values()} == {1.0}
        assert model.faults == ceiling.faults == {}
    assert report.misses() == []
    assert all(picture.faults == () for picture in report.pictures)


def test_wrong_pictures_score_nothing(tier: Tier, album: Album) -> None:
    prompts = tier.prompts[SEEN]
    other = {p.text: next(q.text for q in prompts if nothing_alike(p, q)) for p in prompts}

    def draw(texts: list[str], seeds: list[int]) -> Tensor:
        return album.draw([other[text] for text in texts], seeds)

    seen_only = Tier(tier.name, tier.title, tier.parts, {SEEN: prompts})
    report = last(score(draw, album.read, [seen_only], SMALL))
    row = report.row("single", SEEN, "model")
    assert row is not None
    assert {share.value for share in row.shares.values()} == {0.0}
    assert row.faults["missing"] == row.faults["wrong setting"] == 32
    assert report.misses()[0] == "model: object is right in 0.0 %, below 80 %"


def nothing_alike(p: Prompt, q: Prompt) -> bool:
    a, b = p.atoms, q.atoms
    return a.things[0].kind != b.things[0].kind and a.setting != b.setting and p.scene.time != q.scene.time


def test_the_floor_is_the_pictures_under_exchanged_prompts(tier: Tier, album: Album) -> None:
    prompts = tier.prompts[SEEN]
    row = last(score(album.draw, album.read, [tier], SMALL)).row("single", SEEN, "floor")
    pairs = list(zip(prompts, prompts[1:] + prompts[:1], strict=True))
    alike = sum(p.scene.setting == q.atoms.setting for p, q in pairs)
    kinds = sum(p.scene.things[0].kind == q.atoms.things[0].kind for p, q in pairs)
    assert row is not None
    assert row.shares["setting"] == Share(2 * alike, 32)
    assert row.shares["object"] == Share(2 * kinds, 32)


def test_the_autoencoder_is_judged_by_what_survives_it(tier: Tier, album: Album) -> None:
    blank = torch.cat([album.pixels, torch.zeros(1, 3, SIZE, SIZE)])
    blind = Album(album.pages, blank, [*album.truth, Seen((), "", "")])
    kept = last(score(album.draw, album.read, [tier], SMALL, Beside(rebuild=torch.clone))).row(
        "single", SEEN, "rebuilt"
    )
    lost = last(score(album.draw, blind.read, [tier], SMALL, Beside(rebuild=torch.zeros_like))).row(
        "single", SEEN, "rebuilt"
    )
    assert kept is not None
    assert lost is not None
    assert (kept.shares["all"], lost.shares["all"]) == (Share(16, 16), Share(0, 16))


def test_progress_counts_every_picture_once(tier: Tier, album: Album) -> None:
    *steps, _ = score(album.draw, album.read, [tier], SMALL)
    done = [step.done for step in steps if isinstance(step, Progress)]
    assert len(done) == len(steps)
    assert done == sorted(set(done))
    assert done[-1] == steps[-1].of == (16 + 4 + 4) * 3  # type: ignore[union-attr]


def test_seeds_are_all_different_and_start_where_told(tier: Tier, album: Album) -> None:
    used: list[int] = []

    def draw(texts: list[str], seeds: list[int]) -> Tensor:
        used.extend(seeds)
        assert len(texts) <= 5
        return album.draw(texts, seeds)

    seen_only = Tier(tier.name, tier.title, tier.parts, {SEEN: tier.prompts[SEEN]})
    settings = Settings(seeds_per_prompt=3, batch=5, size=SIZE, first_seed=700)
    report = last(score(draw, album.read, [seen_only], settings))
    assert used == [700 + 100 * prompt + which for prompt in range(16) for which in range(3)]
    assert [picture.seed for picture in report.pictures] == used
    assert [p.prompt for p in report.pictures[:4]] == [tier.prompts[SEEN][n].text for n in (0, 0, 0, 1)]


@pytest.mark.parametrize(
    ("draw", "error", "complaint"),
    [
        (
            lambda texts, seeds: torch.full((len(texts), 3, SIZE, SIZE), torch.nan),
            NonFiniteError,
            "not finite",
        ),
        (lambda texts, seeds: torch.zeros(1, 3, SIZE, SIZE), RequestError, r"\(5, 3, H, W\), not \(1, 3"),
        (lambda texts, seeds: torch.zeros(len(texts), SIZE, SIZE), RequestError, r"\(5, 3, H, W\)"),
    ],
)
def test_what_is_no_picture_is_refused(
    tier: Tier, album: Album, draw: Draw, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        last(score(draw, album.read, [tier], SMALL))


def test_more_prompts_and_seeds_add_pictures_and_change_none(tier: Tier, album: Album) -> None:
    def asked(prompts: int, seeds: int) -> set[tuple[str, int]]:
        used: set[tuple[str, int]] = set()

        def draw(texts: list[str], numbers: list[int]) -> Tensor:
            used.update(zip(texts, numbers, strict=True))
            return album.draw(texts, numbers)

        few = Tier(tier.name, tier.title, tier.parts, {SEEN: tier.prompts[SEEN][:prompts]})
        last(score(draw, album.read, [few], Settings(seeds_per_prompt=seeds, batch=5, size=SIZE)))
        return used

    assert asked(4, 2) < asked(8, 2) < asked(8, 4)


def test_what_comes_to_mind_is_judged_like_a_drawing(tier: Tier, album: Album) -> None:
    def recall(prompts: Sequence[Prompt]) -> list[Scene]:
        return [prompt.scene for prompt in prompts][::-1]

    row = last(score(album.draw, album.read, [tier], SMALL, Beside(recall=recall))).row(
        "single", SEEN, "retrieval"
    )
    prompts = tier.prompts[SEEN]
    alike = sum(p.scene.setting == q.scene.setting for p, q in zip(prompts, prompts[::-1], strict=True))
    assert row is not None
    assert row.shares["setting"] == Share(alike, 16)


class Bystander:
    def __init__(self) -> None:
        self.glances: list[Glance] = []

    def watch(self, glance: Glance) -> None:
        self.glances.append(glance)

    def tell(self) -> Iterator[Section]:
        yield Section("seen", ({"pictures": sum(len(glance.pixels) for glance in self.glances)},))


def test_witnesses_see_every_picture_with_its_prompt_and_features(tier: Tier, album: Album) -> None:
    witness = Bystander()
    beside = Beside(features=lambda pixels: pixels.mean(dim=(2, 3)), witnesses=(witness,))
    report = last(score(album.draw, album.read, [tier], SMALL, beside))
    assert report.sections == (Section("seen", ({"pictures": 24 * 3},)),)
    for glance in witness.glances:
        assert [tier.prompts[glance.split][n] for n in glance.numbers] == list(glance.prompts)
        assert torch.equal(glance.features, glance.pixels.mean(dim=(2, 3)))
        assert len(glance.seen) == len(glance.prompts) <= 5


def test_atoms_are_counted_one_by_one_and_what_is_not_named_is_told(tier: Tier, album: Album) -> None:
    prompts = tier.prompts[SEEN]

    def read(pixels: Tensor) -> list[Seen]:
        stranger = Found("robot", "red", Box(0, 0, 0.1, 0.1), 0.01)
        return [replace(seen, setting="", things=(*seen.things, stranger)) for seen in album.read(pixels)]

    seen_only = Tier(tier.name, tier.title, tier.parts, {SEEN: prompts})
    row = last(score(album.draw, read, [seen_only], SMALL)).row("single", SEEN, "model")
    assert row is not None
    atoms = sum(len({*p.atoms.things}) * 2 + 1 + bool(p.atoms.time) for p in prompts)
    assert row.shares["atoms"] == Share(2 * (atoms - 16), 2 * atoms)
    assert row.shares["all"] == Share(0, 32)
    robots = sum(p.atoms.things[0].kind == "robot" for p in prompts)
    assert row.faults["extra"] == 32 - 2 * robots


@pytest.mark.parametrize("name", ["seeds_per_prompt", "batch"])
def test_settings_are_positive(name: str) -> None:
    with pytest.raises(RequestError, match=f"{name}: must be 1 or more, not 0"):
        Settings(**{name: 0})


def test_no_prompt_has_more_seeds_than_are_set_aside_for_it() -> None:
    with pytest.raises(RequestError, match="seeds_per_prompt: must be 100 or less"):
        Settings(seeds_per_prompt=101)
