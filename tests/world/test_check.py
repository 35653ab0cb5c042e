from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fromnoise.errors import RequestError
from fromnoise.world import WORLDS, Atoms, Mix, Naming, Relation, Scene, parse, sample_scene, scene_seed
from fromnoise.world.check import Verdict, judge
from fromnoise.world.geometry import Box
from fromnoise.world.pieces import components
from fromnoise.world.render import render
from fromnoise.world.seeing import Found, Seen, sightings
from fromnoise.world.sides import directions, stands
from fromnoise.world.vocabulary import COLOURS, THINGS

SIDE = 32
KIND = {kind: n for n, kind in enumerate(THINGS, start=1)}
COLOUR = {colour: n for n, colour in enumerate(COLOURS, start=1)}


class Canvas:
    """Label maps painted by hand."""

    def __init__(self, side: int = SIDE) -> None:
        self.kinds = torch.zeros(side, side, dtype=torch.uint8)
        self.colours = torch.zeros(side, side, dtype=torch.uint8)

    def paint(self, kind: str, colour: str, rows: slice, columns: slice) -> "Canvas":
        self.kinds[rows, columns] = KIND[kind]
        self.colours[rows, columns] = COLOUR[colour]
        return self

    def disc(self, kind: str, colour: str, y: float, x: float, radius: float) -> "Canvas":
        middles = torch.arange(len(self.kinds)) + 0.5
        inside = torch.hypot(middles[:, None] - y, middles - x) <= radius
        self.kinds[inside], self.colours[inside] = KIND[kind], COLOUR[colour]
        return self

    def seen(self, setting: str = "paper", time: str = "day") -> Seen:
        return sightings(self.kinds, self.colours, setting, time)


def summary(seen: Seen) -> Counter[tuple[str, str]]:
    return Counter((thing.kind, thing.colour) for thing in seen.things)


def thing(kind: str, colour: str, left: float, top: float, right: float, bottom: float) -> Found:
    return Found(kind, colour, Box(left, top, right, bottom), (right - left) * (bottom - top))


def seen(*things: Found, setting: str = "meadow", time: str = "day") -> Seen:
    return Seen(things, setting, time)


CAT = thing("cat", "red", 0.1, 0.5, 0.3, 0.75)
HOUSE = thing("house", "blue", 0.6, 0.45, 0.9, 0.75)


# --- pieces ---


@given(st.lists(st.integers(0, 2), min_size=48, max_size=48))
@settings(deadline=None, max_examples=30)
def test_components_are_those_of_a_flood(numbers: list[int]) -> None:
    kinds = torch.tensor(numbers).view(6, 8)
    found, labels = components(kinds).view(6, 8), flooded(kinds)
    thing = kinds > 0
    assert torch.equal(found[thing], labels[thing])


