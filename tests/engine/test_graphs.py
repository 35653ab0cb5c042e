"""Recordings are kept by shape, follow exchanged weights, and refuse loudly; on a card that is not there."""

import copy

import pytest
import torch
from fake_card import FakeCard
from torch import Tensor, nn

from fromnoise.engine.graphs import Graphed, channels_last, for_card
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import TINY


@pytest.fixture
def unet() -> UNet:
    torch.manual_seed(1)
    return UNet(TINY.unet).eval().requires_grad_(False)


def asked(network: nn.Module, pictures: int = 1, side: int = 16, seed: int = 0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    latents = torch.randn(pictures, 4, side, side, generator=chance)
    times = torch.full((pictures,), 500.0)
    context = torch.randn(pictures, 7, TINY.unet.context_width, generator=chance)
    with torch.inference_mode():
        return network(latents, times, context, None)


def test_a_shape_is_recorded_once_and_played_from_then_on(unet) -> None:
    card, plain = FakeCard(), copy.deepcopy(unet)
    graphed = for_card(unet, card)
    for seed in range(3):
        torch.testing.assert_close(asked(graphed, seed=seed), asked(plain, seed=seed), rtol=1e-4, atol=1e-4)
    assert (card.recorded, card.played) == (1, 3)


def test_each_shape_has_a_recording_and_the_oldest_goes(unet, monkeypatch) -> None:
    monkeypatch.setattr("fromnoise.engine.graphs.KEPT", 2)
    card = FakeCard()
    graphed = for_card(unet, card)
    for sides, recorded in (((8, 16, 8, 16), 2), ((24,), 3), ((16,), 3), ((8,), 4)):
        for side in sides:
            asked(graphed, side=side)
        assert card.recorded == recorded
    asked(graphed, pictures=2, side=8)
    assert (card.recorded, len(graphed.recordings)) == (5, 2)


def test_an_answer_stays_when_the_next_one_is_played(unet) -> None:
    graphed = for_card(unet, FakeCard())
    first = asked(graphed, seed=1)
    kept = first.clone()
    asked(graphed, seed=2)
    assert torch.equal(first, kept)


def test_exchanged_weights_are_recorded_anew_changed_ones_are_seen(unet) -> None:
    card = FakeCard()
    graphed = for_card(unet, card)
    before = asked(graphed)
    with torch.no_grad():
        unet.leave.weight.mul_(2)  # in place: the same memory
    assert not torch.equal(asked(graphed), before)
    assert card.recorded == 1
    unet.leave.weight = nn.Parameter(unet.leave.weight / 2, requires_grad=False)
    torch.testing.assert_close(asked(graphed), before)
    assert card.recorded == 2
    unet.leave.weight.data = unet.leave.weight.data.clone()  # moved away and back
    torch.testing.assert_close(asked(graphed), before)
    assert card.recorded == 3


def test_what_cannot_be_recorded_is_drawn_as_it_is_and_says_why(unet) -> None:
    card = FakeCard(refuses="operation not permitted\nand a long story")
    graphed = for_card(unet, card)
    with pytest.warns(RuntimeWarning, match="UNet draws without a CUDA graph, .*: operation not permitted$"):
        first = asked(graphed)
    assert torch.equal(asked(graphed), first)  # and says so once
    assert torch.equal(first, asked(unet))


def test_a_network_that_does_not_fit_is_no_matter_of_recording(unet) -> None:
    def full(*_: Tensor | None) -> Tensor:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    with pytest.raises(torch.OutOfMemoryError):
        asked(Graphed(unet, FakeCard(), full))


def test_kernels_get_their_channels_last_and_stay_the_same_parameters(unet) -> None:
    before = dict(unet.named_parameters())
    wanted = asked(copy.deepcopy(unet))
    for_card(unet, FakeCard())
    assert all(after is before[name] for name, after in unet.named_parameters())
    kernel = unet.down[0][0].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(asked(unet), wanted, rtol=1e-4, atol=1e-4)
    assert channels_last(torch.ones(2, 3)).is_contiguous()


@pytest.mark.slow  # torch loads its compiler
def test_the_networks_can_be_compiled_as_one_piece(unet) -> None:
    torch.manual_seed(2)
    decoder = Decoder(TINY.vae).eval().requires_grad_(False)
    latents = torch.randn(1, 4, 8, 8)
    with torch.inference_mode():
        whole = torch.compile(decoder, backend="eager", fullgraph=True, dynamic=False)
        torch.testing.assert_close(whole(latents), decoder(latents))
    whole = torch.compile(unet, backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(asked(whole), asked(unet))
