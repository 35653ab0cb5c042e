from dataclasses import replace
from itertools import combinations, product

import pytest
import torch

from fromnoise.errors import RequestError
from fromnoise.world.chance import Dice
from fromnoise.world.layout import LAYOUTS, ground_y
from fromnoise.world.palette import SKIES, WORDS, oklab, rgb
from fromnoise.world.patches import SHADES
from fromnoise.world.render import Rendering, render
from fromnoise.world.scene import Relation, Scene, Thing
from fromnoise.world.vocabulary import (
    COLOURS,
    SETTINGS,
    STYLES,
    TEXTURES,
    THINGS,
    TIMELESS,
    TIMES,
    WEATHERS,
)

BALL = Thing("ball", "red", x=0.5, y=0.5, size=0.5, seed=3)
EMPTY = Scene(seed=11, setting="meadow", time="day", things=())


def mixed() -> list[Scene]:
    """A thing or two in every setting, hours in turn."""
    kinds = list(THINGS)
    scenes: list[Scene] = []
    for k, setting in enumerate(SETTINGS):
        near = Thing(kinds[2 * k], "blue", 0.3, 0.6, 0.35, "striped", variant=k, lean=0.2, seed=k)
        far = Thing(kinds[2 * k + 1], "pink", 0.7, 0.5, 0.3, variant=k + 1, flip=True, seed=k + 100)
        scenes.append(Scene(1000 + k, setting, TIMES[k % 4], (near, far)[: 1 + k % 2]))
    for k, style in enumerate(STYLES[1:]):
        near = Thing(kinds[26 + 2 * k], "blue", 0.3, 0.6, 0.35, TEXTURES[k], variant=k, seed=k, open=True)
        far = Thing(kinds[27 + 2 * k], "pink", 0.7, 0.5, 0.3, TEXTURES[5 - k], variant=k + 1, seed=k + 100)
        things = tuple(replace(t, colour=t.colour if THINGS[t.kind].usual else "") for t in (near, far))
        weather = WEATHERS[1 + k % 5]
        scenes.append(
            Scene(2000 + k, SETTINGS[-k - 3], "night", things, weather=weather, style=style, world="full")
        )
    return scenes


def halved(out: Rendering) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(out.pixels.float(), 2)


def distance(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5


def test_a_rendering_has_a_picture_and_three_masks_for_each_scene() -> None:
    out = render(mixed(), 48)
    assert out.pixels.shape == (17, 3, 48, 48)
    assert out.kinds.shape == out.colours.shape == out.textures.shape == out.owners.shape == (17, 48, 48)
    assert {t.dtype for t in (out.pixels, out.kinds, out.colours, out.textures, out.owners)} == {torch.uint8}
    assert [len(v) for v in out.visible] == [len(s.things) for s in mixed()]


def test_the_mask_of_a_ball_is_its_disc_to_within_a_pixel() -> None:
    scene = Scene(1, "paper", "day", (BALL,))
    owners = render([scene], 128).owners[0].bool()
    middles = torch.arange(128) + 0.5 - 64
    radius = torch.hypot(middles[:, None], middles)
    assert owners[radius < 29].all()
    assert not owners[radius > 33].any()


def test_masks_name_the_kind_and_the_colour_of_their_owner() -> None:
    scene = Scene(1, "sea", "night", (replace(BALL, x=0.25, size=0.3), Thing("box", "gold", 0.75, 0.6, 0.3)))
    out = render([scene], 64)
    for number, thing in enumerate(scene.things, start=1):
        own = out.owners[0] == number
        assert own.sum() > 150
        assert set(out.kinds[0][own].tolist()) == {1 + list(THINGS).index(thing.kind)}
        assert set(out.colours[0][own].tolist()) == {1 + COLOURS.index(thing.colour)}
        assert set(out.textures[0][own].tolist()) == {1 + TEXTURES.index(thing.texture)}
    assert not out.kinds[out.owners == 0].any()


def test_the_later_thing_hides_the_earlier_and_visible_says_how_much() -> None:
    small = replace(BALL, kind="ball", colour="blue", size=0.25)
    out = render([Scene(1, "paper", "day", (BALL, small)), Scene(1, "paper", "day", (small, BALL))], 128)
    hidden, shown = out.visible[0]
    assert shown == 1
    assert hidden == pytest.approx(0.75, abs=0.03)  # a disc of half the radius covers a quarter
    assert out.visible[1] == (0.0, 1.0)


def test_a_thing_cut_by_the_frame_is_partly_visible() -> None:
    out = render([Scene(1, "paper", "day", (replace(BALL, x=0.0),))], 128)
    assert out.visible[0][0] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("x", "y"), [(-1.0, 0.5), (2.0, 0.7), (0.5, -1.0), (0.5, 2.0)])
