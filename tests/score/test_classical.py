from dataclasses import replace

import pytest
import torch

from fromnoise.score import ClassicalReader
from fromnoise.score.classical import cut_out, oklab, template_scenes
from fromnoise.world import SMALL, Scene, palette, sample_scene, scene_seed
from fromnoise.world.prompts import PLAINEST
from fromnoise.world.render import render

SIZE = 64


@pytest.fixture(scope="module")
def reader() -> ClassicalReader:
    return ClassicalReader.of(SMALL, SIZE)


def on_paper(count: int) -> list[Scene]:
    scenes = (sample_scene(scene_seed(60, index), PLAINEST[SMALL]) for index in range(count))
    return [replace(scene, setting="paper", time="day") for scene in scenes]


def test_it_names_nearly_every_thing_on_paper_and_its_colour(reader: ClassicalReader) -> None:
    scenes = on_paper(100)
    seen = reader(render(scenes, SIZE).pixels.float() / 127.5 - 1)
    named = [[(f.kind, f.colour) for f in s.things] for s in seen]
    right = sum(n == [(s.things[0].kind, s.things[0].colour)] for n, s in zip(named, scenes, strict=True))
    assert right >= 95


def test_it_sees_where_a_thing_is(reader: ClassicalReader) -> None:
    scene = next(s for s in on_paper(40) if s.things[0].kind == "ball")
    drawn = render([scene], SIZE)
    (seen,) = reader(drawn.pixels.float() / 127.5 - 1)
    x, y = seen.things[0].centre
    assert (x, y) == pytest.approx((scene.things[0].x, scene.things[0].y), abs=0.06)


def test_an_empty_sheet_holds_nothing(reader: ClassicalReader) -> None:
    shade = torch.linspace(0.7, 0.8, SIZE)  # uneven light is no thing
    (seen,) = reader((shade[:, None] + shade[None] - 0.7).expand(1, 3, SIZE, SIZE))
    assert seen.things == ()


def test_its_templates_hold_every_kind_in_every_colour() -> None:
    scenes = template_scenes(SMALL)
    shown = {(s.things[0].kind, s.things[0].colour) for s in scenes}
    assert shown == {(kind, colour) for kind in SMALL.things for colour in SMALL.colours}
    assert {s.setting for s in scenes} == {"paper"}


def test_the_colours_of_pixels_are_those_of_the_palette() -> None:
    codes = [palette.rgb(code) for code in palette.WORDS.values()]
    lab = oklab(torch.tensor(codes).T[None, :, :, None] * 2 - 1)[0, :, :, 0].T
    assert lab.tolist() == [pytest.approx(palette.oklab(code), abs=1e-4) for code in codes]


def test_a_cut_out_keeps_its_shape_in_the_middle_of_its_frame() -> None:
    sheet = torch.full((1, 3, SIZE, SIZE), 0.8)
    sheet[:, :, 20:30, 10:50] = -0.8
    cut = cut_out(sheet)
    assert cut.boxes[0] == (10 / SIZE, 20 / SIZE, 50 / SIZE, 30 / SIZE)
    rows = torch.nonzero(cut.mask[0, 0].amax(1) > 0.5)[:, 0].tolist()
    assert rows == list(range(9, 15))  # 24 wide, and a quarter of that high
