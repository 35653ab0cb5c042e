"""Distances that can be worked out by hand."""

from math import pi, sqrt

import pytest
import torch
from torch import Tensor

from fromnoise.world import sdf


def at(u: float, v: float) -> tuple[Tensor, Tensor]:
    """One point."""
    return torch.tensor([[float(u)]]), torch.tensor([[float(v)]])


def test_a_circle_is_as_far_as_its_centre_less_its_radius() -> None:
    assert sdf.circle(*at(3, 4), 0, 0, 2).item() == pytest.approx(3)


@pytest.mark.parametrize(("u", "v"), [(2.0, 0.0), (0.0, 1.0), (sqrt(2), sqrt(0.5))])
def test_an_ellipse_is_nought_on_its_outline(u: float, v: float) -> None:
    assert sdf.ellipse(*at(u, v), 0, 0, 2, 1).item() == pytest.approx(0, abs=1e-6)


def test_a_box_is_measured_to_its_corner_outside_and_to_its_nearest_side_inside() -> None:
    assert sdf.box(*at(5, 6), 0, 0, 2, 2).item() == pytest.approx(5)
    assert sdf.box(*at(0.5, 0), 0, 0, 2, 3).item() == pytest.approx(-1.5)
    assert sdf.box(*at(2, 2), 0, 0, 2, 2, rounding=1).item() == pytest.approx(sqrt(2) - 1)


def test_a_capsule_tapers_from_its_first_to_its_last_radius() -> None:
    ends = (0.0, 0.0), (4.0, 0.0)
    assert sdf.segment(*at(0, 3), *ends, 1, 2).item() == pytest.approx(2)
    assert sdf.segment(*at(4, 3), *ends, 1, 2).item() == pytest.approx(1)
    assert sdf.segment(*at(7, 0), *ends, 1).item() == pytest.approx(2)


def test_a_half_plane_lies_left_of_its_line() -> None:
    assert sdf.half_plane(*at(0, 2), (0.0, 0.0), (1.0, 0.0)).item() == pytest.approx(-2)


def test_a_convex_polygon_is_where_all_its_sides_agree() -> None:
    square = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]
    assert sdf.convex(*at(1, 0.5), list(square)).item() == pytest.approx(-0.5)
    assert sdf.convex(*at(3, 1), list(square)).item() == pytest.approx(1)
    assert sdf.convex(*at(0.01, 0.01), list(square), rounding=0.5).item() > 0


def test_folding_brings_every_sector_to_the_first() -> None:
    along, across = sdf.fold(*at(2, 0), 0, 0, 4)
    assert (along.item(), across.item()) == pytest.approx((2, 0), abs=1e-6)
    along, _ = sdf.fold(*at(1, 1), 0, 0, 4, pi / 4)
    assert along.item() == pytest.approx(sqrt(2))


def test_a_star_reaches_out_at_its_points_and_in_between_them() -> None:
    u, v = torch.tensor([0.0, 0.0, 0.0, 0.0]), torch.tensor([1.0, 0.9, -0.6, -0.4])
    distance = sdf.star(u, v, 0, 0, 1, 0.5)
    assert distance[0].item() == pytest.approx(0, abs=1e-6)
    assert (distance[1:] < 0).tolist() == [True, False, True]


def test_shapes_combine() -> None:
    u, v = at(0, 0)
    inside, outside = sdf.circle(u, v, 0, 0, 1), sdf.circle(u, v, 3, 0, 1)
    assert sdf.union(outside, inside).item() == -1
    assert sdf.both(inside, outside).item() == 2
    assert sdf.without(inside, inside).item() == 1
    assert sdf.blend(inside, outside, 0.5).item() == -1
    assert sdf.blend(inside, inside, 0.4).item() == pytest.approx(-1.1)