def test_a_thing_outside_the_frame_is_not_seen(x: float, y: float) -> None:
    out = render([Scene(1, "sea", "day", (replace(BALL, x=x, y=y),))], 64)
    assert not out.owners.any()
    assert out.visible == ((0.0,),)


@pytest.mark.parametrize("size", [64, 128])
def test_a_scene_alone_is_the_scene_in_a_batch_bit_for_bit(size: int) -> None:
    scenes = [replace(s, seed=s.seed + 31 * k) for k in range(3) for s in mixed()]
    together = render(scenes, size)
    for k in range(0, len(scenes), 5):
        alone = render([scenes[k]], size)
        assert torch.equal(alone.pixels[0], together.pixels[k])
        assert torch.equal(alone.owners[0], together.owners[k])


def test_drawing_twice_gives_the_same_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    assert torch.equal(render(mixed(), 64).pixels, render(mixed(), 64).pixels)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_scene_is_the_same_picture_at_twice_the_size(size: int) -> None:
    scenes = [scene for scene in mixed() if size >= 128 or not scene.style]  # styles have lines of a pixel
    small, large = render(scenes, size), render(scenes, 2 * size)
    error = (small.pixels.float() - halved(large)).abs().mean((1, 2, 3))
    assert error.max() < 3.0  # of 255: edges and stars only
    assert ((small.owners > 0).float().mean() - (large.owners > 0).float().mean()).abs() < 0.01


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s not in TIMELESS])
def test_the_hours_differ_at_a_glance(setting: str) -> None:
    scenes = [Scene(s, setting, t, ()) for t, s in product(TIMES, range(4))]
    sky = render(scenes, 64).pixels[:, :, :32].float().mean((2, 3)).view(len(TIMES), 4, 3) / 255
    colours = [[oklab((r, g, b)) for r, g, b in rows] for rows in sky.tolist()]
    for (hour, one), (_, other) in combinations(zip(reversed(TIMES), reversed(colours), strict=True), 2):
        least = 0.09 if hour == "sunrise" else 0.12  # which is a day that begins
        assert min(distance(a, b) for a, b in product(one, other)) > least


def test_no_two_settings_look_alike_by_day() -> None:
    scenes = [Scene(s, setting, "day", ()) for setting in SETTINGS for s in range(4)]
    pictures = torch.nn.functional.adaptive_avg_pool2d(render(scenes, 64).pixels.float() / 255, 8)
    looks = pictures.view(len(SETTINGS), 4, 3, 64).mean(1)
    for (a, one), (b, other) in combinations(zip(SETTINGS, looks, strict=True), 2):
        assert (one - other).abs().amax(0).mean() > 0.04, (a, b)


def test_another_seed_is_another_picture_but_only_the_backdrop_changes() -> None:
    scene = Scene(1, "meadow", "day", (BALL,))
    a, b = render([scene], 64), render([replace(scene, seed=2)], 64)
    assert not torch.equal(a.pixels, b.pixels)
    assert torch.equal(a.owners, b.owners)


def test_no_two_colour_words_look_alike() -> None:
    assert set(WORDS) == set(COLOURS)
    for (a, one), (b, other) in combinations(WORDS.items(), 2):
        assert distance(oklab(rgb(one)), oklab(rgb(other))) > 0.1, (a, b)


