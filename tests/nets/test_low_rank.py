import pytest
import torch
from parity import noise, random_weights, relative_error
from torch import Tensor

from fromnoise.nets.blocks import Transformer
from fromnoise.nets.diffusion import UNet
from fromnoise.nets.low_rank import (
    ATTENTION,
    CONVOLUTION,
    TRANSFORMER,
    layers_of,
    low_rank_layers,
    with_low_rank,
    without_low_rank,
)
from fromnoise.specs import TINY
from fromnoise.weights.adapters import Adapter
from fromnoise.weights.attaching import Attached

ASKED = noise(2, 4, 8, 8), torch.tensor([5.0, 700.0]), noise(2, 7, 32)


@pytest.fixture
def unet() -> UNet:
    network = UNet(TINY.unet)
    network.load_state_dict(random_weights(network))
    return network.eval()


def answer(network: UNet) -> Tensor:
    with torch.no_grad():
        return network(*ASKED)


def test_at_first_nothing_changes_and_only_the_factors_learn(unet: UNet) -> None:
    plain = answer(unet)
    made = with_low_rank(unet, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(answer(unet), plain)
    assert {name.rpartition(".")[2] for name in made} == set(ATTENTION)
    unet(*ASKED).square().mean().backward()
    learning = {id(factor) for each in made.values() for factor in each.factors}
    assert {id(p) for p in unet.parameters() if p.requires_grad} == learning
    assert all(each.up.weight.grad is not None for each in made.values())
    assert all((each.down.weight.shape[0], each.rank) == (4, 4) for each in made.values())


def test_the_choice_of_layers_is_a_choice_of_parts(unet: UNet) -> None:
    transformers = tuple(n for n, part in unet.named_modules() if isinstance(part, Transformer))
    inside = {name for name in layers_of(unet) if name.startswith(tuple(f"{n}." for n in transformers))}
    assert inside == set(with_low_rank(unet, 1, which=TRANSFORMER))
    without_low_rank(unet)
    assert {*inside, "leave"} < set(with_low_rank(unet, 1, which=(*TRANSFORMER, *CONVOLUTION)))


def test_the_same_generator_makes_the_same_start(unet: UNet) -> None:
    starts = list[Tensor]()
    for _ in range(2):
        made = with_low_rank(unet, 2, which=["to_q"], generator=torch.Generator().manual_seed(3))
        starts.append(torch.cat([each.down.weight.flatten() for each in made.values()]))
        without_low_rank(unet)
    assert torch.equal(*starts)
    assert starts[0].std() > 0


def test_taken_off_the_network_is_the_one_from_before(unet: UNet) -> None:
    before = {name: tensor.data_ptr() for name, tensor in unet.state_dict().items()}
    plain = answer(unet)
    for each in with_low_rank(unet, 3, which=(*TRANSFORMER, *CONVOLUTION)).values():
        torch.nn.init.normal_(each.up.weight)
    assert not torch.equal(answer(unet), plain)
    without_low_rank(unet)
    assert not low_rank_layers(unet)
    assert {name: tensor.data_ptr() for name, tensor in unet.state_dict().items()} == before
    assert torch.equal(answer(unet), plain)


@pytest.mark.parametrize("alpha", [None, 1.0, 8.0])
def test_merged_into_the_weights_it_answers_the_same(unet: UNet, alpha: float | None) -> None:
    made = with_low_rank(unet, 4, alpha=alpha, which=(*TRANSFORMER, *CONVOLUTION))
    for each in made.values():
        torch.nn.init.normal_(each.up.weight, std=0.02)
    wrapped, adapter = answer(unet), Adapter.trained("style", {"unet": unet})
    without_low_rank(unet)
    plain = answer(unet)
    Attached(TINY, {"unet": unet}).wear([(adapter, 1.0)])
    assert relative_error(answer(unet), wrapped) < 5e-6  # float32: 279 layers, each rounded once more
    assert relative_error(plain, wrapped) > 0.05


def test_one_layer_merged_is_the_layer_wrapped() -> None:
    for layer, x in (
        (torch.nn.Linear(6, 5), noise(3, 6)),
        (torch.nn.Conv2d(6, 5, 3, 2, 1), noise(2, 6, 7, 9)),
    ):
        network = torch.nn.ModuleDict({"to_q": layer})
        wrapped = with_low_rank(network, 2, alpha=3.0)["to_q"]
        torch.nn.init.normal_(wrapped.up.weight, std=0.1, generator=torch.Generator().manual_seed(2))
        (change,) = Adapter.trained("a", {"unet": network}).changes.values()
        merged = layer.weight + change.delta(layer.weight)
        with torch.no_grad():
            expected, layer.weight.data = wrapped(x), merged
            assert relative_error(layer(x), expected) < 5e-6  # float32, by whatever kernels the machine has


def test_the_layers_inside_keep_their_names(unet: UNet) -> None:
    plain = layers_of(unet)
    with_low_rank(unet, 2)
    wrapped = layers_of(unet)
    assert {name: id(layer) for name, layer in wrapped.items()} == {
        n: id(layer) for n, layer in plain.items()
    }


def test_a_bfloat16_layer_learns_in_float32() -> None:
    network = torch.nn.ModuleDict({"to_q": torch.nn.Linear(6, 5).bfloat16()})
    wrapped = with_low_rank(network, 2)["to_q"]
    assert {factor.dtype for factor in wrapped.factors} == {torch.float32}
    assert wrapped(noise(3, 6).bfloat16()).dtype == torch.bfloat16
