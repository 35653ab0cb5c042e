import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fromnoise.noise.denoiser import Conditioning
from fromnoise.noise.guidance import (
    edited,
    guided,
    handed_over,
    interval,
    masked,
    rescaled,
    scale_features,
    told,
    unguided,
)
from fromnoise.noise.samplers import SAMPLERS, euler

SHAPE = (2, 4, 6, 6)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape or SHAPE, generator=torch.Generator().manual_seed(seed))


class Answers:
    """A denoiser that reads its answer off the context, and remembers how it was asked."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.levels: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor, cond: Conditioning) -> Tensor:
        self.batches.append(len(x))
        self.levels.append(sigma)
        return cond.context.view(len(x), *SHAPE[1:])


C, U = random(1), random(2)
COND, UNCOND = (Conditioning(answer.view(2, 4, 36)) for answer in (C, U))
X = random(3)


@given(scale=st.floats(-2, 20))
def test_guidance_goes_from_the_unconditional_answer_past_the_conditional_one(scale: float) -> None:
    x0 = guided(Answers(), COND, UNCOND, scale)(X, 1.0)
    torch.testing.assert_close(x0, U + scale * (C - U), atol=1e-4, rtol=1e-4)


def test_both_answers_come_from_one_batched_call() -> None:
    answers = Answers()
    guided(answers, COND, UNCOND, 7.5)(X, 1.0)
    assert answers.batches == [4]


def test_scale_1_evaluates_only_the_conditional_half() -> None:
    answers = Answers()
    assert torch.equal(guided(answers, COND, UNCOND, 1.0)(X, 1.0), C)
    assert answers.batches == [2]


def test_unguided_follows_the_prompt_alone() -> None:
    assert torch.equal(unguided(Answers(), COND)(X, 1.0), C)


def test_bfloat16_latents_do_not_round_the_level() -> None:
    answers = Answers()
    guided(answers, COND, UNCOND, 7.5)(X.bfloat16(), 14.6146)
    assert answers.levels[0].tolist() == pytest.approx([14.6146] * 4, rel=1e-6)


@given(seed=st.integers(0, 1000), strength=st.floats(0, 1))
def test_rescaling_moves_the_contrast_towards_the_conditional_one(seed: int, strength: float) -> None:
    x0, cond = 5 * random(seed), random(seed + 1)
    spread = rescaled(x0, cond, strength).std((1, 2, 3))
    # Lin et al. 2023, eq. 15-16
    expected = strength * cond.std((1, 2, 3)) + (1 - strength) * x0.std((1, 2, 3))
    torch.testing.assert_close(spread, expected)


def test_rescaling_looks_at_each_picture_alone() -> None:
    x0, cond = 5 * random(1), random(2)
    together = rescaled(x0, cond, 0.7)
    assert torch.equal(together[:1], rescaled(x0[:1], cond[:1], 0.7))


def test_guidance_applies_its_rescale() -> None:
    plain = guided(Answers(), COND, UNCOND, 9.0)(X, 1.0)
    x0 = guided(Answers(), COND, UNCOND, 9.0, rescale=1.0)(X, 1.0)
    torch.testing.assert_close(x0.std((1, 2, 3)), C.std((1, 2, 3)))
    torch.testing.assert_close(x0 / x0.std(), plain / plain.std(), atol=0.2, rtol=0)


def test_an_interval_saves_the_evaluations_outside_it() -> None:
    answers = Answers()
    denoise = interval(guided(answers, COND, UNCOND, 4.0), unguided(answers, COND), 0.3, 3.0)
    sigmas = [10.0, 3.0, 1.0, 0.3, 0.1, 0.0]
    steps = list(euler(denoise, X, sigmas, noise=lambda like, *_: like))
    assert answers.batches == [2, 4, 4, 2, 2]  # guided at 3.0 and 1.0 only: low < sigma <= high
    for step in steps:
        expected = U + 4 * (C - U) if 0.3 < step.sigma <= 3.0 else C
        torch.testing.assert_close(step.x0, expected)


class Editor(Answers):
    """Answers that tell apart who sees the text, the picture, both."""

    def __call__(self, x: Tensor, sigma: Tensor, cond: Conditioning) -> Tensor:
        assert cond.beside is not None
        return super().__call__(x, sigma, cond) + cond.beside


PICTURE = random(7)
TOLD, UNTOLD = (Conditioning(cond.context, beside=PICTURE) for cond in (COND, UNCOND))


@given(scale=st.floats(0, 20), picture_scale=st.floats(0, 5))
def test_editing_is_guided_twice(scale: float, picture_scale: float) -> None:
    x0 = edited(Editor(), TOLD, UNTOLD, scale, picture_scale)(X, 1.0)
    neither, picture, both = U, U + PICTURE, C + PICTURE
    # Brooks et al. 2023, eq. 3
    expected = neither + picture_scale * (picture - neither) + scale * (both - picture)
    torch.testing.assert_close(x0, expected, atol=1e-4, rtol=1e-4)


def test_editing_evaluates_three_rows_a_picture_and_one_without_guidance() -> None:
    editor = Editor()
    edited(editor, TOLD, UNTOLD, 7.5, 1.5)(X, 1.0)
    assert torch.equal(edited(editor, TOLD, UNTOLD, 1, 1)(X, 1.0), C + PICTURE)
    assert editor.batches == [6, 2]


def test_editing_applies_its_rescale() -> None:
    x0 = edited(Editor(), TOLD, UNTOLD, 9.0, 1.5, rescale=1.0)(X, 1.0)
    torch.testing.assert_close(x0.std((1, 2, 3)), (C + PICTURE).std((1, 2, 3)))


def test_a_distilled_network_is_told_the_scale_and_asked_once() -> None:
    seen: list[Conditioning] = []
    denoise = told(lambda x, sigma, cond: seen.append(cond) or x, COND, 7.5, 20)
    denoise(X, 1.0)
    (cond,) = seen
    assert cond.guidance is not None
    assert torch.equal(cond.guidance, scale_features(7.5, 20).expand(2, -1))


@pytest.mark.oracle
@pytest.mark.parametrize("width", [20, 21, 256])
def test_features_of_the_scale_are_those_of_the_published_model(width: int) -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.LatentConsistencyModelPipeline.get_guidance_scale_embedding
    for scale in (0.0, 1.0, 1.7, 7.5, 14.0):
        wanted = theirs(None, torch.tensor([scale - 1]), embedding_dim=width)
        torch.testing.assert_close(scale_features(scale, width), wanted, atol=1e-6, rtol=0)


def test_one_network_hands_over_to_another_below_a_level() -> None:
    denoise = handed_over(lambda x, sigma: C, lambda x, sigma: U, 1.0)
    assert [denoise(X, sigma) is C for sigma in (9.0, 1.0, 0.99, 0.1)] == [True, True, False, False]


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_the_mask_keeps_is_kept_exactly_and_the_rest_is_painted(name: str) -> None:
    source, mask = random(4), torch.zeros(1, 1, 6, 6)
    mask[..., 3:] = 1.0
    denoise = masked(source, mask)(unguided(Answers(), COND))
    sigmas = [10.0, 3.0, 1.0, 0.3, 0.0]
    start = source + sigmas[0] * random(5)
    *_, last = SAMPLERS[name](denoise, start, sigmas, noise=lambda like, *_: random(6))
    assert torch.equal(last.x[..., :3], source[..., :3])
    assert torch.equal(last.x[..., 3:], C[..., 3:])


def test_while_painting_the_kept_part_is_the_source_at_the_present_noise() -> None:
    source, eps = random(4), random(5)
    denoise = masked(source, torch.zeros(1, 1, 6, 6))(unguided(Answers(), COND))
    sigmas = [10.0, 3.0, 1.0, 0.3, 0.0]
    for step in euler(denoise, source + sigmas[0] * eps, sigmas, noise=lambda like, *_: like):
        torch.testing.assert_close(step.x, source + step.sigma_next * eps, atol=1e-5, rtol=1e-5)
