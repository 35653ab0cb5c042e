from dataclasses import replace

import pytest
import torch

from fromnoise.score.copies import TWINS, copied, graph, nearest_two, thumbnails, twins
from fromnoise.score.retrieval import captioned, looked_up
from fromnoise.world import Scene, sample_scene, scene_seed
from fromnoise.world.render import render


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(scene_seed(11, index)) for index in range(40)]


@pytest.fixture(scope="module")
def pixels(scenes: list[Scene]) -> torch.Tensor:
    return render(scenes, 64).pixels.float() / 127.5 - 1


def test_copies_are_found_even_with_noise_and_strangers_are_not(pixels: torch.Tensor) -> None:
    pool, strangers = thumbnails(pixels[:30]), thumbnails(pixels[30:])
    noise = 0.05 * torch.randn(pixels[:10].shape, generator=torch.Generator().manual_seed(0))
    assert copied(thumbnails(pixels[:10]), pool).all()
    assert copied(thumbnails(pixels[:10] + noise), pool).all()
    assert not copied(strangers, pool).any()


def test_the_two_nearest_are_told_with_their_distances() -> None:
    distances, which = nearest_two(
        torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0], [9.0, 9.0]])
    )
    assert distances.tolist() == [[1.0, 5.0]]
    assert which.tolist() == [[1, 0]]


def test_a_third_of_the_distance_is_a_copy_and_half_of_it_is_none() -> None:
    pool = torch.tensor([[0.0], [4.0]])
    assert copied(torch.tensor([[1.0], [0.9], [4 / 3 + 0.01]]), pool).tolist() == [True, True, False]


def test_twins_have_the_same_facts_and_are_few(scenes: list[Scene]) -> None:
    one = scenes[0]
    moved = [replace(one, seed=n, things=tuple(replace(t, x=t.x / 2) for t in one.things)) for n in range(9)]
    other = replace(one, seed=99, setting="space" if one.setting != "space" else "sea")
    found = twins([one], [*moved, other])
    assert found == moved[:TWINS]
    assert graph(other) != graph(one)


def test_looking_up_finds_the_scene_that_its_caption_tells_of(scenes: list[Scene]) -> None:
    captions = captioned(scenes)
    assert looked_up(captions, scenes, captions) == [scenes[captions.index(text)] for text in captions]
    assert looked_up(["nothing of all this"], scenes[:1], captions[:1]) == scenes[:1]
