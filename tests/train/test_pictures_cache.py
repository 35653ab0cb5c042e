import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from shutil import copyfile

import pytest
import torch
from albums import kohya, picture, png, ramp
from PIL import Image

from fromnoise.errors import NonFiniteError, RequestError, StorageError
from fromnoise.nets.encoder import Encoder
from fromnoise.specs import TINY
from fromnoise.train.pictures import Buckets, LatentCache, Lessons, Phrasing, Pictures, Reason, open_pictures
from fromnoise.train.pictures import latent_cache as module
from fromnoise.train.pictures.decoding import cut, decode
from fromnoise.train.pictures.latent_cache import LatentGaussian
from fromnoise.train.pictures.timetable import Timetable
from fromnoise.train.pool import shards_in
from fromnoise.train.state import digest


def encoder_of(seed: int = 0) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Encoder(TINY.vae).eval().requires_grad_(False)


def cache_in(folder: Path, seed: int = 0, encoder_seed: int = 0) -> LatentCache:
    return LatentCache(folder, encoder_of(encoder_seed), Buckets.of(TINY, 16), seed=seed)


def filled(folder: Path, pictures: Pictures, **how: int) -> LatentCache:
    cache = cache_in(folder, **how)
    assert list(cache.fill(pictures.examples)) == list(range(1, len(pictures) + 1))
    return cache


def numbers(cache: LatentCache, pictures: Pictures) -> dict[str, torch.Tensor]:
    return {
        e.name: torch.cat([g.mean, g.log_variance]) for e in pictures.examples for g in [cache.gaussian(e)]
    }


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and digest(a) == digest(b)


def test_the_moments_are_those_of_the_cropped_picture(tmp_path: Path) -> None:
    image = ramp((96, 64))
    image.save(tmp_path / "a.png")
    pictures = open_pictures(tmp_path, caption="x")
    cache = filled(tmp_path / "run", pictures)
    (example,) = pictures.examples
    size, (left, top, right, bottom) = cache.bucket(example), cache.box(example)
    by_hand = image.resize(size, Image.Resampling.LANCZOS, box=(left, top, right, bottom), reducing_gap=3.0)
    flat = torch.frombuffer(bytearray(by_hand.tobytes()), dtype=torch.uint8)
    pixels = flat.view(1, size[1], size[0], 3).permute(0, 3, 1, 2) / 127.5 - 1
    latent: LatentGaussian = encoder_of()(pixels)
    found = cache.gaussian(example)
    assert torch.equal(found.mean, latent.mean.half().float())
    assert torch.equal(found.log_variance, latent.log_variance.half().float())


def test_pictures_that_are_not_plain_are_what_one_would_see(tmp_path: Path) -> None:
    def middle(path: Path, size: tuple[int, int] = (32, 32)) -> tuple[int, ...]:
        image = decode(path.read_bytes())
        assert image.size == size
        return tuple(cut(image, (0, 0, *size), (16, 16), "white").rgb[:3])

    assert middle(picture(tmp_path / "deep.png", (32, 32), "I;16", color=40_000)) == (155,) * 3
    assert middle(picture(tmp_path / "print.jpg", (32, 32), "CMYK", color=(0, 0, 0, 0))) == (255,) * 3
    assert middle(picture(tmp_path / "bits.png", (32, 32), "1", color=1)) == (255,) * 3
    assert middle(picture(tmp_path / "grey.webp", (32, 32), "LA", color=(9, 0))) == (255,) * 3
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([1, 2, 3, 40, 50, 60])
    palette.save(tmp_path / "palette.png")
    assert middle(tmp_path / "palette.png") == (40, 50, 60)
    palette.save(tmp_path / "clear.png", transparency=1)
    assert middle(tmp_path / "clear.png") == (255,) * 3
    frames = [Image.new("RGB", (32, 32), (shade,) * 3) for shade in (30, 200)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    assert middle(tmp_path / "moving.png") == (30,) * 3
    half = Image.new("RGB", (40, 20))
    half.paste((255, 255, 255), (0, 10, 40, 20))  # white below; turned right, that is on the left
    exif = Image.Exif()
    exif[274] = 6
    half.save(tmp_path / "turned.png", exif=exif)
    assert middle(tmp_path / "turned.png", (20, 40)) == (255,) * 3


def test_a_picture_is_encoded_once_and_again_only_if_it_changes(tmp_path: Path) -> None:
    pictures = open_pictures(kohya(tmp_path / "p", 5))
    run = tmp_path / "run"
    first = filled(run, pictures)
    second = filled(run, pictures)
    assert (first.encoded, second.encoded) == (5, 0)
    assert same(numbers(first, pictures), numbers(second, pictures))

    before = numbers(first, pictures)
    stat = (tmp_path / "p" / "002.png").stat()
    (tmp_path / "p" / "002.png").write_bytes(png((40, 30), shade=200))
    os.utime(
        tmp_path / "p" / "002.png", ns=(stat.st_atime_ns, stat.st_mtime_ns)
    )  # as if nothing had happened
    copyfile(tmp_path / "p" / "001.png", tmp_path / "p" / "004.png")  # a copy is not encoded again
    third = filled(run, pictures)
    after = numbers(third, pictures)
    assert third.encoded == 1
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"002.png", "004.png"}
    assert torch.equal(after["004.png"], after["001.png"])


