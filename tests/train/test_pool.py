from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Rehearsal
from hypothesis import given, settings
from hypothesis import strategies as st

from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.train.oracle import OracleTask
from fromnoise.train.pool import batch_at, divided, grow, open_pool
from fromnoise.train.presets import MITE_RUN, TINY_RUN, run_for
from fromnoise.train.state import generator, write_checkpoint
from fromnoise.world import (
    FULL,
    SMALL,
    Mix,
    contradictions,
    parse,
    sample_scene,
    scene_seed,
    unknown_words,
)
from fromnoise.world.render import render
from fromnoise.world.vocabulary import STYLES, WEATHERS


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 3))
def test_every_epoch_shows_everything_once(count: int, batch: int, seed: int) -> None:
    epochs = 2
    steps = -(-epochs * count // batch)
    order = torch.cat([batch_at(step, batch, count, seed) for step in range(steps)])[: epochs * count]
    for epoch in order.view(epochs, count):
        assert sorted(epoch.tolist()) == list(range(count))


def test_epochs_and_seeds_differ_and_steps_repeat() -> None:
    first, second = batch_at(0, 100, 100, 0), batch_at(1, 100, 100, 0)
    assert not torch.equal(first, second)
    assert not torch.equal(first, batch_at(0, 100, 100, 1))
    assert torch.equal(first, batch_at(0, 100, 100, 0))


def test_batches_stay_those_that_trainings_under_way_saw() -> None:
    assert batch_at(0, 8, 1000, 0).tolist() == [519, 836, 768, 731, 551, 493, 197, 667]


def test_generators_of_different_keys_are_independent() -> None:
    keys = [
        (0,),
        (1,),
        (0, 0),
        (0, 1),
        (1, 0),
        (0, 1, 2),
        (0, 2, 1),
        (2**63,),
        *((0, 5, n) for n in range(500)),
    ]
    draws = torch.stack([torch.randn(256, generator=generator(*key)) for key in keys])
    assert len({tuple(draw[:2].tolist()) for draw in draws}) == len(keys)
    correlation = torch.corrcoef(draws) - torch.eye(len(keys))
    assert correlation.abs().max() < 6 / 256**0.5  # 6 standard deviations, 130,000 pairs
    assert abs(draws.mean()) < 0.02
    assert torch.equal(draws[4], torch.randn(256, generator=generator(1, 0)))


def test_a_pool_holds_the_pictures_and_captions_of_its_scenes(rehearsal: Rehearsal) -> None:
    pool = open_pool(rehearsal.folder / "pool")
    scenes = [sample_scene(scene_seed(0, index)) for index in (0, 33, 63)]
    drawn = render(scenes, 32)
    places = torch.tensor([0, 33, 63])
    assert torch.equal(pool.pictures(places), drawn.pixels.float() / 127.5 - 1)
    assert torch.equal(pool.kinds[places], drawn.kinds[:, 2::4, 2::4])
    for scene, place in zip(scenes, places.tolist(), strict=True):
        assert len(pool.captions[place]) == 4
        for caption in pool.captions[place]:
            assert contradictions(parse(caption), scene) == []


def test_a_pool_that_is_there_is_not_rendered_again(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fromnoise.train.pool.render", None)
    assert list(grow(rehearsal.folder / "pool", 64, size=32, shard=32)) == [32, 64]


def test_a_pool_of_other_pictures_is_not_grown(rehearsal: Rehearsal) -> None:
    for other in ({"size": 64}, {"seed": 1}, {"shard": 16}):
        with pytest.raises(WeightsError, match="holds pictures of 32 pixels, seed 0, 32 a shard, not of"):
            next(grow(rehearsal.folder / "pool", 64, **{"size": 32, "shard": 32} | other))


def test_a_pool_of_the_full_world_also_holds_weather_and_style(tmp_path: Path) -> None:
    mix = Mix(world=FULL)
    assert list(grow(tmp_path, 16, size=32, mix=mix, shard=16)) == [16]
    pool, scenes = open_pool(tmp_path), [sample_scene(scene_seed(0, index), mix) for index in range(16)]
    assert [WEATHERS[i] for i in pool.weather.tolist()] == [scene.weather for scene in scenes]
    assert [STYLES[i] for i in pool.style.tolist()] == [scene.style for scene in scenes]
    assert pool.textures is not None
    assert torch.equal(pool.textures, render(scenes, 32).textures[:, 2::4, 2::4])
    for scene, captions in zip(scenes, pool.captions, strict=True):
        assert [contradictions(parse(caption, FULL), scene) for caption in captions] == [[]] * 4
    with pytest.raises(WeightsError, match="holds scenes of the full world, not of the small one"):
        next(grow(tmp_path, 16, size=32, shard=16))


def test_an_oracle_of_the_full_world_learns_weather_and_style_too(tmp_path: Path) -> None:
    preset = TINY_RUN.in_world(FULL)
    list(grow(tmp_path, 16, size=32, mix=preset.mix, shard=16))
    task = OracleTask(preset.oracle_spec, open_pool(tmp_path), replace(preset.oracle, held_out=4))
    loss, told = task.loss(0)
    assert set(told) == {"kinds", "colours", "setting", "time", "weather", "style", "textures"}
    assert loss.item() == pytest.approx(sum(told.values()), rel=1e-4)
    assert {"weather_right", "style_right", "texture_right"} <= set(task.look(tmp_path, 0))
    small = OracleTask(
        preset.oracle_spec, replace(task.pool, textures=None), replace(preset.oracle, held_out=4)
    )
    with pytest.raises(RequestError, match="the pool tells of none") as caught:
        small.loss(0)
    assert "--world" in caught.value.hint


def test_the_presets_train_on_the_small_world_unless_told() -> None:
    assert MITE_RUN.world is SMALL
    assert MITE_RUN.in_world(SMALL) is MITE_RUN
    assert run_for(SMALL) is MITE_RUN
    assert (run_for(SMALL, tiny=True), run_for(FULL, tiny=True).world) == (TINY_RUN, FULL)
    full = run_for(FULL)
    assert (full.world, full.spec.unet) == (FULL, MITE_RUN.spec.unet)
    assert (full.oracle_spec.kinds, full.oracle_spec.weathers) == (len(FULL.things) + 1, len(WEATHERS))
    for prompt in full.prompts:
        assert unknown_words(prompt, FULL) == []
        assert len(parse(prompt, FULL).things) in (1, 2)


def test_what_is_no_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no pool"):
        open_pool(tmp_path)
    write_checkpoint(tmp_path / "shard-00000.safetensors", {"pixels": torch.zeros(1)}, {})
    with pytest.raises(WeightsError):
        open_pool(tmp_path)
    (tmp_path / "shard-00000.safetensors").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="not a readable file"):
        open_pool(tmp_path)


def test_scenes_held_out_are_the_last_ones() -> None:
    trained_on, held_out = divided(10, 3)
    assert (trained_on, held_out.tolist()) == (7, [7, 8, 9])
    with pytest.raises(RequestError, match="10 of its 10 scenes"):
        divided(10, 10)
