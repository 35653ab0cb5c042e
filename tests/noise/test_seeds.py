import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fromnoise.errors import RequestError
from fromnoise.noise.samplers import SAMPLERS
from fromnoise.noise.seeds import PerImageNoise

SEEDS = st.integers(0, 2**64 - 1)


def like(count: int) -> torch.Tensor:
    return torch.empty(count, 4, 8, 8)


@given(seeds=st.lists(SEEDS, min_size=1, max_size=5), draws=st.integers(1, 3))
def test_picture_k_depends_on_seed_k_alone(seeds: list[int], draws: int) -> None:
    batch = PerImageNoise(seeds)
    alone = [PerImageNoise([seed]) for seed in seeds]
    for _ in range(draws):
        together = batch(like(len(seeds)), 1.0, 0.5)
        assert torch.equal(together, torch.cat([noise(like(1), 1.0, 0.5) for noise in alone]))


@given(seed=SEEDS)
def test_the_same_seed_draws_the_same_noise_and_goes_on_to_new_noise(seed: int) -> None:
    first, second = PerImageNoise([seed]), PerImageNoise([seed])
    draw = first.draw(like(1))
    assert torch.equal(draw, second.draw(like(1)))
    assert not torch.equal(draw, first.draw(like(1)))


@given(seed=st.integers(0, 2**32 - 1))
def test_small_seeds_draw_what_torch_draws(seed: int) -> None:
    theirs = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(PerImageNoise([seed]).draw(like(1))[0], theirs)


def test_all_64_bits_of_a_seed_count() -> None:
    seeds = [5 + 2**32 * k for k in range(8)] + [5 + 2**63, 2**64 - 1]
    draws = PerImageNoise(seeds).draw(like(len(seeds))).flatten(1)
    assert len({tuple(row.tolist()) for row in draws}) == len(seeds)
    assert torch.corrcoef(draws).fill_diagonal_(0).abs().max() < 0.25


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range_are_refused_by_value(seed: int) -> None:
    with pytest.raises(RequestError, match=str(seed)) as caught:
        PerImageNoise([0, seed])
    assert "seeds" in caught.value.problems


def test_noise_is_standard_normal() -> None:
    draw = PerImageNoise([0, 1, 2]).draw(torch.empty(3, 4, 64, 64))
    assert draw.mean().item() == pytest.approx(0, abs=0.01)
    assert draw.std().item() == pytest.approx(1, abs=0.01)


def test_noise_has_the_type_of_the_latents_but_is_drawn_in_float32() -> None:
    draw = PerImageNoise([7]).draw(like(1).bfloat16())
    assert draw.dtype == torch.bfloat16
    assert torch.equal(draw, PerImageNoise([7]).draw(like(1)).bfloat16())


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_picture_sampled_in_a_batch_is_the_picture_sampled_alone(name: str) -> None:
    def sample(seeds: list[int]) -> torch.Tensor:
        noise = PerImageNoise(seeds)
        x = 10 * noise.draw(like(len(seeds)))
        *_, last = SAMPLERS[name](
            lambda x, s: (x / (1 + s)).tanh(), x, [10.0, 4.0, 1.0, 0.2, 0.0], noise=noise
        )
        return last.x

    batch = sample([3, 1, 4])
    for k, seed in enumerate([3, 1, 4]):
        torch.testing.assert_close(batch[k : k + 1], sample([seed]), rtol=1e-6, atol=1e-6)


def test_global_randomness_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    PerImageNoise([1, 2]).draw(like(2))
    assert torch.equal(before, torch.get_rng_state())