@pytest.mark.parametrize("other", [{"seed": 1}, {"encoder_seed": 1}])
def test_another_crop_or_autoencoder_is_not_mixed_up(tmp_path: Path, other: dict[str, int]) -> None:
    picture(tmp_path / "p" / "a.png", (90, 32))
    ramp((90, 32)).save(tmp_path / "p" / "a.png")
    pictures, run = open_pictures(tmp_path / "p", caption="x"), tmp_path / "run"
    first = filled(run, pictures)
    second = filled(run, pictures, **other)
    assert second.encoded == 1
    assert not same(numbers(first, pictures), numbers(second, pictures))
    assert bool(second.notes) == ("encoder_seed" in other)
    assert len(shards_in(run)) == 1  # what nobody uses is swept out


def test_an_interrupted_run_keeps_what_it_has_and_ends_with_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD", 2)
    pictures = open_pictures(kohya(tmp_path / "p", 7))
    whole = filled(tmp_path / "whole", pictures)
    filling = cache_in(tmp_path / "halves").fill(pictures.examples)
    while next(filling) < 3:
        pass
    filling.close()
    rest = filled(tmp_path / "halves", pictures)
    assert (whole.encoded, rest.encoded) == (7, 4)
    assert same(numbers(whole, pictures), numbers(rest, pictures))
    assert len(shards_in(tmp_path / "whole")) == 4


def test_a_kill_loses_no_more_than_three_minutes_of_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10**6, 50))  # each look at it is 50 seconds later
    monkeypatch.setattr(module, "monotonic", clock.__next__)
    pictures, run = open_pictures(kohya(tmp_path / "p", 7)), tmp_path / "run"
    filling = cache_in(run).fill(pictures.examples)
    there: list[int] = []
    for _ in pictures.examples:
        next(filling)
        there.append(len(shards_in(run)))
    assert there == [0, 0, 0, 1, 1, 1, 1]  # and not every picture in a file of its own
    filling.close()
    assert filled(run, pictures).encoded == 0


def test_two_processes_do_not_encode_into_one_folder(tmp_path: Path) -> None:
    pictures = open_pictures(kohya(tmp_path / "p", 2))
    filling = cache_in(tmp_path / "run").fill(pictures.examples)
    next(filling)
    with pytest.raises(StorageError, match="another process is at work in"):
        next(cache_in(tmp_path / "run").fill(pictures.examples))
    filling.close()
    assert filled(tmp_path / "run", pictures).encoded == 1


def test_a_damaged_shard_is_told_of_and_made_again(tmp_path: Path) -> None:
    pictures, run = open_pictures(kohya(tmp_path / "p", 3)), tmp_path / "run"
    before = numbers(filled(run, pictures), pictures)
    before = {name: tensor.clone() for name, tensor in before.items()}
    (path,) = shards_in(run)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    again = filled(run, pictures)
    assert again.encoded == 3
    assert "is damaged" in again.notes[0]
    assert same(numbers(again, pictures), before)
    assert len(shards_in(run)) == 1


def test_pictures_that_cannot_be_decoded_are_left_out(tmp_path: Path) -> None:
    kohya(tmp_path / "p", 12)
    path = tmp_path / "p" / "005.png"
    path.write_bytes(path.read_bytes()[:60])  # the header is sound
    pictures = open_pictures(tmp_path / "p")
    cache = filled(tmp_path / "run", pictures)
    assert (len(pictures), cache.encoded) == (12, 11)
    ((name, reason),) = [(skip.name, skip.reason) for skip in cache.skipped]
    assert (name, reason) == ("005.png", Reason.DAMAGED)
    lessons = Lessons(pictures.examples, cache, TINY, (), batch=10, seed=0)
    assert len(lessons.examples) == 11


