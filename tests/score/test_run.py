from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fromnoise.errors import NonFiniteError, RequestError
from fromnoise.score import SEEN, Draw, Progress, Report, Settings, Share, Tier, make_tier, score
from fromnoise.world import Prompt
from fromnoise.world.render import render
from fromnoise.world.seeing import Seen, sightings

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
    kept = last(score(album.draw, album.read, [tier], SMALL, rebuild=torch.clone)).row(
        "single", SEEN, "rebuilt"
    )
    lost = last(score(album.draw, blind.read, [tier], SMALL, rebuild=torch.zeros_like)).row(
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
    assert used == list(range(700, 748))
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


@pytest.mark.parametrize("name", ["seeds_per_prompt", "batch"])
def test_settings_are_positive(name: str) -> None:
    with pytest.raises(RequestError, match=f"{name}: must be 1 or more, not 0"):
        Settings(**{name: 0})