@pytest.mark.parametrize("word", COLOURS)
def test_a_colour_keeps_its_name_in_every_light_and_shade(word: str) -> None:
    own = rgb(WORDS[word])
    for sky in (sky for skies in SKIES.values() for sky in skies):
        assert min(rgb(sky.tint)) >= 0.85
        for shade in (1 - SHADES, 1, 1 + SHADES):
            r, g, b = (min(1, c * shade) * t for c, t in zip(own, rgb(sky.tint), strict=True))
            seen = oklab((r, g, b))
            assert min(WORDS, key=lambda w: distance(seen, oklab(rgb(WORDS[w])))) == word


@pytest.mark.parametrize("time", TIMES)
def test_a_ball_shows_the_colour_it_is_named(time: str) -> None:
    scenes = [Scene(5, "sea", time, (replace(BALL, colour=c, texture="plain"),)) for c in COLOURS]
    out = render(scenes, 64)
    for colour, picture, own in zip(COLOURS, out.pixels, out.owners.bool(), strict=True):
        r, g, b = (picture[:, own].float().median(1).values / 255).tolist()
        assert min(WORDS, key=lambda w: distance(oklab((r, g, b)), oklab(rgb(WORDS[w])))) == colour


def test_what_stands_casts_a_shadow_and_what_is_carried_does_not() -> None:
    box = Thing("box", "brown", 0.5, ground_y("snow") - 0.1, 0.3)
    below = int((box.y + box.size / 2) * 64) + 1
    standing = Scene(4, "snow", "day", (box,))
    carried = replace(standing, relations=(Relation("on top of", 0, 0),))
    bare, stood, held = (
        o.float().mean(0)[below, 32]
        for o in render([replace(standing, things=()), standing, carried], 64).pixels
    )
    assert stood < bare - 20
    assert held == bare


def test_a_lean_turns_clockwise() -> None:
    tower = Thing("lighthouse", "red", 0.5, 0.5, 0.6)
    upright, leaning = render(
        [Scene(1, "paper", "day", (tower,)), Scene(1, "paper", "day", (replace(tower, lean=0.5),))], 64
    ).owners.bool()
    columns = torch.arange(64).expand(64, 64)

    def top_minus_foot(mask: torch.Tensor) -> float:
        upper, lower = columns[:32][mask[:32]], columns[32:][mask[32:]]
        return float(upper.float().mean() - lower.float().mean())

    assert abs(top_minus_foot(upright)) < 1.5
    assert top_minus_foot(leaning) > 5


def test_a_flip_mirrors_the_outline() -> None:
    fish = Thing("fish", "orange", 0.5, 0.5, 0.4)
    out = render([Scene(1, "space", "day", (f,)) for f in (fish, replace(fish, flip=True))], 64)
    same = (out.owners[0] == out.owners[1].flip(-1)).float().mean()
    assert same > 0.995


def test_dice_are_uniform_and_independent_of_their_company() -> None:
    many = Dice(list(range(500)), stream=1).roll(40)
    assert torch.equal(Dice([77], stream=1).roll(40)[0], many[77])
    assert 0 <= float(many.min()) < 0.001
    assert 0.999 < float(many.max()) < 1
    assert float(many.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(many.std()) == pytest.approx(12**-0.5, abs=0.01)
    assert torch.corrcoef(many[:, :8].T).fill_diagonal_(0).abs().max() < 0.2
    assert not torch.equal(Dice([7], stream=1).roll(), Dice([7 + 2**40], stream=1).roll())


def test_every_setting_has_a_layout() -> None:
    assert set(LAYOUTS) == set(SETTINGS)
    assert all(0 < ground_y(s) < 1 for s in SETTINGS)


@pytest.mark.parametrize(
    ("scene", "size", "named"),
    [
        (replace(EMPTY, setting="meadows"), 64, "meadow"),
        (replace(EMPTY, time="nihgt"), 64, "night"),
        (replace(EMPTY, things=(replace(BALL, kind="bal"),)), 64, "ball"),
        (replace(EMPTY, things=(replace(BALL, colour="read"),)), 64, "red"),
        (replace(EMPTY, things=(replace(BALL, texture="stripes"),)), 64, "striped"),
        (EMPTY, 8, "at least 16"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(scene: Scene, size: int, named: str) -> None:
    with pytest.raises(RequestError, match=named):
        render([scene], size)


def test_no_scenes_make_an_empty_rendering() -> None:
    assert render([], 32).pixels.shape == (0, 3, 32, 32)
