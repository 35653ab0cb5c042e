"""Token merging: what is merged, that it comes apart again, and that it changes nothing where it is off."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fromnoise.engine.merging import MergedAttention, Pairs, finest, merging, split
from fromnoise.engine.transforms import hastened
from fromnoise.errors import RequestError
from fromnoise.images.metadata import read_request
from fromnoise.nets.attention import Attention
from fromnoise.nets.diffusion import UNet
from fromnoise.pipeline import Pipeline
from fromnoise.request import GenerateRequest
from fromnoise.specs import SD15, SDXL, TINY


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pairs(x: Tensor, height: int, width: int, count: int) -> Pairs:
    return Pairs.of(x, *split(height, width), count)


@pytest.mark.parametrize(("height", "width"), [(1, 8), (8, 1), (1, 1)])
def test_a_map_of_one_row_has_nothing_to_merge_into(height: int, width: int) -> None:
    attention, x = Attention(8, 2).eval(), noise(1, height * width, 8)
    merged = MergedAttention(attention, 0.5, height, width, x.device)
    with torch.inference_mode():
        assert torch.equal(merged(x), attention(x))


@pytest.fixture(scope="module")
def unet() -> UNet:
    torch.manual_seed(1)
    return UNet(TINY.unet).eval().requires_grad_(False)


def asked(unet: UNet, height: int = 16, width: int = 16) -> Tensor:
    context = noise(4, 7, TINY.unet.context_width, seed=5)
    latents, times = noise(2, 4, height, width, seed=6), torch.tensor([10.0, 900.0])
    return unet(latents, times, context)


@contextmanager
def lengths(unet: UNet, of: type[nn.Module]) -> Iterator[list[int]]:
    """How many tokens self-attention is asked about; twins share the hooks."""
    seen: list[int] = []

    def look(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        if len(given) == 1:
            seen.append(given[0].shape[1])

    handles = [m.register_forward_pre_hook(look) for m in unet.modules() if type(m) is of]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


# --- which, and back ---


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7), (2, 2), (1, 3)])
def test_one_place_of_each_cell_is_a_target_and_every_place_is_somewhere(height: int, width: int) -> None:
    targets, sources = split(height, width)
    assert len(targets) == (height // 2) * (width // 2)
    assert sorted([*targets.tolist(), *sources.tolist()]) == list(range(height * width))
    cells = {(place // width // 2, place % width // 2) for place in targets.tolist()}
    assert len(cells) == len(targets)
    assert torch.equal(split(height, width)[0], targets)


def test_tokens_that_are_not_merged_come_back_exactly_and_merged_ones_as_the_mean() -> None:
    x = noise(2, 24, 5)
    found = pairs(x, 4, 6, 7)
    back = found.unmerge(found.merge(x))
    assert found.merge(x).shape == (2, 17, 5)
    assert back.shape == x.shape
    for row in range(2):
        groups = {int(target): [int(target)] for target in found.targets}
        for gone, into in zip(found.gone[row].tolist(), found.into[row].tolist(), strict=True):
            groups[int(found.targets[into])].append(gone)
        merged = {place for group in groups.values() for place in group}
        assert merged | {*found.kept[row].tolist()} == set(range(24))
        assert torch.equal(back[row, found.kept[row]], x[row, found.kept[row]])
        for group in groups.values():
            if len(group) == 1:
                assert torch.equal(back[row, group[0]], x[row, group[0]])
            else:
                mean = x[row, group].mean(dim=0).expand(len(group), -1)
                torch.testing.assert_close(back[row, group], mean)


def test_the_most_alike_are_merged() -> None:
    targets, sources = split(4, 4)
    x = noise(1, 16, 8)
    x[0, sources[5]] = 2 * x[0, targets[3]]  # the direction is what counts
    found = pairs(x, 4, 4, 1)
    assert (found.gone.item(), found.into.item()) == (int(sources[5]), 3)


def test_pictures_do_not_look_at_each_other() -> None:
    x = noise(3, 24, 5)
    together = pairs(x, 4, 6, 9)
    for row in range(3):
        alone = pairs(x[row : row + 1], 4, 6, 9)
        torch.testing.assert_close(together.merge(x)[row : row + 1], alone.merge(x[row : row + 1]))


def test_many_merged_into_one_are_summed_without_rounding() -> None:
    x = torch.ones(1, 1024, 4, dtype=torch.bfloat16)  # 768 ones added up in bfloat16 stop at 256
    found = pairs(x, 32, 32, 768)
    assert torch.equal(found.unmerge(found.merge(x)), x)


# --- networks ---


@pytest.mark.parametrize("ratio", [0.0, 1e-9])
@pytest.mark.parametrize("fast", [True, False])
def test_merging_nothing_is_the_very_same(ratio: float, fast: bool, unet: UNet) -> None:
    unet = hastened(unet) if fast else unet
    assert torch.equal(asked(merging(unet, ratio, 16, 16)), asked(unet))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (18, 10), (9, 13)])
def test_only_the_finest_level_sees_fewer_tokens(height: int, width: int, unet: UNet) -> None:
    with lengths(unet, Attention) as before:
        plain = asked(unet, height, width)
    with lengths(unet, Attention) as after:
        merged = asked(merging(unet, 0.5, height, width), height, width)
    places = height * width
    assert after == [n if n < places else places - places // 2 for n in before]
    assert len(set(before)) > 1
    assert before.count(places) == 2 + 3  # SD 1.5's shape: two blocks down, three up
    assert not torch.equal(merged, plain)
    assert float((merged - plain).norm() / plain.norm()) < 0.5


def test_more_cannot_be_merged_than_there_are_sources(unet: UNet) -> None:
    with lengths(unet, Attention) as seen:
        asked(merging(unet, 1.0, 16, 16))
    assert max(seen) == 64


def test_the_network_it_was_made_from_stays(unet: UNet) -> None:
    before, kinds = asked(unet), [type(module) for module in unet.modules()]
    twin = merging(unet, 0.5, 16, 16)
    assert kinds == [type(module) for module in unet.modules()]
    assert any(isinstance(module, MergedAttention) for module in twin.modules())
    assert torch.equal(asked(unet), before)


def test_the_finest_level_with_attention() -> None:
    assert (finest(SD15.unet), finest(SDXL.unet)) == (0, 1)


# --- pictures ---


def test_a_picture_depends_on_its_own_seed_alone_and_is_repeated_from_its_file(
    tiny: Pipeline, tmp_path
) -> None:
    fields: dict[str, Any] = {"merge": 0.5, "steps": 3, "negative": "snow"}
    both = tiny("a red house", seeds=(3, 4), **fields)
    assert both.pictures[1] == tiny("a red house", seed=4, **fields).pictures[0]
    assert both.pictures[0] != tiny("a red house", seed=3, **fields | {"merge": 0.0}).pictures[0]
    path = both.save(tmp_path / "house.png")[1]
    assert read_request(path).merge == 0.5
    assert tiny(read_request(path)).pictures == both.pictures[1:]


def test_other_programs_read_the_ratio(tiny: Pipeline) -> None:
    from fromnoise.images.parameters import from_parameters, parameters

    result = tiny("a red house", merge=0.5, steps=1)
    text = parameters(result, result.pictures[0])
    assert "Token merging ratio: 0.5" in text
    assert from_parameters(text).merge == 0.5


def test_a_model_without_attention_has_nothing_to_merge(tiny: Pipeline) -> None:
    none = ((0, 0),) * 4
    spec = replace(tiny.spec, unet=replace(tiny.spec.unet, down=none, up=((0, 0, 0),) * 4, mid=1))
    with pytest.raises(RequestError, match="merge: this model has no attention"):
        replace(tiny, spec=spec).settled(GenerateRequest(prompt="", merge=0.5))