def test_a_full_disk_is_one_line_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, run = open_pictures(kohya(tmp_path / "p", 3)), tmp_path / "run"

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fromnoise.train.state.write_tensors", fail)
        with pytest.raises(StorageError, match=r"cannot write .*: No space left on device") as caught:
            list(cache_in(run).fill(pictures.examples))
    assert "free some space" in caught.value.hint
    assert list(run.iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setattr("fromnoise.durable.disk_usage", lambda _: type("Usage", (), {"free": 10}))
        with pytest.raises(StorageError, match="for the encoded pictures, its disk has 10 bytes free"):
            next(cache_in(run).fill(pictures.examples))
    assert filled(run, pictures).encoded == 3


def test_an_autoencoder_that_overflows_is_named(tmp_path: Path) -> None:
    pictures = open_pictures(kohya(tmp_path / "p", 1))
    encoder = encoder_of()
    encoder.to_gaussian.bias.data.fill_(1e6)  # type: ignore[union-attr]
    cache = LatentCache(tmp_path / "run", encoder, Buckets.of(TINY, 16))
    with pytest.raises(NonFiniteError, match=r"answer to 000.png is not finite"):
        list(cache.fill(pictures.examples))


# --- batches ---


@pytest.mark.parametrize(("batch", "seed"), [(1, 0), (3, 0), (4, 1), (100, 2)])
def test_every_epoch_shows_every_place_once_in_batches_of_one_bucket(batch: int, seed: int) -> None:
    groups = [[0, 1, 2, 3, 4, 5, 6], [7, 8, 8], [], [9]]
    table = Timetable(groups, batch, seed)
    epochs = [[table.at(e * table.steps + k) for k in range(table.steps)] for e in range(3)]
    for epoch in epochs:
        assert sorted(chain(*epoch)) == sorted(chain(*groups))
        assert all(any(set(some) <= set(group) for group in groups) for some in epoch)
        assert max(map(len, epoch)) <= batch
    assert epochs[0] != epochs[1]
    fresh = Timetable(groups, batch, seed)
    last = 3 * table.steps - 1
    assert fresh.at(last) == epochs[2][-1]
    assert [fresh.at(k) for k in range(table.steps)] == epochs[0]


def put(phrasing: Phrasing, captions: Sequence[Sequence[str]], seed: int = 0, step: int = 0) -> list[str]:
    return phrasing(captions, seed, step)


def test_captions_are_left_out_as_often_as_asked() -> None:
    many = [("a red boat",)] * 1000
    assert put(Phrasing(dropout=0.0), many) == ["a red boat"] * 1000
    assert put(Phrasing(dropout=1.0), many) == [""] * 1000
    silent = put(Phrasing(), many).count("")
    assert 62 < silent < 138  # 100, and 4 standard deviations of 9.5
    assert put(Phrasing(), many) == put(Phrasing(), many)
    assert put(Phrasing(), many) != put(Phrasing(), many, step=1)
    assert put(Phrasing(), many) != put(Phrasing(), many, seed=1)


def test_tags_are_shuffled_behind_those_that_are_kept() -> None:
    tags = "sks dog, grass,sun , tree"
    shuffled = put(Phrasing(dropout=0, shuffle=True, keep=1), [(tags,)] * 200)
    assert {caption.split(", ")[0] for caption in shuffled} == {"sks dog"}
    assert {tuple(sorted(caption.split(", ")[1:])) for caption in shuffled} == {("grass", "sun", "tree")}
    assert len(set(shuffled)) == 6
    assert put(Phrasing(dropout=0), [(tags,)]) == [tags]
    assert put(Phrasing(dropout=0, shuffle=True, keep=9), [(tags,)]) == ["sks dog, grass, sun, tree"]


def test_of_several_captions_each_gets_its_turn() -> None:
    chosen = put(Phrasing(dropout=0), [("one", "two", "three")] * 300)
    assert all(70 < chosen.count(word) < 130 for word in ("one", "two", "three"))


def test_chances_outside_their_range_are_refused() -> None:
    with pytest.raises(RequestError, match=r"caption dropout: 1\.5 is outside"):
        Phrasing(dropout=1.5)
    with pytest.raises(RequestError, match="tags kept: -1"):
        replace(Phrasing(), keep=-1)
