"""Every transformation gives what the plain network gives, in both types that a CPU calculates in."""

import pytest
import torch
from torch import Tensor, nn

from fromnoise.engine import winograd
from fromnoise.engine.attention import attend_in_tiles
from fromnoise.engine.packing import PackedConv2d, PackedGatedFeedForward, PackedLinear
from fromnoise.engine.transforms import TRANSFORMS, USUAL, hastened
from fromnoise.engine.upsampling import FoldedUpsample, PackedUpsample
from fromnoise.engine.winograd import WinogradConv2d
from fromnoise.nets.blocks import Upsample
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import TINY

BFLOAT16 = 1.5  # times the error that the plain network makes in bfloat16
SUMS = 4.0  # where all its convolutions go by sums of pixels


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.fixture(autouse=True)
def small_networks_count_as_large(monkeypatch) -> None:
    monkeypatch.setattr(winograd, "CHANNELS", 1)
    monkeypatch.setattr(winograd, "TILES", 1)


@pytest.fixture
def unet() -> UNet:
    torch.manual_seed(1)
    return UNet(TINY.unet).eval().requires_grad_(False)


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(2)
    return Decoder(TINY.vae).eval().requires_grad_(False)


def asked(unet: UNet, dtype: torch.dtype = torch.float32, side: int = 16) -> Tensor:
    context = noise(4, 7, TINY.unet.context_width, seed=5).to(dtype)
    latents, times = noise(2, 4, side, side, seed=6).to(dtype), torch.tensor([10.0, 900.0])
    return unet(latents, times, context)


# --- whole networks ---


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_transformation_gives_what_the_plain_networks_give(name, unet, decoder) -> None:
    latents = noise(1, 4, 12, 12, seed=3)
    tolerance = TRANSFORMS[name].tolerance
    with torch.inference_mode():
        assert error(asked(hastened(unet, [name])), asked(unet)) <= tolerance
        assert error(hastened(decoder, [name])(latents), decoder(latents)) <= tolerance


@pytest.mark.parametrize("side", [16, 18])  # 18 does not survive halving twice
def test_all_of_them_together_give_what_the_plain_networks_give(side, unet, decoder) -> None:
    latents = noise(1, 4, 12, 12, seed=3)
    with torch.inference_mode():
        assert error(asked(hastened(unet), side=side), asked(unet, side=side)) <= 1e-5
        assert error(hastened(decoder)(latents), decoder(latents)) <= 1e-5


def test_in_bfloat16_they_round_about_as_much_as_the_plain_networks_but_for_sums_of_pixels(
    unet, decoder
) -> None:
    latents = noise(1, 4, 12, 12, seed=3)
    exact, exact_pixels = asked(unet), decoder(latents)
    unet, decoder, latents = unet.bfloat16(), decoder.bfloat16(), latents.bfloat16()
    with torch.inference_mode():
        rounded = error(asked(unet, torch.bfloat16), exact)
        plain = error(decoder(latents), exact_pixels)
        others = [name for name in USUAL if name != "winograd"]
        for names, most in ((others, BFLOAT16), (USUAL, SUMS)):
            assert error(asked(hastened(unet, names), torch.bfloat16), exact) <= most * rounded
            assert error(hastened(decoder, names)(latents), exact_pixels) <= most * plain


def test_every_transformation_finds_something_to_change(unet, decoder) -> None:
    kinds = {type(module) for module in (*hastened(unet).modules(), *hastened(decoder).modules())}
    assert {PackedLinear, PackedConv2d, PackedGatedFeedForward, PackedUpsample, WinogradConv2d} <= kinds
    assert any(getattr(module, "attend", None) is attend_in_tiles for module in hastened(unet).modules())


def test_the_plain_network_stays_as_it_was(unet) -> None:
    before, kinds = asked(unet), [type(module) for module in unet.modules()]
    hastened(unet)
    assert kinds == [type(module) for module in unet.modules()]
    assert torch.equal(asked(unet), before)


def test_weights_that_are_exchanged_later_are_used(unet) -> None:
    fast = hastened(unet)
    with torch.inference_mode():
        asked(fast)
        for module in unet.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.weight = nn.Parameter(module.weight * 0.9, requires_grad=False)
        assert error(asked(fast), asked(unet)) <= 1e-5


