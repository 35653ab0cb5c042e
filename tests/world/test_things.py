"""What every drawing must keep to: its box, its colour, its lights, and independence from its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import cos, sin

import pytest
import torch
from torch import Tensor

from fromnoise.world import sdf
from fromnoise.world.paint import CHECKERED, GLOSSY, GLOWING, SPOTTED, STRIPED, Brush
from fromnoise.world.placing import CONTAINERS, MIDDLES
from fromnoise.world.things import DRAW
from fromnoise.world.vocabulary import LETTERS, THINGS

SIZE = 64
MARGIN = 1.2
TRAITS = 8
LIT_AT_NIGHT = ("house", "castle", "lighthouse", "car", "rocket", "robot", "ghost", "lantern")
COLOURLESS = tuple(kind for kind, row in THINGS.items() if not row.usual)  # which have colours of their own
PATTERNS = (STRIPED, SPOTTED, CHECKERED, GLOSSY, GLOWING)
RED, GREEN, BLUE = (0.85, 0.15, 0.17), (0.22, 0.66, 0.28), (0.17, 0.38, 0.86)


@dataclass(frozen=True)
class Pose:
    """One instance to paint."""

    colour: tuple[float, float, float] = RED
    variant: int = 0
    night: float = 0.0
    pattern: float = 0.0
    seed: int = 0
    lean: float = 0.0
    flip: bool = False


def brush_for(kind: str, poses: Sequence[Pose]) -> Brush:
    """A brush whose patches are a little larger than the kind's box."""
    half = max(1.0, THINGS[kind].aspect) * MARGIN
    steps = ((torch.arange(SIZE) + 0.5) / SIZE * 2 - 1) * half
    y, x = torch.meshgrid(-steps, steps, indexing="ij")

    def turned(p: Pose, right: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
        c, s = cos(p.lean), sin(p.lean)
        return (right * c - up * s) * (-1 if p.flip else 1), right * s + up * c

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values).view(-1, 1, 1)

    places = [turned(p, x, y) for p in poses]
    lights = [turned(p, torch.tensor(-0.6), torch.tensor(0.8)) for p in poses]
    dice = [torch.rand(TRAITS, generator=torch.Generator().manual_seed(p.seed)) * 2 - 1 for p in poses]
    return Brush(
        u=torch.stack([u for u, _ in places]),
        v=torch.stack([v for _, v in places]),
        pixel=column([2 * half / SIZE] * len(poses)),
        colour=torch.tensor([p.colour for p in poses])[..., None, None],
        jitter=torch.stack(dice, 1)[..., None, None],
        variant=column([float(p.variant) for p in poses]),
        night=column([p.night for p in poses]),
        light=torch.tensor([[float(u) for u, _ in lights], [float(v) for _, v in lights]])[..., None, None],
        pattern=column([p.pattern for p in poses]),
    )


def painted(kind: str, poses: Sequence[Pose]) -> Brush:
    """The brush after the kind's drawing."""
    brush = brush_for(kind, poses)
    DRAW[kind](brush)
    return brush


VARIANTS = [Pose(variant=k, seed=k + 1) for k in range(3)]
MIXED = [
    Pose(RED, 0, seed=1),
    Pose(GREEN, 1, night=1.0, seed=2, lean=0.2),
    Pose(BLUE, 2, pattern=STRIPED, seed=3, flip=True),
    Pose(RED, 1, pattern=SPOTTED, seed=4, lean=-0.15),
]
every_kind = pytest.mark.parametrize("kind", sorted(THINGS))
every_coloured_kind = pytest.mark.parametrize("kind", sorted({*THINGS} - {*COLOURLESS}))


def test_every_thing_has_a_drawing_and_no_drawing_is_left_over() -> None:
    assert set(DRAW) == set(THINGS)


@every_kind
def test_a_thing_fills_its_box_and_stays_inside(kind: str) -> None:
    brush, aspect = painted(kind, VARIANTS), THINGS[kind].aspect
    inside = (brush.u.abs() <= aspect) & (brush.v.abs() <= 1)
    for alpha, u, v, box in zip(brush.alpha, brush.u, brush.v, inside, strict=True):
        assert 0.2 < float(alpha[box].mean()) < 0.95
        solid, slack = alpha > 0.5, 3 * MARGIN * max(1, aspect) / SIZE
        assert float(u[solid].abs().max()) < aspect + slack
        assert float(v[solid].abs().max()) < 1 + slack
        assert float(u[solid].max() - u[solid].min()) > 1.4 * aspect
        assert float(v[solid].max() - v[solid].min()) > 1.8


@pytest.mark.parametrize("kind", [name for name, kind in THINGS.items() if kind.place == "ground"])
def test_what_belongs_on_the_ground_stands_on_it(kind: str) -> None:
    brush = painted(kind, VARIANTS)
    for alpha, v in zip(brush.alpha, brush.v, strict=True):
        assert float(v[alpha > 0.5].min()) < -0.9


