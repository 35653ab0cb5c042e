from pathlib import Path

import pytest
import torch
from torch import Tensor

from fromnoise.errors import RequestError
from fromnoise.score import kept

HOW = {"model": "abc", "steps": 20}


class Painter:
    """Paints each seed in a shade of its own, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __call__(self, prompts: list[str], seeds: list[int]) -> Tensor:
        self.asked += zip(prompts, seeds, strict=True)
        shades = torch.tensor([seed / 127.5 - 1 for seed in seeds])
        return shades.view(-1, 1, 1, 1).expand(-1, 3, 16, 16)


def test_a_picture_is_drawn_once_and_comes_back_to_the_byte(tmp_path: Path) -> None:
    painter = Painter()
    draw = kept(painter, tmp_path / "kept", HOW)
    first = draw(["a cat", "a dog"], [1, 2])
    again = kept(painter, tmp_path / "kept", HOW)(["a dog", "a cat", "a cat"], [2, 1, 3])
    assert painter.asked == [("a cat", 1), ("a dog", 2), ("a cat", 3)]
    assert torch.equal(again[:2], first.flip(0))
    assert torch.equal(((first + 1) * 127.5).round()[:, 0, 0, 0], torch.tensor([1.0, 2.0]))


def test_another_model_or_setting_has_pictures_of_its_own(tmp_path: Path) -> None:
    painter = Painter()
    for how in (HOW, HOW | {"model": "xyz"}, HOW | {"steps": 4}, HOW):
        kept(painter, tmp_path, how)(["a cat"], [1])
    assert len(painter.asked) == 3


def test_what_was_drawn_before_an_interruption_is_there(tmp_path: Path) -> None:
    def failing(prompts: list[str], seeds: list[int]) -> Tensor:
        if 2 in seeds:
            raise KeyboardInterrupt
        return Painter()(prompts, seeds)

    draw = kept(failing, tmp_path, HOW)
    draw(["a cat"], [1])
    with pytest.raises(KeyboardInterrupt):
        draw(["a cat"], [2])
    painter = Painter()
    kept(painter, tmp_path, HOW)(["a cat", "a cat"], [1, 2])
    assert painter.asked == [("a cat", 2)]


def test_a_damaged_picture_is_named_not_scored(tmp_path: Path) -> None:
    draw = kept(Painter(), tmp_path, HOW)
    draw(["a cat"], [1])
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(RequestError, match="is damaged") as caught:
        draw(["a cat"], [1])
    assert f"delete {file}" in caught.value.hint