def test_weights_that_are_written_to_are_packed_anew() -> None:
    for plain, x in ((nn.Linear(6, 700), noise(900, 6)), (nn.Conv2d(6, 6, 3, padding=1), noise(2, 6, 9, 9))):
        fast = hastened(nn.Sequential(plain))
        with torch.no_grad():
            assert error(fast(x), plain(x)) <= 1e-5
            plain.load_state_dict({name: 2 * weight for name, weight in plain.state_dict().items()})
            assert error(fast(x), plain(x)) <= 1e-5


def test_several_texts_a_picture_are_as_many_pictures(unet) -> None:
    context = noise(4, 7, TINY.unet.context_width, seed=5)
    latents, times = noise(2, 4, 16, 16, seed=6), torch.tensor([10.0, 900.0])
    alone = torch.cat([unet(latents, times, half) for half in context.chunk(2)])
    assert error(unet(latents, times, context), alone) <= 1e-6


# --- the parts ---


@pytest.mark.parametrize("size", [None, (10, 14), (9, 14)])
def test_folding(size: tuple[int, int] | None) -> None:
    plain = Upsample(6).requires_grad_(False)
    x = noise(2, 6, 5, 7)
    folded = FoldedUpsample(plain)
    assert error(folded(x, size), plain(x, size)) <= 1e-6
    assert error(PackedUpsample(folded)(x, size), plain(x, size)) <= 1e-6


def test_a_small_product_is_not_packed_and_a_large_one_is(monkeypatch) -> None:
    plain = nn.Linear(6, 5).requires_grad_(False)
    packed = PackedLinear(plain)
    x = noise(3, 6)
    with torch.inference_mode():
        assert torch.equal(packed(x), plain(x))
        assert torch.equal(packed.weight.made, plain.weight)
        monkeypatch.setattr("fromnoise.engine.packing.FEW", x.numel() * 5 - 1)
        assert error(packed(x), plain(x)) <= 1e-6
    assert packed.weight.made.layout == torch._mkldnn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 6, 8, 12), (1, 6, 13, 10), (3, 6, 4, 4), (1, 6, 5, 17)])
@pytest.mark.parametrize("at_once", [1, 10**9], ids=["in parts", "at once"])
def test_a_quarter_of_the_products(monkeypatch, at_once: int, shape: tuple[int, ...], bias: bool) -> None:
    monkeypatch.setattr(winograd, "VALUES", at_once)
    monkeypatch.setattr(winograd, "KERNELS", at_once)
    torch.manual_seed(4)
    plain = nn.Conv2d(6, 5, 3, padding=1, bias=bias).requires_grad_(False)
    x = noise(*shape)
    exact = plain.double()(x.double())
    taps = winograd.taps_of(plain.float().weight)
    conv = WinogradConv2d(plain)
    for is_spread, kernels in ((True, [winograd.spread(taps)]), (False, winograd.blocks(taps))):
        fast = winograd.convolved(x, kernels, plain.bias)
        assert fast.shape == exact.shape
        assert error(fast, exact) <= 3e-6
        winograd.keep_spread(conv, is_spread)
        assert torch.equal(conv(x), fast) == winograd.is_large(*shape[2:])
        if winograd.is_large(*shape[2:]):
            assert list(map(len, conv.weight.made)) == list(map(len, kernels))


def test_other_convolutions_are_not_of_that_kind() -> None:
    assert winograd.is_plain_3x3(nn.Conv2d(8, 8, 3, padding=1))
    for other in (
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, padding=1, stride=2),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"),
    ):
        assert not winograd.is_plain_3x3(other)