@every_coloured_kind
def test_most_of_a_thing_has_its_own_hue(kind: str) -> None:
    poses = [replace(p, colour=c) for p in VARIANTS for c in (RED, GREEN, BLUE)]
    brush = painted(kind, poses)
    for rgb, alpha, pose in zip(brush.rgb, brush.alpha, poses, strict=True):
        pixels = rgb[:, alpha > 0.9].T
        lead = torch.tensor(pose.colour).argmax()
        chroma = pixels.amax(1) - pixels.amin(1)
        own = (pixels.argmax(1) == lead) & (chroma > 0.12)
        assert float(own.float().mean()) > 0.55
        mean = pixels.mean(0) - pixels.mean()
        hues = torch.tensor([RED, GREEN, BLUE])
        closest = torch.cosine_similarity(mean[None], hues - hues.mean(1, keepdim=True)).argmax()
        assert hues[closest].tolist() == pytest.approx(pose.colour)


@pytest.mark.parametrize("kind", LIT_AT_NIGHT)
def test_lights_go_on_at_night(kind: str) -> None:
    day, night = painted(kind, VARIANTS), painted(kind, [replace(p, night=1.0) for p in VARIANTS])
    changed = (day.canvas - night.canvas).abs().amax(1) > 0.1
    assert int(changed.sum((1, 2)).min()) > 12


def test_no_letter_can_be_taken_for_another() -> None:
    shapes = {kind: painted(kind, VARIANTS[:1]).alpha[0] > 0.5 for kind in LETTERS}
    for (a, one), (b, other) in combinations(shapes.items(), 2):
        assert float((one & other).sum() / (one | other).sum()) < 0.9, (a, b)


@every_kind
def test_an_instance_does_not_depend_on_its_neighbours(kind: str) -> None:
    together = painted(kind, MIXED).canvas
    for i, pose in enumerate(MIXED):
        torch.testing.assert_close(painted(kind, [pose]).canvas[0], together[i], atol=2e-4, rtol=0)


@every_kind
def test_the_same_pose_gives_the_same_pixels_and_another_seed_or_variant_does_not(kind: str) -> None:
    first, again = painted(kind, MIXED).canvas, painted(kind, MIXED).canvas
    assert torch.equal(first, again)
    variants = painted(kind, [Pose(variant=0, seed=5), Pose(variant=1, seed=6)]).canvas
    assert float((variants[0] - variants[1]).abs().max()) > 0.1


@every_coloured_kind
def test_textures_show_and_leave_the_outline_alone(kind: str) -> None:
    plain, *marked = painted(kind, [Pose(), *(Pose(pattern=pattern) for pattern in PATTERNS)]).canvas
    for canvas in marked:
        torch.testing.assert_close(canvas[3], plain[3])
        share = ((canvas - plain).abs().amax(0) > 0.1).sum() / (plain[3] > 0.5).sum()
        assert float(share) > 0.01


@pytest.mark.parametrize("kind", sorted(CONTAINERS))
def test_a_container_shows_its_opening(kind: str) -> None:
    """Where something inside it will be: darker than it is when it is shut, or not there at all."""
    shut, opened = brush_for(kind, [Pose()]), brush_for(kind, [Pose()])
    opened.open = torch.ones_like(opened.pixel)
    DRAW[kind](shut)
    DRAW[kind](opened)
    room, (right, down) = CONTAINERS[kind], MIDDLES.get(kind, (0.0, 0.0))
    away = torch.maximum((opened.u - 2 * right).abs(), (opened.v + 2 * down).abs())
    hole = away[0] < 0.8 * room
    light = opened.rgb[0].sum(0)
    assert bool(((light < 0.65 * shut.rgb[0].sum(0)) | (opened.alpha[0] == 0))[hole].all())
    torch.testing.assert_close(opened.alpha, shut.alpha)


@every_kind
def test_pixels_are_premultiplied_colours(kind: str) -> None:
    brush = painted(kind, MIXED)
    assert bool(torch.isfinite(brush.canvas).all())
    assert float(brush.canvas.min()) >= 0
    assert float((brush.rgb - brush.alpha[:, None]).max()) < 1e-4


def test_a_leaning_thing_is_lit_from_the_same_side_of_the_picture() -> None:
    brush = brush_for("ball", [Pose(), Pose(lean=0.6), Pose(flip=True), Pose(lean=-0.5, flip=True)])
    brush.fill(sdf.circle(brush.u, brush.v, 0, 0, 0.9), shade=0.3)
    for leaning in brush.canvas[1:]:
        torch.testing.assert_close(leaning, brush.canvas[0], atol=1e-3, rtol=0)
    light = brush.rgb[0].sum(0)
    assert float(light[: SIZE // 2, : SIZE // 2].mean()) > float(light[SIZE // 2 :, SIZE // 2 :].mean())
