from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fromnoise.errors import RequestError, SpecError
from fromnoise.nets.blocks import time_features
from fromnoise.nets.clip import TextTransformer
from fromnoise.reading import AESTHETIC, NUMBER_WIDTH, Facts, Reader
from fromnoise.request import GenerateRequest
from fromnoise.specs import TINY, ClipSpec, Defaults, ModelSpec
from fromnoise.text import Tokenizer
from fromnoise.weights.native import Parts

Build = Callable[[ModelSpec], Parts]
(TEXT,) = TINY.texts
POOLED = 24
FACTS = Facts((64, 80), (200, 300), (8, 24), (7.0, 1.0))


def family(numbers: int, *texts: ClipSpec) -> ModelSpec:
    """Two text encoders as SDXL has them, which pad differently."""
    texts = texts or (replace(TEXT, hidden=-2), replace(TEXT, width=48, projection=POOLED, pad=0))
    unet = replace(
        TINY.unet, context_width=sum(t.width for t in texts), pooled_width=POOLED + numbers * NUMBER_WIDTH
    )
    return replace(TINY, texts=texts, unet=unet)


def reader(spec: ModelSpec, build: Build) -> Reader:
    parts = build(replace(spec, unet=replace(TINY.unet, context_width=spec.unet.context_width)))
    return Reader.of(spec, tuple(map(Tokenizer.from_json, parts.tokenizers)), parts.texts)


def test_numbers_come_in_the_order_of_training() -> None:
    assert FACTS.numbers(6, negative=False) == FACTS.numbers(6, negative=True) == [300, 200, 24, 8, 80, 64]
    assert FACTS.numbers(5, negative=False) == [300, 200, 24, 8, 7.0]
    assert FACTS.numbers(5, negative=True) == [300, 200, 24, 8, 1.0]


def test_a_request_that_says_nothing_means_a_whole_picture_of_its_size() -> None:
    full = GenerateRequest(prompt="", width=64, height=80).filled(Defaults())
    assert Facts.of(full) == Facts((64, 80), (64, 80), (0, 0), AESTHETIC)
    said = replace(full, original_size=(200, 300), crop=(8, 24), aesthetic=(7, 1))
    assert Facts.of(said) == FACTS


@pytest.mark.parametrize("numbers", [5, 6])
def test_the_numbers_stand_behind_the_pooled_text(numbers: int, build: Build) -> None:
    read = reader(family(numbers), build)
    found = read("a red house", "snow", FACTS)
    ids = read.tokenizers[1](["snow", "a red house"], pad=0).ids
    pooled = read.encoders[1](torch.tensor(ids)).pooled
    for row, (cond, negative) in enumerate(((found.uncond, True), (found.cond, False))):
        told = time_features(torch.tensor(FACTS.numbers(numbers, negative=negative)), NUMBER_WIDTH)
        assert cond.pooled is not None
        assert torch.equal(cond.pooled, torch.cat([pooled[row], told.flatten()])[None])
        assert cond.context.shape == (1, TEXT.context, 80)


def test_each_encoder_gets_its_own_padding(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    read = reader(family(6), build)
    seen: list[Any] = []
    forward = TextTransformer.forward
    monkeypatch.setattr(
        TextTransformer, "forward", lambda self, ids, *more: seen.append(ids) or forward(self, ids, *more)
    )
    read("a red house", "", FACTS)
    (first, second) = (ids[1].tolist() for ids in seen)
    assert first[:5] == second[:5]
    assert (first[4], set(first[5:]), set(second[5:])) == (TEXT.end, {TEXT.end}, {0})


def test_an_empty_negative_prompt_may_be_zeros(build: Build) -> None:
    read = reader(family(6), build)
    usual, zero = read("a red house", "", FACTS), read("a red house", "", FACTS, zero_negative=True)
    assert usual.uncond.context.any()
    assert not zero.uncond.context.any()
    assert zero.uncond.pooled is not None
    assert not zero.uncond.pooled[:, :POOLED].any()
    assert zero.uncond.pooled[:, POOLED:].any()
    assert torch.equal(zero.cond.context, usual.cond.context)
    said = read("a red house", "snow", FACTS, zero_negative=True)
    assert torch.equal(said.uncond.context, read("a red house", "snow", FACTS).uncond.context)


def test_a_model_that_is_told_about_the_picture_needs_the_facts(build: Build) -> None:
    with pytest.raises(RequestError, match="told the size of the picture"):
        reader(family(6), build)("a red house", "")


@pytest.mark.parametrize("width", [POOLED + 4 * NUMBER_WIDTH, POOLED + 6 * NUMBER_WIDTH + 1, POOLED - 8])
def test_a_vector_of_another_width_is_refused(width: int) -> None:
    spec = family(6)
    tokenizers = [Tokenizer.train(["a red house"], TEXT.vocab)] * 2
    with pytest.raises(SpecError, match=f"a vector of {width} beside the tokens"):
        Reader.of(replace(spec, unet=replace(spec.unet, pooled_width=width)), tokenizers, ())


def test_a_text_encoder_may_have_rows_that_no_word_has_and_not_the_other_way_round() -> None:
    spec, tokenizer = family(6), Tokenizer.train(["a red house"], TEXT.vocab)
    more = replace(spec, texts=tuple(replace(text, vocab=text.vocab + 1) for text in spec.texts))
    Reader.of(more, [tokenizer] * 2, ())
    beyond = Tokenizer.from_json(tokenizer.to_json() | {"added": {"<cat>": TEXT.vocab}})
    Reader.of(more, [beyond] * 2, ())
    with pytest.raises(SpecError, match=f"{TEXT.vocab + 1} ids .* does not fit"):
        Reader.of(spec, [beyond] * 2, ())