def test_small_maps_and_few_channels_are_left(monkeypatch) -> None:
    monkeypatch.undo()
    wide = nn.Conv2d(320, 320, 3, padding=1)
    assert winograd.is_plain_3x3(wide)
    assert not winograd.is_plain_3x3(nn.Conv2d(4, 320, 3, padding=1))
    assert winograd.is_large(32, 29)
    assert not winograd.is_large(28, 32)
    assert not winograd.is_large(2, 2000), "most of each tile lies beside the map"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_kept_and_what_is_made_at_each_use_differ_in_last_bits_at_most(monkeypatch, dtype) -> None:
    conv = WinogradConv2d(nn.Conv2d(40, 24, 3, padding=1).requires_grad_(False).to(dtype))
    x = noise(2, 40, 16, 16).to(dtype)
    kept = conv(x)
    winograd.keep_spread(conv, False)
    assert torch.equal(conv(x), kept)  # as one block
    monkeypatch.setattr(winograd, "KERNELS", 36 * 40 * 8)  # as three
    conv.weight.forget()
    assert error(conv(x), kept) <= (1e-6 if dtype == torch.float32 else 1e-3)
    assert len(conv.weight.made) == 3
    monkeypatch.setattr(winograd, "EXACT", 1)
    winograd.keep_spread(conv, True)
    assert torch.equal(conv(x), kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_map_is_convolved_the_same_alone_and_beside_others(monkeypatch, dtype: torch.dtype) -> None:
    """In bfloat16 sums of pixels round otherwise than plain products: a batch must not change the way."""
    monkeypatch.undo()
    monkeypatch.setattr(winograd, "CHANNELS", 1)
    gone = list[int]()
    convolved = winograd.convolved
    monkeypatch.setattr(winograd, "convolved", lambda x, *rest: gone.append(len(x)) or convolved(x, *rest))
    conv = WinogradConv2d(nn.Conv2d(6, 6, 3, padding=1).requires_grad_(False).to(dtype))
    monkeypatch.setattr(PackedConv2d, "forward", lambda self, x: self.plain(x))
    for side, so_often in ((28, 0), (32, 2)):
        x = noise(8, 6, side, side).to(dtype)
        assert error(conv(x)[:1], conv(x[:1])) <= (1e-6 if dtype == torch.float32 else 4e-3)
        assert len(gone) == so_often


def test_in_bfloat16_a_quarter_of_the_products_costs_a_digit_and_not_two() -> None:
    torch.manual_seed(5)
    plain = nn.Conv2d(64, 64, 3, padding=1).requires_grad_(False)
    x = nn.functional.silu(noise(1, 64, 32, 32)).bfloat16()
    exact = plain.double()(x.double())
    taps = winograd.taps_of(plain.float().weight).bfloat16()
    found = winograd.convolved(x, [winograd.spread(taps)], plain.bias.bfloat16())
    assert found.dtype == torch.bfloat16
    assert error(found, exact) <= 1.6e-2
    assert abs(float((found.double() - exact).mean())) <= 1e-3 * float(exact.std()), "it leans to no side"


def test_after_a_cast_that_it_does_not_know_sums_of_pixels_are_left(monkeypatch) -> None:
    monkeypatch.setattr(PackedConv2d, "forward", lambda self, x: self.plain(x))
    plain = nn.Conv2d(6, 6, 3, padding=1).requires_grad_(False)
    conv, x = WinogradConv2d(plain), noise(1, 6, 16, 16)
    assert not torch.equal(conv(x), plain(x))
    assert torch.equal(conv.double()(x.double()), plain(x.double()))


def test_kernels_that_are_kept_otherwise_go_at_once() -> None:
    conv = WinogradConv2d(nn.Conv2d(6, 6, 3, padding=1).requires_grad_(False))
    for is_spread in (False, True, False):
        winograd.keep_spread(conv, is_spread)
        assert conv.weight.made is None
        conv(noise(1, 6, 16, 16))
        winograd.keep_spread(conv, is_spread)
        assert conv.weight.made is not None


def test_a_map_is_packed_for_its_size() -> None:
    plain = nn.Conv2d(6, 6, 3, padding=1).requires_grad_(False)
    conv = WinogradConv2d(plain)
    for shape in ((1, 6, 16, 16), (1, 6, 2, 40), (1, 6, 16, 16)):
        assert error(conv(noise(*shape)), plain(noise(*shape))) <= 1e-5


def test_no_gradients_flow_through_what_is_made_for_drawing(unet) -> None:
    fast = hastened(unet)
    assert not asked(fast).requires_grad
