"""Networks that wait, and blocks that pass through: the same pictures with less of the card's memory."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from fake_card import LARGE, FakeCard
from torch import Tensor, nn

from fromnoise.engine.offload import (
    Offload,
    Sizes,
    Waiting,
    blocks_of,
    explained,
    largest_pair,
    planned,
    size_of,
)
from fromnoise.engine.placing import Placing
from fromnoise.pipeline import Pipeline
from fromnoise.specs import TINY, ModelSpec
from fromnoise.weights.native import Parts

MB = 10**6
Build = Callable[[ModelSpec], Parts]


def networks_of(parts: Parts) -> dict[str, nn.Module]:
    return dict(parts.modules())


def ask(unet: nn.Module, seed: int = 0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, 4, 16, 16, generator=chance)
    context = torch.randn(1, 7, TINY.unet.context_width, generator=chance)
    with torch.inference_mode():
        return unet(latents, torch.tensor([500.0]), context)


# --- the plan ---


@pytest.mark.parametrize(
    ("free", "kind"),
    [(100, "none"), (79, "none"), (76, "model"), (57, "model"), (54, "blocks"), (1, "blocks")],
)
def test_the_least_moving_that_fits_is_planned(free: int, kind: str) -> None:
    sizes = Sizes(everything=60, largest=40, streamed=10)
    assert planned(sizes, work=11, free=free) == kind


def test_sizes_are_those_of_the_weights(build: Build) -> None:
    networks = networks_of(build(TINY))
    sizes = Sizes.of(networks)
    assert sizes.everything == sum(p.numel() * 4 for n in networks.values() for p in n.parameters())
    assert sizes.largest == max(map(size_of, networks.values()))
    assert sizes.streamed < size_of(networks["unet"])


def test_every_part_of_a_unet_that_has_a_place_in_the_order_is_a_block(build: Build) -> None:
    unet = build(TINY).unet
    assert blocks_of(unet) == [*unet.down, unet.mid, *unet.up]


def test_the_plan_is_told_in_one_line() -> None:
    told = explained("model", Sizes(6900 * MB, 5100 * MB, MB), 1200 * MB, 7600 * MB)
    assert told.startswith("offload model: networks that are not at work wait in the CPU's memory")
    assert "(6.9 GB of weights, about 1.2 GB to work in, 7.6 GB free)" in told
    assert "\n" not in told


# --- weights that come and go ---


def test_weights_go_home_unchanged() -> None:
    layer = nn.Linear(3, 3).requires_grad_(False)
    weights, card = dict(layer.named_parameters()), FakeCard()
    values = {name: weight.clone() for name, weight in weights.items()}
    waiting = Waiting(card, layer)
    homes = {name: weight.data_ptr() for name, weight in weights.items()}
    assert waiting.bytes() == size_of(layer) == 48
    waiting.bring()
    waiting.bring()  # they are there
    assert (waiting.bytes(), card.used) == (0, 48)
    waiting.leave()
    assert card.used == 0
    for name, weight in layer.named_parameters():
        assert weight is weights[name]
        assert weight.data_ptr() == homes[name]
        assert torch.equal(weight, values[name])


def test_weights_that_an_adapter_exchanges_meanwhile_are_followed() -> None:
    layer, card = nn.Linear(3, 3).requires_grad_(False), FakeCard()
    waiting = Waiting(card, layer)
    waiting.bring()
    original = layer.weight
    layer.weight = nn.Parameter(original * 2, requires_grad=False)
    waiting.bring()
    assert card.used == 48  # the original went home
    doubled = layer.weight.clone()
    waiting.leave()
    assert card.used == 0
    assert torch.equal(layer.weight, doubled)
    layer.weight = original
    waiting.bring()
    assert torch.equal(layer.weight * 2, doubled)
    assert card.used == 48


def test_blocks_pass_through_two_at_a_time(build: Build) -> None:
    parts, whole = build(TINY), build(TINY)
    card = FakeCard()
    rest = size_of(parts.unet) - sum(map(size_of, blocks_of(parts.unet)))
    pair = largest_pair(blocks_of(parts.unet))
    Offload(card, {"unet": parts.unet}, "blocks", 0)
    for seed in range(2):
        assert torch.equal(ask(parts.unet, seed), ask(whole.unet, seed))
    assert card.most <= rest + pair + 16 * 1024  # and what is asked
    assert card.most < size_of(parts.unet) / 2


# --- whole drawings ---


@pytest.mark.parametrize("kind", ["model", "blocks"])
def test_pictures_are_the_same_and_the_card_is_smaller(build: Build, kind: str) -> None:
    fields = {"seeds": (3,), "steps": 2}  # one: a small card draws no batches, and they round otherwise
    wanted = Pipeline.of(build(TINY), "plain", Placing(FakeCard()))("a red house", **fields)  # type: ignore[arg-type]
    parts = build(TINY)
    networks = networks_of(parts)
    sizes = Sizes.of(networks)
    card = FakeCard(size=sizes.largest + MB // 2 if kind == "model" else sizes.streamed + MB // 2)
    Offload(card, networks, kind, MB // 4)  # type: ignore[arg-type]
    pipe = Pipeline.of(parts, "plain", Placing(card, kind))  # type: ignore[arg-type]
    for _ in range(2):
        drawn = pipe("a red house", **fields)
        assert [p.rgb for p in drawn.pictures] == [p.rgb for p in wanted.pictures]
    assert card.most <= card.size
    assert card.most < sizes.everything


def test_with_room_for_all_nothing_is_sent_away(build: Build) -> None:
    networks, card = networks_of(build(TINY)), FakeCard(LARGE)
    offload = Offload(card, networks, "model", MB)
    for name in (*networks, *networks):
        offload.ask_for(name)
    assert card.waited == []
    assert card.used == Sizes.of(networks).everything
    assert offload.order == list(networks)


def test_the_one_not_asked_for_longest_goes_first(build: Build) -> None:
    networks = networks_of(build(replace(TINY, name="other")))
    sizes = {name: size_of(network) for name, network in networks.items()}
    card = FakeCard(sum(sizes.values()) - 1)
    offload = Offload(card, networks, "model", 0)
    first, *_, last = networks
    for name in networks:
        offload.ask_for(name)
    assert first not in offload.order
    assert offload.order[-1] == last
    assert card.used == sum(sizes[name] for name in offload.order)


def test_room_to_work_in_is_what_is_left_beside_the_largest_network(build: Build) -> None:
    networks, card = networks_of(build(TINY)), FakeCard(LARGE)
    largest = max(map(size_of, networks.values()))
    offload = Offload(card, networks, "model", 0)
    assert offload.room() == LARGE - largest
    for name in networks:  # wherever the others are
        offload.ask_for(name)
        assert offload.room() == LARGE - largest


def test_networks_make_way_for_what_is_expected(build: Build) -> None:
    networks = networks_of(build(TINY))
    card = FakeCard(sum(map(size_of, networks.values())) + 2 * MB)
    offload = Offload(card, networks, "model", MB)
    for name in networks:
        offload.ask_for(name)
    assert offload.order == [*networks]
    placing = Placing(card, "model", offload=offload)  # type: ignore[arg-type]
    placing.expect(LARGE)
    offload.send_away("decoder")
    offload.ask_for("decoder")
    assert offload.order == ["decoder"]


def test_networks_that_are_there_make_way_for_a_larger_drawing(build: Build) -> None:
    networks = networks_of(build(TINY))
    sizes = Sizes.of(networks)
    card = FakeCard(sizes.everything + 2 * MB)
    offload = Offload(card, networks, "model", MB)
    for name in networks:
        offload.ask_for(name)
    placing = Placing(card, "model", offload=offload)  # type: ignore[arg-type]
    placing.expect(2 * MB)
    assert offload.order == [*networks]
    placing.expect(2 * MB + 1)
    assert offload.order == [*networks][1:]  # the one not asked for longest is enough
    work = card.size - sizes.largest
    placing.expect(work)
    for name in networks:
        offload.ask_for(name)
        assert card.free() >= work
