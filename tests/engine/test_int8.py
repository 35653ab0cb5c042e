"""Products of bytes: near the plain ones, the same each time, and refused where they cannot be had."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from fromnoise.cli.app import app
from fromnoise.engine import int8_products, transforms
from fromnoise.engine.int8 import (
    BLOCK,
    FEWEST,
    WORTH,
    QuantizedAttention,
    QuantizedConv2d,
    QuantizedGatedFeedForward,
    QuantizedLinear,
    QuantizedUpsample,
    quantized,
)
from fromnoise.engine.int8_products import Bytes, why_not
from fromnoise.engine.packing import PackedConv2d, PackedLinear, keep_packed, packed_in
from fromnoise.engine.transforms import check_int8
from fromnoise.engine.transforms import quantized as quantized_network
from fromnoise.engine.upsampling import FoldedUpsample
from fromnoise.errors import RequestError
from fromnoise.loading import load
from fromnoise.nets.attention import Attention
from fromnoise.nets.blocks import GatedFeedForward, Upsample
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.pipeline import Pipeline
from fromnoise.specs import TINY
from fromnoise.weights.native import Parts

able = pytest.mark.skipif(bool(why_not()), reason=why_not())

ONE = 0.02  # relative error of one product of numbers that are spread evenly or normally
MANY = 0.05  # of several, one after the other
NETWORK = 0.1  # of a small network of random weights
SMALL = replace(
    TINY.unet,
    base_width=64,
    context_width=96,
    multipliers=(1, 2),
    down=((1,), (0,)),
    mid=0,
    up=((0, 0), (1, 1)),
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def made(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    return build().eval().requires_grad_(False)


PARTS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "linear": (lambda: nn.Linear(256, 320), (2, 48, 256), ONE),
    "linear without bias": (lambda: nn.Linear(320, 256, bias=False), (1, 33, 320), ONE),
    "3x3": (lambda: nn.Conv2d(48, 64, 3, padding=1), (1, 48, 9, 14), ONE),
    "3x3, two pictures": (lambda: nn.Conv2d(64, 40, 3, padding=1, bias=False), (2, 64, 8, 5), ONE),
    "3x3, every other pixel": (lambda: nn.Conv2d(64, 128, 3, stride=2, padding=1), (2, 64, 12, 7), ONE),
    "3x3, padded before": (lambda: nn.Conv2d(64, 128, 3, stride=2), (1, 64, 13, 9), ONE),
    "1x1": (lambda: nn.Conv2d(256, 256, 1), (1, 256, 6, 11), ONE),
    "upsample": (lambda: FoldedUpsample(Upsample(64)), (2, 64, 6, 9), ONE),
    "feed forward": (lambda: GatedFeedForward(256), (2, 40, 256), MANY),
    "attention": (lambda: Attention(256, 4), (2, 40, 256), MANY),
    "attention with bias": (lambda: Attention(256, 1, bias=True), (1, 35, 256), MANY),
}


@able
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", PARTS)
def test_every_part_is_near_the_plain_one(name: str, dtype: torch.dtype) -> None:
    build, shape, tolerance = PARTS[name]
    plain, x = made(build), noise(*shape)
    wanted = plain(x)
    fast = quantized(plain.to(dtype))
    assert type(fast) is not type(plain)
    with torch.inference_mode():
        found = fast(x.to(dtype))
        again = fast(x.to(dtype))
    assert (found.dtype, found.shape) == (dtype, wanted.shape)
    assert 1e-4 < error(found, wanted) <= tolerance
    assert torch.equal(found, again)


@able
def test_an_upsample_to_an_odd_size_is_the_plain_one() -> None:
    plain = made(lambda: Upsample(64))
    x = noise(1, 64, 5, 6)
    fast = quantized(FoldedUpsample(plain))
    assert isinstance(fast, QuantizedUpsample)
    assert error(fast(x, (9, 11)), plain(x, (9, 11))) <= 1e-6


@able
def test_attention_to_a_text_rounds_the_picture_and_not_the_text() -> None:
    plain = made(lambda: Attention(256, 4, context_width=96))
    fast, x, text = quantized(plain), noise(2, 50, 256), noise(2, 7, 96, seed=1)
    text[..., 0] *= 1000  # as in CLIP's vectors: bytes would leave nothing of the others
    assert isinstance(fast, QuantizedAttention)
    assert fast.to_k is plain.to_k
    assert error(fast(x, text), plain(x, text)) <= MANY


@able
def test_a_large_feed_forward_goes_block_by_block() -> None:
    plain = made(lambda: GatedFeedForward(256))
    fast, x = quantized(plain), noise(1, BLOCK + 40, 256)
    x[:, BLOCK:] *= 1e-3  # its own scale: beside the others nothing would be left of it
    assert isinstance(fast, QuantizedGatedFeedForward)
    found, wanted = fast(x)[:, BLOCK:], plain(x)[:, BLOCK:]
    bias = plain.out.bias
    assert error(found - bias, wanted - bias) <= 2 * MANY


# --- numbers as bytes ---


@able
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.3, 9.0), (2.0, 5.0), (-7.0, -6.0), (-1e-3, 0.0)])
def test_bytes_are_the_nearest_and_nought_is_nought(low: float, high: float, dtype: torch.dtype) -> None:
    x = torch.linspace(low, high, 999).to(dtype)
    x[0] = 0
    found = Bytes.of(x)
    back = found.scale * (found.values.double() - found.zero)
    assert found.values.dtype == torch.uint8
    assert found.scale == pytest.approx((max(high, 0.0) - min(low, 0.0)) / 255, rel=0.01)
    assert (back - x.double()).abs().max() <= 1.05 * found.scale  # the zero is rounded too, and bfloat16
    assert back[0] == 0


@able
def test_zeros_give_the_bias() -> None:
    plain = made(lambda: nn.Linear(256, 256))
    assert error(quantized(plain)(torch.zeros(40, 256)), plain.bias.expand(40, -1)) <= 1e-6


@able
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_does_not_become_a_number(bad: float) -> None:
    x = noise(40, 256)
    x[3, 5] = bad
    assert not quantized(made(lambda: nn.Linear(256, 256)))(x).isfinite().any()


@able
def test_weights_of_nothing_but_zeros() -> None:
    plain = made(lambda: nn.Conv2d(64, 64, 3, padding=1))
    plain.weight = nn.Parameter(torch.zeros_like(plain.weight), requires_grad=False)
    x = noise(1, 64, 6, 6)
    assert error(quantized(plain)(x), plain(x)) <= 1e-6


# --- which products ---


@pytest.mark.parametrize(
    "plain",
    [
        nn.Linear(WORTH - 1, WORTH),
        nn.Linear(WORTH, WORTH - 1),
        nn.Conv2d(4, 320, 3, padding=1),
        nn.Conv2d(320, 4, 3, padding=1),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),  # each pixel enters a quarter of the products
        nn.Conv2d(64, 64, 3, padding="same"),
        nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(64, 64, 3, padding=1, groups=2),
        FoldedUpsample(Upsample(16)),
        GatedFeedForward(128),
        Attention(128, 2),
        nn.GroupNorm(4, 64),
    ],
    ids=repr,
)
def test_what_bytes_make_no_faster_stays_itself(plain: nn.Module) -> None:
    assert quantized(plain) is plain


@able
def test_few_rows_are_multiplied_as_they_were() -> None:
    for build in (lambda: nn.Linear(256, 320), lambda: GatedFeedForward(256), lambda: Attention(256, 2)):
        plain, x = made(build), noise(1, FEWEST - 1, 256)
        assert torch.equal(quantized(plain)(x), plain(x))


# --- whole networks ---


def unet() -> UNet:
    network = made(lambda: UNet(SMALL))
    assert isinstance(network, UNet)
    return network


def asked(network: UNet, rows: int = 1, height: int = 16, width: int = 12, seed: int = 6) -> Tensor:
    dtype = next(network.parameters()).dtype
    context, latents = noise(2 * rows, 7, 96, seed=5).to(dtype), noise(rows, 4, height, width, seed=seed)
    with torch.inference_mode():
        return network(latents.to(dtype), torch.full((rows,), 500.0), context)


@able
@pytest.mark.parametrize(("rows", "height", "width"), [(1, 16, 12), (2, 16, 16), (1, 13, 18)])
def test_a_network_is_near_the_plain_one(rows: int, height: int, width: int) -> None:
    plain = unet()
    fast = quantized_network(plain)
    found, wanted = asked(fast, rows, height, width), asked(plain, rows, height, width)
    assert 1e-4 < error(found, wanted) <= NETWORK
    exact = asked(plain.bfloat16(), rows, height, width)
    assert error(asked(quantized_network(plain), rows, height, width), exact) <= NETWORK


@able
def test_a_decoder_is_near_the_plain_one() -> None:
    plain, latents = made(lambda: Decoder(replace(TINY.vae, base_width=32))), noise(1, 4, 9, 12, seed=3)
    with torch.inference_mode():
        assert 1e-4 < error(quantized_network(plain)(latents), plain(latents)) <= NETWORK


@able
def test_every_kind_of_part_is_found_and_the_others_are_packed() -> None:
    fast = quantized_network(made(lambda: UNet(replace(SMALL, base_width=256, groups=8))))
    kinds = {type(module) for module in fast.modules()}
    ours = {
        QuantizedAttention,
        QuantizedConv2d,
        QuantizedGatedFeedForward,
        QuantizedLinear,
        QuantizedUpsample,
    }
    assert ours | {PackedConv2d, PackedLinear} <= kinds
    assert type(fast.leave) is type(fast.down[0][0]) is PackedConv2d


def test_of_two_forms_of_a_weight_one_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "why_not", str)  # nothing: bytes are not multiplied here
    plain = made(lambda: UNet(replace(SMALL, base_width=256, groups=8)))
    fast = quantized_network(plain)
    kinds = {type(module) for module in fast.modules()}
    assert {QuantizedAttention, QuantizedGatedFeedForward, QuantizedLinear, QuantizedUpsample} <= kinds
    total = sum(weight.numel() for weight in plain.parameters()) + sum(
        7 * width**2 for width in plain.spec.widths[1:]
    )
    for share in (1.0, 0.5):
        keep_packed(fast, int(share * total))
        stay = {id(w): w for each in packed_in(fast) if each.stays for w in each.weights if w is not None}
        assert share - 0.15 < sum(weight.numel() for weight in stay.values()) / total <= share


@able
def test_weights_and_biases_that_are_exchanged_later_are_used() -> None:
    plain = unet()
    fast = quantized_network(plain)
    before = asked(fast)
    for module in plain.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.weight = nn.Parameter(module.weight * 0.8, requires_grad=False)
            if module.bias is not None:
                module.bias = nn.Parameter(module.bias + 0.1, requires_grad=False)
    assert error(asked(fast), before) > 2 * NETWORK
    assert error(asked(fast), asked(plain)) <= NETWORK


@able
def test_an_answer_does_not_depend_on_what_was_asked_before() -> None:
    fast = quantized_network(unet())
    first = asked(fast, seed=1)
    asked(fast, rows=2, height=20, seed=2)
    assert torch.equal(asked(fast, seed=1), first)


# --- the pipeline ---


@able
def test_each_picture_depends_on_its_seed_alone(tiny_parts: Parts) -> None:
    pipe = Pipeline.of(tiny_parts, "int8")
    both = pipe("a red house", seeds=(1, 2), steps=2)
    (alone,) = Pipeline.of(tiny_parts, "int8")("a red house", seed=2, steps=2).pictures
    assert both.pictures[1] == alone
    assert alone != Pipeline.of(tiny_parts)("a red house", seed=2, steps=2).pictures[0]


def test_a_torch_without_the_operators_is_told(monkeypatch: pytest.MonkeyPatch, tiny_parts: Parts) -> None:
    monkeypatch.setattr(int8_products, "OPERATORS", ("qlinear_of_tomorrow",))
    with pytest.raises(RequestError, match="lacks oneDNN's int8 operators") as caught:
        load(engine="int8")
    assert (set(caught.value.problems), caught.value.hint) == ({"engine"}, "take 'auto'")
    with pytest.raises(RequestError, match="int8 operators"):
        Pipeline.of(tiny_parts, "int8")("a red house", seed=1, steps=1)


def test_a_processor_without_dot_products_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    with pytest.raises(RequestError, match="this processor lacks int8 dot products"):
        load(engine="int8")


def test_other_devices_and_types_are_refused() -> None:
    with pytest.raises(RequestError, match="for CPUs, not for cuda"):
        check_int8(torch.device("cuda"), torch.bfloat16)
    with pytest.raises(RequestError, match="float32 and bfloat16"):
        load(engine="int8", dtype="float16")


@able
def test_the_command_line_draws_with_it_and_says_so_again(tmp_path: Path) -> None:
    words = ["a red house", "--seed", "1", "--steps", "1", "--size", "64x64", "-o", str(tmp_path / "a.png")]
    result = CliRunner().invoke(app, [*words, "--engine", "int8"])
    assert result.exit_code == 0, result.stderr
    assert "--engine int8" in result.stderr.partition("again: ")[2]
    assert (tmp_path / "a.png").exists()
    unknown = CliRunner().invoke(app, [*words, "--engine", "int9"])
    assert unknown.exit_code != 0
    assert "int8" in unknown.stderr


def test_the_benchmark_of_peers_measures_it_as_a_user_would_draw() -> None:
    pytest.importorskip("benchmarks.peers", reason="run from the repository's root")
    from benchmarks.peers.systems import SYSTEMS

    system = SYSTEMS["fromnoise-int8"]
    assert system.ours
    assert system.options[-2:] == ("--engine", "int8")