def flooded(kinds: Tensor) -> Tensor:
    """The same by the schoolbook: fill from each pixel in turn."""
    height, width = kinds.shape
    labels = torch.full((height, width), -1)
    for start in range(height * width):
        todo = [divmod(start, width)]
        while todo:
            y, x = todo.pop()
            if labels[y, x] >= 0 or kinds[y, x] != kinds[start // width, start % width]:
                continue
            labels[y, x] = start
            near = ((y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1))
            todo += [(i, j) for i, j in near if 0 <= i < height and 0 <= j < width]
    return labels


def test_a_spiral_is_one_component() -> None:
    path = torch.zeros(65, 65, dtype=torch.uint8)
    for ring in range(0, 32, 2):  # nested squares, each opened and joined to the next
        path[ring, ring : 65 - ring] = path[64 - ring, ring : 65 - ring] = 1
        path[ring : 65 - ring, ring] = path[ring : 65 - ring, 64 - ring] = 1
        path[ring + 1, ring + 1] = 1
    assert components(path)[path.flatten() > 0].unique().tolist() == [0]


# --- sightings ---


def test_an_empty_map_shows_nothing_but_its_place() -> None:
    assert Canvas().seen("sea", "night") == Seen((), "sea", "night")


def test_a_thing_has_its_box_area_and_centre() -> None:
    (box,) = Canvas().paint("box", "red", slice(8, 16), slice(4, 12)).seen().things
    assert (box.kind, box.colour) == ("box", "red")
    assert box.box == Box(4 / 32, 8 / 32, 12 / 32, 16 / 32)
    assert box.area == 64 / 1024
    assert box.centre == (8 / 32, 12 / 32)


def test_a_thing_at_the_border_counts_once_and_does_not_reach_round() -> None:
    canvas = Canvas().paint("box", "red", slice(10, 18), slice(0, 8))
    canvas.paint("box", "red", slice(10, 18), slice(24, 32))
    assert summary(canvas.seen()) == {("box", "red"): 2}


def test_a_thing_in_the_corner_is_seen() -> None:
    (box,) = Canvas().paint("box", "gold", slice(24, 32), slice(24, 32)).seen().things
    assert box.box == Box(0.75, 0.75, 1, 1)


def test_specks_are_nothing() -> None:
    canvas = (
        Canvas().paint("cat", "red", slice(3, 5), slice(3, 5)).paint("box", "red", slice(9, 17), slice(9, 17))
    )
    assert summary(canvas.seen()) == {("box", "red"): 1}


def test_two_colours_in_one_thing_give_the_more_frequent() -> None:
    canvas = Canvas().paint("box", "red", slice(8, 20), slice(8, 20))
    canvas.colours[8:12, 8:20] = COLOUR["white"]
    assert summary(canvas.seen()) == {("box", "red"): 1}


def test_pixels_of_a_thing_without_colour_do_not_vote() -> None:
    canvas = Canvas().paint("box", "red", slice(8, 20), slice(8, 20))
    canvas.colours[8:18, 8:20] = 0
    assert summary(canvas.seen()) == {("box", "red"): 1}
    canvas.colours.zero_()
    assert summary(canvas.seen()) == {("box", ""): 1}


def test_touching_things_of_two_kinds_stay_two() -> None:
    canvas = Canvas().paint("cat", "red", slice(10, 20), slice(4, 12))
    canvas.paint("box", "red", slice(10, 18), slice(12, 20))
    assert summary(canvas.seen()) == {("cat", "red"): 1, ("box", "red"): 1}


@pytest.mark.parametrize("count", [2, 3])
def test_touching_things_of_one_kind_are_cut_where_they_are_narrow(count: int) -> None:
    canvas = Canvas()
    for k in range(count):
        canvas.disc("ball", "blue", 16, 6 + 9 * k, 5)
    assert len(components(canvas.kinds)[canvas.kinds.flatten() > 0].unique()) == 1
    assert summary(canvas.seen()) == {("ball", "blue"): count}


@pytest.mark.parametrize(("shut", "count"), [(6, 3), (7, 1)])
def test_square_things_in_a_row_are_cut_where_two_thirds_of_their_side_touch(shut: int, count: int) -> None:
    canvas = Canvas().paint("box", "brown", slice(10, 20), slice(1, 31))
    for gap in (10, 21):
        canvas.kinds[10 : 20 - shut, gap] = 0
    assert summary(canvas.seen()) == {("box", "brown"): count}


def test_touching_things_one_above_the_other_are_cut_too() -> None:
    canvas = Canvas().disc("ball", "blue", 6, 16, 5).disc("ball", "blue", 15, 16, 5)
    assert summary(canvas.seen()) == {("ball", "blue"): 2}


@pytest.mark.parametrize(("height", "width"), [(1, 6), (6, 1), (2, 14), (14, 2)])
def test_a_thread_is_too_thin_to_be_cut(height: int, width: int) -> None:
    canvas = Canvas().paint("lighthouse", "red", slice(8, 8 + height), slice(8, 8 + width))
    assert summary(canvas.seen()) == {("lighthouse", "red"): 1}


def test_a_long_thing_without_a_neck_stays_one() -> None:
    assert summary(Canvas().paint("box", "red", slice(10, 16), slice(4, 28)).seen()) == {("box", "red"): 1}


def test_a_sail_belongs_to_its_hull() -> None:
    canvas = Canvas().paint("boat", "white", slice(4, 16), slice(10, 20))
    canvas.paint("boat", "white", slice(17, 21), slice(6, 24))
    (boat,) = canvas.seen().things
    assert boat.area == pytest.approx((12 * 10 + 4 * 18) / 1024)


def test_a_thing_behind_another_stays_one() -> None:
    canvas = Canvas().paint("mountain", "brown", slice(12, 24), slice(4, 24))
    canvas.paint("tree", "green", slice(10, 26), slice(12, 16))
    assert summary(canvas.seen()) == {("mountain", "brown"): 1, ("tree", "green"): 1}


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_a_grid_is_counted_right(rows: int, columns: int) -> None:
    canvas = Canvas(64)
    for row in range(rows):
        for column in range(columns):
            top, left = 6 + 20 * row, 4 + 18 * column
            canvas.paint("cat", "black", slice(top, top + 18), slice(left, left + 15))
    assert summary(canvas.seen()) == {("cat", "black"): rows * columns}


def test_two_things_askew_stay_two() -> None:
    canvas = (
        Canvas()
        .paint("box", "red", slice(4, 14), slice(4, 14))
        .paint("box", "red", slice(16, 26), slice(9, 19))
    )
    assert summary(canvas.seen()) == {("box", "red"): 2}


def test_the_largest_thing_comes_first() -> None:
    canvas = (
        Canvas()
        .paint("box", "red", slice(2, 8), slice(2, 8))
        .paint("cat", "red", slice(10, 30), slice(10, 26))
    )
    assert [t.kind for t in canvas.seen().things] == ["cat", "box"]


def test_sightings_are_the_same_at_twice_the_resolution() -> None:
    canvas = Canvas().disc("ball", "blue", 10, 10, 6).paint("house", "red", slice(12, 26), slice(18, 30))
    kinds, colours = (
        m.repeat_interleave(2, 0).repeat_interleave(2, 1) for m in (canvas.kinds, canvas.colours)
    )
    assert sightings(kinds, colours, "paper", "day") == canvas.seen()


@pytest.mark.parametrize(
    ("kinds", "colours", "complaint"),
    [
        (torch.zeros(4, 4), torch.zeros(4, 5), r"one shape \(H, W\), not \(4, 4\) and \(4, 5\)"),
        (torch.zeros(2, 4, 4), torch.zeros(2, 4, 4), "one shape"),
        (torch.zeros(0, 4), torch.zeros(0, 4), "one shape"),
        (torch.full((4, 4), len(THINGS) + 1), torch.zeros(4, 4), f"kinds: .* not all in 0..{len(THINGS)}"),
        (torch.zeros(4, 4), torch.full((4, 4), -1), "colours: -1"),
    ],
)
def test_maps_that_cannot_be_read_are_refused(kinds: Tensor, colours: Tensor, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        sightings(kinds, colours, "sea", "day")


# --- judging ---


def test_a_picture_as_said_is_right_in_every_part() -> None:
    atoms = parse("a red cat to the left of a blue house in a meadow by day")
    verdict = judge(atoms, seen(HOUSE, CAT))
    assert verdict == Verdict(True, True, True, True, True, True)
    assert verdict.right


def test_parts_of_which_nothing_is_said_are_none() -> None:
    verdict = judge(parse("a cat"), seen(CAT, HOUSE))
    assert verdict == Verdict(True, True, None, None, None, None)
    assert verdict.asked() == {"object": True, "count": True}
    assert judge(parse("sunset"), seen(CAT, time="sunset")).asked() == {"time": True}


def test_a_missing_thing_has_neither_colour_nor_place() -> None:
    verdict = judge(parse("a red cat to the left of a blue house"), seen(HOUSE))
    assert verdict.asked() == dict.fromkeys(("object", "count", "colour", "relation"), False)
    assert verdict.faults == (("missing", "0 cat, not 1"),)


@pytest.mark.parametrize(("found", "sort"), [(1, "too few"), (2, None), (3, "too many")])
def test_counts_are_exact(found: int, sort: str | None) -> None:
    verdict = judge(parse("two red cats"), seen(*[CAT] * found))
    assert verdict.object
    assert verdict.count == (sort is None)
    assert [fault.sort for fault in verdict.faults] == [sort] * (sort is not None)


def test_the_largest_of_a_kind_is_the_one_that_is_meant() -> None:
    small = thing("cat", "pink", 0.5, 0.5, 0.6, 0.6)
    assert judge(parse("a red cat"), seen(CAT, small)).colour
    assert judge(parse("a pink cat"), seen(CAT, small)).faults[-1] == ("wrong colour", "cat is red, not pink")


def test_every_one_of_several_needs_the_colour() -> None:
    pink = thing("cat", "pink", 0.5, 0.5, 0.6, 0.6)
    assert judge(parse("two red cats"), seen(CAT, CAT)).colour
    assert judge(parse("two red cats"), seen(CAT, pink)).colour is False


def test_exchanged_colours_are_told_from_wrong_ones() -> None:
    swapped = judge(parse("a blue cat and a red house"), seen(HOUSE, CAT))
    assert [fault.sort for fault in swapped.faults] == ["swapped colour", "swapped colour"]
    wrong = judge(parse("a pink cat and a blue house"), seen(HOUSE, CAT))
    assert [fault.sort for fault in wrong.faults] == ["wrong colour"]


def test_two_of_a_kind_in_two_colours_are_told_apart() -> None:
    blue = thing("cat", "blue", 0.6, 0.5, 0.8, 0.75)
    atoms = parse("a red cat to the right of a blue cat")
    assert judge(atoms, seen(CAT, blue)).asked() == {
        "object": True,
        "count": True,
        "colour": True,
        "relation": False,
    }
    assert judge(parse("a red cat to the left of a blue cat"), seen(blue, CAT)).right


def test_the_place_and_the_hour_are_compared() -> None:
    verdict = judge(parse("a cat in the sea at night"), seen(CAT, setting="desert", time="night"))
    assert (verdict.setting, verdict.time) == (False, True)
    assert verdict.faults == (("wrong setting", "desert, not sea"),)
    assert judge(parse("a cat in the sea at night"), seen(CAT, setting="sea")).time is False


def test_a_place_without_hours_has_no_wrong_one() -> None:
    assert judge(parse("a cat in space at night"), seen(CAT, setting="space", time="day")).time is None


def test_weather_and_style_are_compared_where_they_are_told() -> None:
    atoms = Atoms((Naming("cat"),), weather="rainy", style="neon")
    told = replace(seen(CAT), weather="rainy", style="chalk")
    verdict = judge(atoms, told)
    assert (verdict.weather, verdict.style) == (True, False)
    assert verdict.faults == (("wrong style", "chalk, not neon"),)
    assert judge(atoms, replace(told, style="")).faults == (("wrong style", "the usual look, not neon"),)
    assert judge(atoms, seen(CAT)).asked() == {"object": True, "count": True}


def test_the_relation_is_between_the_things_it_names() -> None:
    atoms = Atoms((Naming("cat"), Naming("house")), (Relation("right of", 1, 0),))
    assert judge(atoms, seen(CAT, HOUSE)).relation
    wrong = judge(Atoms(atoms.things, (Relation("right of", 0, 1),)), seen(CAT, HOUSE))
    assert wrong.faults == (("wrong side", "cat is not right of house"),)


@pytest.mark.parametrize(
    ("a", "expected"),
    [
        (Box(0.1, 0.4, 0.3, 0.6), {"left of"}),
        (Box(0.7, 0.4, 0.9, 0.6), {"right of"}),
        (Box(0.4, 0.1, 0.6, 0.3), {"above"}),
        (Box(0.4, 0.7, 0.6, 0.9), {"below"}),
        (Box(0.1, 0.1, 0.3, 0.3), {"left of", "above"}),
        (Box(0.37, 0.4, 0.57, 0.6), set()),  # 0.03 apart: within the margin of 0.04
        (Box(0.4, 0.4, 0.6, 0.6), set()),
    ],
)
def test_directions_are_clear_of_the_margin_of_sizes(a: Box, expected: set[str]) -> None:
    assert directions(a, Box(0.4, 0.4, 0.6, 0.6)) == expected


@pytest.mark.parametrize(
    ("word", "a", "holds"),
    [
        ("on top of", Box(0.4, 0.2, 0.6, 0.42), True),
        ("on top of", Box(0.4, 0.0, 0.6, 0.2), False),  # floats above
        ("on top of", Box(0.8, 0.2, 1.0, 0.42), False),  # beside its edge
        ("in front of", Box(0.5, 0.5, 0.7, 0.9), True),
        ("in front of", Box(0.5, 0.2, 0.7, 0.5), False),  # further away
        ("in front of", Box(0.85, 0.5, 1.0, 0.9), False),  # clear of it
        ("behind", Box(0.5, 0.2, 0.7, 0.5), True),
        ("inside", Box(0.4, 0.5, 0.6, 0.7), True),
        ("inside", Box(0.2, 0.5, 0.4, 0.7), False),  # half outside
        ("beside", Box(0.0, 0.4, 0.2, 0.8), True),
        ("beside", Box(0.4, 0.0, 0.6, 0.2), False),
    ],
)
def test_what_things_carry_hide_and_neighbour(word: str, a: Box, holds: bool) -> None:
    assert stands(word, a, Box(0.3, 0.4, 0.7, 0.8)) == holds


# --- the renderer's own labels ---


def atoms_of(scene: Scene) -> Atoms:
    """Everything that can be said of a scene and seen in label maps."""
    counts = Counter((thing.kind, thing.colour) for thing in scene.things)
    names = list(counts)
    place = [names.index((thing.kind, thing.colour)) for thing in scene.things]
    relations = tuple(Relation(r.word, place[r.subject], place[r.object]) for r in scene.relations)
    things = tuple(Naming(kind, n, colour) for (kind, colour), n in counts.items())
    return Atoms(things, relations, scene.setting, scene.time)


NUMBER = {"small": 150, "full": 150, "letters": 400}


@pytest.fixture(scope="module", params=WORLDS.values(), ids=WORLDS)
def labelled(request: pytest.FixtureRequest) -> list[tuple[Scene, Tensor, Tensor]]:
    mix = Mix(single=0.3, rich=0.4, world=request.param)
    scenes = [sample_scene(scene_seed(21, index), mix) for index in range(NUMBER[request.param.name])]
    drawn = render(scenes, 128)
    return list(zip(scenes, drawn.kinds, drawn.colours, strict=True))


@pytest.mark.parametrize("stride", [1, 4])
def test_what_is_rendered_is_what_is_seen(labelled: list[tuple[Scene, Tensor, Tensor]], stride: int) -> None:
    """At full size, and at the quarter that oracles see."""
    few = slice(stride // 2, None, stride)
    wrong: list[object] = []
    for scene, kinds, colours in labelled:
        verdict = judge(
            atoms_of(scene), sightings(kinds[few, few], colours[few, few], scene.setting, scene.time)
        )
        wrong += [] if verdict.right else [(scene, verdict.faults)]
    assert len(wrong) <= 0.01 * len(labelled), wrong


def test_another_scene_is_not_what_is_seen(labelled: list[tuple[Scene, Tensor, Tensor]]) -> None:
    shifted = [scene for scene, _, _ in labelled[1:]]
    found = [sightings(k[2::4, 2::4], c[2::4, 2::4], s.setting, s.time) for s, k, c in labelled[:-1]]
    right = sum(judge(atoms_of(scene), shown).right for scene, shown in zip(shifted, found, strict=True))
    assert right <= 0.01 * len(found)
