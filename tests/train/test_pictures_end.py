"""A folder of pictures becomes batches for the embedded model; a resume repeats them to the bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from fromnoise.errors import RequestError
from fromnoise.images.pixels import read_picture, to_pixels
from fromnoise.nets.latents import unscale_latents
from fromnoise.noise.denoiser import Conditioning
from fromnoise.pipeline import Pipeline
from fromnoise.train.pictures import (
    Buckets,
    FrozenText,
    LatentCache,
    Lesson,
    Lessons,
    Phrasing,
    open_pictures,
)
from fromnoise.weights.model_loader import load_model
from fromnoise.world import sample_scene, scene_seed
from fromnoise.world.render import render

SIZES = [(128, 128), (200, 200), (300, 200), (200, 300)]
STEPS, STOP = 12, 5


@pytest.fixture(scope="module")
def mite() -> Pipeline:
    return Pipeline.of(load_model())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of the world that the model knows, as a user would have them."""
    root = tmp_path_factory.mktemp("album")
    drawn = render([sample_scene(scene_seed(0, k)) for k in range(12)], 128).pixels
    (root / "3_boat").mkdir()
    for k, pixels in enumerate(drawn):
        name = root / "3_boat" / f"{k:02}.png"
        image = Image.frombytes("RGB", (128, 128), pixels.permute(1, 2, 0).contiguous().numpy().tobytes())
        image.resize(SIZES[k % 4]).save(name)
        name.with_suffix(".txt").write_text(f"a red boat, sea, number {k}")
    return root


class Session:
    """What a trainer holds in one process."""

    def __init__(self, mite: Pipeline, folder: Path, held_out: int = 0) -> None:
        self.pictures = pictures = open_pictures(folder)
        self.cache = LatentCache(folder / "run" / "moments", mite.encoder, Buckets.of(mite.spec))
        assert len(list(self.cache.fill(pictures.examples))) == 12
        self.lessons = Lessons(
            pictures.examples,
            self.cache,
            mite.spec,
            mite.tokenizers,
            batch=4,
            seed=7,
            phrasing=Phrasing(dropout=0.3, shuffle=True, keep=1),
            held_out=held_out,
        )
        self.text = FrozenText(mite.reader)

    def at(self, step: int) -> tuple[Lesson, Conditioning]:
        lesson = self.lessons.at(step)
        return lesson, self.text(lesson.captions, lesson.facts)


def equal(a: tuple[Lesson, Conditioning], b: tuple[Lesson, Conditioning]) -> bool:
    (one, cond), (other, cond_of_other) = a, b
    assert cond.pooled is not None
    assert cond_of_other.pooled is not None
    pairs = [
        (one.latents, other.latents),
        (cond.context, cond_of_other.context),
        (cond.pooled, cond_of_other.pooled),
    ]
    plain = (one.captions, one.facts, one.share) == (other.captions, other.facts, other.share)
    return plain and all(torch.equal(first, second) for first, second in pairs)


def test_a_resumed_training_sees_the_same_to_the_last_bit(mite: Pipeline, folder: Path) -> None:
    whole = Session(mite, folder)
    assert whole.cache.encoded == 12  # this test comes first
    seen = [whole.at(step) for step in range(STEPS)]
    resumed = Session(mite, folder)
    assert resumed.cache.encoded == 0
    assert all(equal(resumed.at(step), seen[step]) for step in range(STOP, STEPS))
    assert not equal(seen[0], seen[1])
    assert whole.lessons.digest() == resumed.lessons.digest()


def test_batches_are_what_the_model_learns_from(mite: Pipeline, folder: Path) -> None:
    session = Session(mite, folder)
    buckets, told = Buckets.of(mite.spec), set[str]()
    assert session.lessons.steps_per_epoch >= 12 * 3 // 4  # each picture three times
    count = 0
    for step in range(session.lessons.steps_per_epoch):
        lesson, cond = session.at(step)
        n, channels, height, width = lesson.latents.shape
        assert (8 * width, 8 * height) in buckets.sizes
        assert channels == mite.spec.unet.in_channels
        assert {facts.size for facts in lesson.facts} == {(8 * width, 8 * height)}
        assert {facts.original_size for facts in lesson.facts} <= set(SIZES)
        assert lesson.share == n / 4
        if step == 0:
            alone = [mite.reader(caption, "").cond for caption in lesson.captions]
            assert torch.equal(cond.context, torch.cat([row.context for row in alone]))
            answer = mite.unet(lesson.latents, torch.full((n,), 500.0), cond.context, cond.pooled)
            assert answer.shape == lesson.latents.shape
        told |= set(lesson.captions)
        count += n
    assert count == 36
    assert "" in told
    assert any(not caption.startswith("a red boat, sea") for caption in told if caption)
    assert all(caption.startswith("a red boat, ") for caption in told if caption)


def test_latents_are_in_the_unets_units_and_come_back_as_the_picture(mite: Pipeline, folder: Path) -> None:
    session = Session(mite, folder)
    example = next(e for e in session.lessons.examples if e.size == (128, 128))
    moments = session.cache.gaussian(example)
    place = session.lessons.examples.index(example)
    step = next(s for s in range(STEPS * 3) if place in session.lessons.timetable.at(s))
    row = session.lessons.timetable.at(step).index(place)
    latent = unscale_latents(mite.spec.vae, session.lessons.at(step).latents)[row]
    spread = (0.5 * moments.log_variance[0]).exp()
    off = (latent - moments.mean[0]) / spread
    assert abs(off.mean()) < 0.2
    assert 0.9 < off.std() < 1.1
    with torch.no_grad():
        again = mite.decoder(latent[None])[0]
    truth = to_pixels(read_picture(example.place.path))[0]
    assert (again - truth).abs().mean() < 0.05


def test_pictures_held_out_are_only_looked_at_and_stay_the_same(mite: Pipeline, folder: Path) -> None:
    session, again = Session(mite, folder, held_out=3), Session(mite, folder, held_out=3)
    kept = {example.name for example in session.lessons.held_out}
    assert len(kept) == 3
    assert kept.isdisjoint(example.name for example in session.lessons.examples)
    looks = list(zip(session.lessons.held_out_lessons(), again.lessons.held_out_lessons(), strict=True))
    assert all(torch.equal(one.latents, other.latents) for one, other in looks)
    assert sum(len(one.captions) for one, _ in looks) == 9  # three times each, as in training
    with pytest.raises(RequestError, match="12 of 12 are to be held out"):
        Session(mite, folder, held_out=12)


def test_captions_longer_than_the_window_are_named(mite: Pipeline, folder: Path) -> None:
    session = Session(mite, folder)
    first, *others = session.pictures.examples
    wordy = replace(first, told=replace(first.told, captions=("boat " * 60,)))
    lessons = Lessons([wordy, *others], session.cache, mite.spec, mite.tokenizers, batch=4, seed=0)
    assert lessons.too_long() == ["3_boat/00.png"]
    plain = Lessons(session.pictures.examples, session.cache, mite.spec, mite.tokenizers, batch=4, seed=0)
    assert lessons.digest() != plain.digest()


def test_the_frozen_text_forgets_the_oldest_when_there_is_no_room(mite: Pipeline) -> None:
    captions, facts = ["a red boat", "a blue car"], [None, None]
    roomy, tight = FrozenText(mite.reader), FrozenText(mite.reader, room=1)
    first, second = roomy(captions, facts), tight(captions, facts)  # type: ignore[arg-type]
    assert torch.equal(first.context, second.context)
    assert roomy.taken == 2 * tight.taken
