"""The engine, on toy tables."""

from time import process_time

import pytest
import torch
from families import UNETS, meta_state
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.weights.key_rules import diffusers_unet, ldm_unet
from fromnoise.weights.model_converter import (
    Recipe,
    Rule,
    compose,
    flipped,
    linear,
    plan,
    pointwise,
    stacked,
    thirds,
    translate,
    transposed,
)

TABLE = (
    Rule("in.0.0", "enter"),
    Rule("in.{i}.{j}.norm", "down.{i}.{j}.norm"),
    Rule("in.{i}.{j}.mix", "down.{i}.{j}.mix", linear, pointwise),
    Rule("text.{i}.in_proj_weight", tuple(f"layers.{{i}}.{x}.weight" for x in "qkv"), thirds, stacked),
    Rule("text.projection", "project.weight", transposed, transposed),
    Rule("text.projection.weight", "project.weight"),
)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


THEIRS = {
    "in.0.0.weight": noise(2, 2),
    "in.0.0.bias": noise(2),
    "in.12.3.norm.weight": noise(4),
    "in.1.0.mix.weight": noise(4, 3, 1, 1),
    "in.1.0.mix.bias": noise(4),
    "text.7.in_proj_weight": noise(6, 5),
    "text.projection": noise(3, 2),
}
OURS = {
    "enter.weight",
    "enter.bias",
    "down.12.3.norm.weight",
    "down.1.0.mix.weight",
    "down.1.0.mix.bias",
    "layers.7.q.weight",
    "layers.7.k.weight",
    "layers.7.v.weight",
    "project.weight",
}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_table_reads_both_ways() -> None:
    ours = translate(THEIRS, TABLE, source="a file")
    assert ours.keys() == OURS
    assert torch.equal(ours["project.weight"], THEIRS["text.projection"].T)
    assert torch.equal(ours["layers.7.k.weight"], THEIRS["text.7.in_proj_weight"][2:4])
    assert ours["down.1.0.mix.weight"].shape == (4, 3)
    assert same(translate(ours, flipped(TABLE), source="ours"), THEIRS)


def test_of_two_names_both_are_read_and_the_first_is_written() -> None:
    weight = noise(2, 3)
    ours = translate({"text.projection.weight": weight}, TABLE, source="a file")
    assert same(ours, {"project.weight": weight})
    assert same(translate(ours, flipped(TABLE), source="ours"), {"text.projection": weight.T})


STRANGERS = [
    "in.0.0",
    "in.0.1.weight",
    "in.a.1.norm.weight",
    "in.1.norm.weight",
    "in.1.1.norm.weight.scale",
    "lora",
]


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_tensor_without_a_rule_is_refused(stranger: str) -> None:
    state = {**THEIRS, stranger: noise(1), "z": noise(1)}
    with pytest.raises(
        WeightsError, match=f"2 of 9 tensors in the.ckpt have no rule, first: '{stranger}'"
    ) as e:
        translate(state, TABLE, source="the.ckpt")
    assert "fromnoise inspect" in e.value.hint


def test_two_tensors_for_one_place_are_refused() -> None:
    both = {**THEIRS, "text.projection.weight": noise(2, 3)}
    with pytest.raises(
        WeightsError, match=r"'text.projection' and 'text.projection.weight' in a file are the same"
    ):
        translate(both, TABLE, source="a file")


def test_a_tensor_whose_parts_are_incomplete_is_refused() -> None:
    state = {
        "layers.7.q.weight": noise(2, 5),
        "layers.7.v.weight": noise(2, 5),
        "layers.8.k.weight": noise(2, 5),
    }
    with pytest.raises(
        WeightsError, match=r"ours holds 'layers.7.q.weight' without its 'layers.{i}.k.weight'"
    ):
        translate(state, flipped(TABLE), source="ours")


@pytest.mark.parametrize(
    ("name", "shape"), [("in.1.0.mix.weight", (4, 3, 3, 3)), ("text.7.in_proj_weight", (7, 5))]
)
def test_a_shape_that_a_rule_cannot_use_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(WeightsError, match=f"'{name}' has the unusable shape \\({shape[0]}, {shape[1]}"):
        translate({name: noise(*shape)}, TABLE, source="a file")


def test_tensors_are_read_only_when_a_recipe_is_run() -> None:
    read = list[str]()

    def reader(name: str, tensor: Tensor) -> Tensor:
        read.append(name)
        return tensor

    lazy = {name: (lambda n=name, t=tensor: reader(n, t)) for name, tensor in THEIRS.items()}
    recipes = plan(lazy, TABLE, source="a file")
    assert recipes["layers.7.v.weight"].sources == ("text.7.in_proj_weight",)
    assert read == []
    assert torch.equal(recipes["layers.7.v.weight"](lazy), THEIRS["text.7.in_proj_weight"][4:])
    assert read == ["text.7.in_proj_weight"]


def test_shapes_are_known_before_anything_is_read() -> None:
    meta = {name: tensor.to("meta") for name, tensor in THEIRS.items()}
    ours = translate(THEIRS, TABLE, source="a file")
    shapes = {name: tensor.shape for name, tensor in translate(meta, TABLE, source="a file").items()}
    assert shapes == {name: tensor.shape for name, tensor in ours.items()}


def test_two_plans_in_a_row_are_one() -> None:
    there = plan(THEIRS, TABLE, source="a file")
    back = plan(there, flipped(TABLE), source="ours")
    round_trip = compose(there, back)
    assert round_trip["text.7.in_proj_weight"].sources == ("text.7.in_proj_weight",) * 3
    assert same({name: recipe(THEIRS) for name, recipe in round_trip.items()}, THEIRS)


def test_a_name_that_only_passes_through_stays_a_name() -> None:
    there = plan(THEIRS, TABLE, source="a file")
    back = plan(there, flipped(TABLE), source="ours")
    assert compose(there, back)["in.12.3.norm.weight"] == Recipe(("in.12.3.norm.weight",))


@pytest.mark.parametrize(
    "rule",
    [
        Rule("a.{i}", "b"),
        Rule("a.{i}", "b.{j}"),
        Rule("a", ("b", "c")),
    ],
)
def test_a_rule_that_cannot_be_read_both_ways_is_our_mistake(rule: Rule) -> None:
    with pytest.raises(AssertionError):
        plan([], [rule], source="a test")


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2))
def test_what_is_taken_apart_is_put_together_again(rows: int, columns: int, dims: int) -> None:
    whole = noise(3 * rows, *(columns,) * dims)
    assert torch.equal(stacked(*thirds(whole)), whole)
    matrix = noise(rows, columns)
    assert torch.equal(transposed(transposed(matrix)), matrix)
    assert torch.equal(linear(pointwise(matrix)), matrix)
    for kernel in (matrix, matrix[..., None], matrix[..., None, None]):  # as files hold it
        assert torch.equal(linear(kernel), matrix)


def test_the_largest_table_is_searched_in_milliseconds() -> None:
    spec = UNETS["sdxl"]
    folder = tuple(diffusers_unet(spec.down, spec.up))
    theirs = plan(meta_state(spec), flipped(folder), source="ours")
    assert len(theirs) == 1680
    start = process_time()
    plan(theirs, folder, source="a folder")
    plan(
        plan(plan(theirs, folder, source="a folder"), flipped(ldm_unet()), source="ours"),
        ldm_unet(),
        source="a file",
    )
    assert process_time() - start < 1.0  # about 0.1 on one core
