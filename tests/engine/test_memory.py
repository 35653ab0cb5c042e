"""What is done where memory is short changes no picture: weights in files, packed anew, texts in turn."""

import copy
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fromnoise.engine import packing, thrift, winograd
from fromnoise.engine.frugal import FrugalResnetBlock
from fromnoise.engine.in_turn import InTurn
from fromnoise.engine.packing import can_pack, forget_packed, keep_packed, packed_in
from fromnoise.engine.plan import MemoryPlan
from fromnoise.engine.transforms import hastened
from fromnoise.engine.winograd import WinogradConv2d
from fromnoise.nets.blocks import ResnetBlock, Upsample
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import TINY
from fromnoise.weights.shelved import Shelved, is_shelved

needs_packing = pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Shelf:
    """A tensor somewhere, and how often it was read."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.times = tensor, 0

    def __call__(self) -> Tensor:
        self.times += 1
        return self.tensor.clone()

    def shelved(self) -> Shelved:
        return Shelved(self, self.tensor.shape, self.tensor.dtype)


@pytest.fixture
def unet() -> UNet:
    torch.manual_seed(1)
    return UNet(TINY.unet).eval().requires_grad_(False)


@pytest.fixture
def shelved(unet: UNet) -> UNet:
    """The same network, its weights on a shelf."""
    twin = copy.deepcopy(unet)
    state = {
        name: Shelf(weight).shelved() if weight.ndim > 1 else weight
        for name, weight in twin.state_dict().items()
    }
    twin.load_state_dict(state, assign=True)
    return twin.requires_grad_(False)


def ask(unet, rows: int = 2) -> Tensor:
    context = noise(rows, 7, TINY.unet.context_width, seed=5)
    return unet(noise(1, 4, 16, 16, seed=6), torch.tensor([500.0]), context)


# --- weights that stay in their file ---


def test_a_shelved_tensor_is_known_without_reading_it() -> None:
    shelf = Shelf(noise(4, 3).bfloat16())
    weight = nn.Parameter(shelf.shelved(), requires_grad=False)
    facts = (weight.shape, weight.dtype, weight.device.type, weight.numel(), weight.nbytes, weight.ndim)
    assert facts == ((4, 3), torch.bfloat16, "cpu", 12, 24, 2)
    assert isinstance(weight, nn.Parameter)
    assert isinstance(weight, Shelved)
    assert shelf.times == 0


@pytest.mark.parametrize(
    "use",
    [
        lambda w: w.float(),
        lambda w: w.detach().contiguous(),
        lambda w: w @ w.T,
        lambda w: torch.cat([w, w]),
        lambda w: w.chunk(2)[1],
        lambda w: w[1:],
        lambda w: nn.functional.linear(torch.ones(2, 3), w),
        lambda w: torch.stack((w, w), dim=0),
        lambda w: copy.deepcopy(w) * 1,
    ],
)
def test_whatever_is_done_with_it_reads_it(use) -> None:
    plain = noise(4, 3)
    with torch.inference_mode():
        assert torch.equal(use(Shelf(plain).shelved()), use(plain))


@pytest.mark.parametrize(
    "write", [lambda w: w.mul_(2), lambda w: w.copy_(w + 1), lambda w: torch.add(w, 1, out=w)]
)
def test_nothing_writes_to_it(write) -> None:
    with pytest.raises(RuntimeError, match="give the layer new ones"):
        write(Shelf(noise(4, 3)).shelved())


def test_it_is_saved_as_its_numbers(tmp_path: Path) -> None:
    plain = noise(4, 3)
    with pytest.raises(RuntimeError, match="clone"):  # what reads memory by its address would read nothing
        save_file({"w": Shelf(plain).shelved()}, tmp_path / "a.safetensors")
    save_file({"w": Shelf(plain).shelved().clone()}, tmp_path / "a.safetensors")
    assert torch.equal(load_file(tmp_path / "a.safetensors")["w"], plain)
    torch.save(Shelf(plain).shelved(), tmp_path / "a.pt")
    assert torch.equal(torch.load(tmp_path / "a.pt"), plain)


def test_a_network_is_cast_as_any_other(unet: UNet, shelved: UNet) -> None:
    assert is_shelved(shelved)
    assert not is_shelved(unet)
    assert torch.equal(ask(shelved.double().float()), ask(unet))


def test_plain_and_fast_networks_answer_the_same_from_the_shelf(unet: UNet, shelved: UNet) -> None:
    with torch.inference_mode():
        assert torch.equal(ask(shelved), ask(unet))
        assert torch.equal(ask(hastened(shelved)), ask(hastened(unet)))


@needs_packing
def test_packed_weights_are_read_once_and_those_that_do_not_stay_at_each_use(shelved: UNet) -> None:
    fast, layer = hastened(shelved), shelved.mid[0].conv1  # type: ignore[index]
    with torch.inference_mode():
        first = ask(fast)
        assert layer.weight.read.times == 1
        assert torch.equal(ask(fast), first)
        assert layer.weight.read.times == 1
        keep_packed(fast, 0)
        assert torch.equal(ask(fast), first)
        assert torch.equal(ask(fast), first)
        assert layer.weight.read.times == 3
        assert all(each.made is None for each in packed_in(fast))
        keep_packed(fast, None)
        assert torch.equal(ask(fast), first)


def numbers(packed: Iterable[packing.Packed]) -> int:
    """Of the weights from which these are made, each once."""
    return sum({id(w): w.numel() for each in packed for w in each.weights if w is not None}.values())


@needs_packing
def test_so_many_weights_stay_or_go(shelved: UNet) -> None:
    fast = hastened(shelved)
    every, total = packed_in(fast), numbers(packed_in(fast))
    with torch.inference_mode():
        first = ask(fast)
        for _ in range(2):  # what is gone does not go again
            forget_packed(fast, total // 2)
            assert total // 4 < numbers(each for each in every if each.made is not None) <= total // 2
        assert torch.equal(ask(fast), first)
        keep_packed(fast, total // 2)
        assert total // 4 < numbers(each for each in every if each.stays) <= total // 2
        assert torch.equal(ask(fast), first)
        forget_packed(fast)
        assert all(each.made is None for each in every)


@needs_packing
def test_folded_kernels_count_as_large_as_they_are() -> None:
    fast = hastened(Upsample(6))
    for room, stays in ((16 * 36, True), (16 * 36 - 1, False)):
        keep_packed(fast, room)
        assert {each.stays for each in packed_in(fast)} == {stays}


def test_a_weight_that_takes_anothers_place_is_used_and_the_old_one_is_exact(shelved: UNet) -> None:
    fast, layer = hastened(shelved), shelved.mid[0].conv1  # type: ignore[index]
    with torch.inference_mode():
        before, original = ask(fast), layer.weight
        layer.weight = nn.Parameter(original.float() * 1.5, requires_grad=False)
        assert not torch.equal(ask(fast), before)
        layer.weight = original
        assert torch.equal(ask(fast), before)


def test_what_was_packed_before_a_cast_is_packed_anew(shelved: UNet) -> None:
    layer = shelved.mid[0].conv1  # type: ignore[index]
    packed = packing.Packed(lambda weight: weight, lambda: layer.weight)
    assert isinstance(layer.weight, Shelved)
    assert packed().dtype == torch.float32
    shelved.double()
    assert packed().dtype == torch.float64


# --- a plan at work ---


def held(network: nn.Module) -> int:
    return numbers(each for each in packed_in(network) if each.made is not None)


@needs_packing
@pytest.mark.parametrize(("kept", "given"), [(1.0, 0.0), (1.0, 0.4), (0.5, 0.0), (0.5, 0.2)])
def test_what_an_earlier_drawing_packed_makes_room_for_an_encoder(
    shelved: UNet, kept: float, given: float
) -> None:
    fast, decoder = hastened(shelved), hastened(Decoder(TINY.vae).requires_grad_(False))
    with torch.inference_mode():
        first = ask(fast)
    total = held(fast)
    sizes = {"kept": int(kept * total), "given": int(given * total), "streams": int((1 - kept) * total)}
    found = MemoryPlan(sequential=False, reading=0, drawing=0, decoding=0, **sizes)
    follower = thrift.Thrift(found, lambda: (fast, decoder, None))
    with torch.inference_mode():
        with follower.painting():
            assert held(fast) <= (kept - given) * total
            assert held(fast) > (kept - given - 0.2) * total
        assert torch.equal(ask(fast), first)
        assert held(fast) <= kept * total


@needs_packing
def test_a_refiner_holds_its_kernels_once_and_nothing_afterwards(shelved: UNet, monkeypatch) -> None:
    monkeypatch.setattr(winograd, "CHANNELS", 1)
    monkeypatch.setattr(winograd, "TILES", 1)
    fast, late, decoder = hastened(shelved), hastened(copy.deepcopy(shelved)), hastened(Decoder(TINY.vae))
    found = MemoryPlan(
        sequential=False, kept=0, given=0, reading=0, drawing=0, decoding=0, streams=1, spreads=True
    )
    follower = thrift.Thrift(found, lambda: (fast, decoder, late))
    keep_packed(late, 0)  # as it drew alone
    with torch.inference_mode(), follower.drawing():
        follower.follow()
        for unet in (fast, late):
            ask(unet)
        spread = [[m.is_spread for m in n.modules() if isinstance(m, WinogradConv2d)] for n in (fast, late)]
        assert (set(spread[0]), set(spread[1])) == ({True}, {False})
        assert (held(fast), held(late) > 0) == (0, True)
    assert held(late) == 0


# --- activations ---


def test_blocks_that_write_over_what_nobody_reads_give_the_same_bits() -> None:
    torch.manual_seed(3)
    for width, time in ((8, None), (12, 16), (8, 16)):
        plain = ResnetBlock(8, width, groups=4, eps=1e-5, time_width=time).requires_grad_(False)
        x, told = noise(2, 8, 6, 5), None if time is None else noise(2, time, seed=1)
        kept = x.clone()
        assert torch.equal(FrugalResnetBlock(plain)(x, told), plain(x, told))
        assert torch.equal(x, kept)


@pytest.mark.parametrize("beside", [False, True])
def test_texts_in_turn_answer_as_all_at_once(unet: UNet, beside: bool) -> None:
    context = noise(3, 7, TINY.unet.context_width, seed=5)
    latents, times = noise(3 if beside else 1, 4, 16, 16, seed=6), torch.tensor([500.0])
    times = times.expand(len(latents))
    made = list[UNet]()
    in_turn = InTurn(lambda: made.append(unet) or unet)
    with torch.inference_mode():
        for _ in range(2):
            alone, together = in_turn(latents, times, context), unet(latents, times, context)
            assert (alone - together).norm() <= 1e-5 * together.norm()
    assert len(made) == 3  # one for each text, which may remember


def test_the_first_answer_hands_back_what_packing_has_left(monkeypatch) -> None:
    handed = list[int]()
    monkeypatch.setattr(thrift, "hand_back", lambda: handed.append(1))
    unet = thrift.Tidy(lambda x: x + 1)
    assert [unet(torch.tensor(float(n))).item() for n in range(3)] == [1.0, 2.0, 3.0]
    assert handed == [1], "once: later answers leave no holes"


@needs_packing
def test_numbers_from_a_file_come_and_go_and_only_what_is_packed_lasts(monkeypatch) -> None:
    lasting = [False]

    @contextmanager
    def watched() -> Generator[None]:
        lasting[0] = True
        yield
        lasting[0] = False

    read = list[bool]()

    class Watched(Shelf):
        def __call__(self) -> Tensor:
            read.append(lasting[0])
            return super().__call__()

    monkeypatch.setattr(packing, "lasting_memory", watched)
    plain = nn.Linear(8, 8)
    plain.weight = nn.Parameter(Watched(plain.weight.detach()).shelved(), requires_grad=False)
    with torch.inference_mode():
        packed = packing.PackedLinear(plain)
        packed(noise(2, 8))
    assert read == [False]
