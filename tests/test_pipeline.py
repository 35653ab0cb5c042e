import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from fromnoise.drawing.course import batches, entered_at
from fromnoise.engine import winograd
from fromnoise.engine.packing import packed_in
from fromnoise.engine.plan import MemoryPlan
from fromnoise.engine.thrift import Thrift
from fromnoise.engine.winograd import WinogradConv2d
from fromnoise.errors import NonFiniteError, OutOfMemory, RequestError, SpecError
from fromnoise.events import Decoded, Denoised, Encoded, Finished, Loaded
from fromnoise.images.sketch import Sketch
from fromnoise.loading import load
from fromnoise.names import SAMPLER_NAMES, SPACING_NAMES
from fromnoise.noise.samplers import SAMPLERS
from fromnoise.pipeline import Pipeline
from fromnoise.request import GenerateRequest, Picture
from fromnoise.specs import SDXL
from fromnoise.weights.native import Parts

Gradient = Callable[[int, int], Picture]


@contextmanager
def watched(module: torch.nn.Module) -> Iterator[list[tuple[Any, ...]]]:
    """The arguments of every call, as they come in."""
    calls: list[tuple[Any, ...]] = []
    handle = module.register_forward_pre_hook(lambda _, arguments: calls.append(arguments))
    try:
        yield calls
    finally:
        handle.remove()


@contextmanager
def answering(module: torch.nn.Module, change: Callable[[Tensor, int], Tensor]) -> Iterator[None]:
    """A network whose answers are changed; the change learns which call it is."""
    calls = iter(range(10**6))
    handle = module.register_forward_hook(lambda _, __, answer: change(answer, next(calls)))
    try:
        yield
    finally:
        handle.remove()


# --- the story ---


def test_a_run_tells_its_story_in_order(tiny: Pipeline) -> None:
    events = list(tiny.stream(GenerateRequest(prompt="a red house", seeds=(1, 2), steps=3)))
    kinds = [type(event) for event in events]
    assert kinds == [Loaded, Encoded, *([Denoised] * 3 + [Decoded]) * 2, Finished]
    steps = [event for event in events if isinstance(event, Denoised)]
    assert [(step.first, step.step, step.of) for step in steps] == [
        (k, n, 3) for k in (0, 1) for n in (1, 2, 3)
    ]
    assert [step.progress for step in steps] == pytest.approx([n / 6 for n in range(1, 7)])
    assert [step.sigma for step in steps][2] == 0
    assert all(a.seconds <= b.seconds for a, b in pairwise(steps))


def test_the_result_says_what_is_needed_to_draw_it_again(tiny: Pipeline) -> None:
    result = tiny("a red house", seed=5, steps=2)
    assert (result.model, result.seeds, result.request.width) == ("tiny", (5,), 64)
    again = tiny(result.request)
    assert again.pictures == result.pictures
    assert tiny(result.request, seeds=(6,)).pictures != result.pictures
    assert tiny(result.request, seed=6).seeds == (6,)
    with pytest.raises(RequestError, match="step: no such field; did you mean 'steps'"):
        tiny(result.request, step=3)


def test_open_fields_take_the_models_defaults(tiny_flow: Pipeline) -> None:
    result = tiny_flow("a red house")
    assert (result.request.steps, result.request.sampler, result.request.spacing) == (4, "euler", "uniform")
    assert result.enlarge == 4


def test_a_picture_depends_on_the_prompt_the_negative_and_the_guidance(tiny_flow: Pipeline) -> None:
    base = tiny_flow("a red house", steps=2, guidance=3.0).pictures
    assert tiny_flow("a blue boat", steps=2, guidance=3.0).pictures != base
    assert tiny_flow("a red house", negative="snow", steps=2, guidance=3.0).pictures != base
    assert tiny_flow("a red house", steps=2, guidance=5.0).pictures != base


def test_at_guidance_one_the_negative_prompt_is_never_asked(tiny: Pipeline) -> None:
    with watched(tiny.unet) as calls:
        one = tiny("a red house", negative="snow", guidance=1, steps=2)
    assert [len(latents) for latents, *_ in calls] == [1, 1]
    assert one.pictures == tiny("a red house", guidance=1, steps=2).pictures


def test_outside_the_guidance_interval_each_step_costs_half(tiny: Pipeline) -> None:
    with watched(tiny.unet) as calls:
        tiny("a red house", steps=4, guidance_interval=(0.3, 3.0), sampler="euler")
    sigmas = tiny.schedule.sigmas(4, "karras")[:-1]
    assert [len(context) for *_, context, _ in calls] == [2 if 0.3 < sigma <= 3 else 1 for sigma in sigmas]
    assert {1, 2} == {len(context) for *_, context, _ in calls}


def test_the_pooled_vector_of_the_text_reaches_the_unet(tiny_flow: Pipeline, tiny: Pipeline) -> None:
    with watched(tiny_flow.unet) as calls:
        tiny_flow("a red house", steps=1)
    pooled = calls[0][3]
    ids = tiny_flow.tokenizers[0](["", "a red house"]).ids
    assert torch.equal(pooled, tiny_flow.text_encoders[0](torch.tensor(ids)).pooled)
    with watched(tiny.unet) as calls:
        tiny("a red house", steps=1)
    assert calls[0][3] is None


@pytest.mark.parametrize("size", [(8, 8), (24, 72), (72, 40)])
def test_any_multiple_of_eight_is_drawn(tiny: Pipeline, size: tuple[int, int]) -> None:
    (picture,) = tiny("a red house", width=size[0], height=size[1], steps=1).pictures
    assert (picture.width, picture.height) == size


@pytest.mark.parametrize("spacing", SPACING_NAMES)
@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_every_sampler_and_spacing_draws(
    tiny: Pipeline, tiny_flow: Pipeline, sampler: str, spacing: str
) -> None:
    for pipeline in (tiny, tiny_flow):
        (picture,) = pipeline(
            "a red house", sampler=sampler, spacing=spacing, steps=2, width=16, height=16
        ).pictures
        assert len(set(picture.rgb)) > 8


# --- seeds ---


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_a_picture_is_the_same_alone_and_in_any_batch(tiny: Pipeline, sampler: str) -> None:
    fields = {"sampler": sampler, "steps": 3, "width": 32, "height": 32}
    alone = {seed: tiny("a red house", seed=seed, **fields).pictures[0].rgb for seed in (1, 2, 3)}
    assert len(set(alone.values())) == 3
    for seeds in ((1, 2, 3), (3, 1), (2, 2)):
        drawn = tiny("a red house", seeds=seeds, **fields)
        assert [picture.rgb for picture in drawn.pictures] == [alone[seed] for seed in seeds]
        assert drawn.seeds == seeds


def test_batches_that_need_not_be_exact_draw_nearly_the_same(tiny: Pipeline) -> None:
    fast = replace(tiny, batch=4)
    request = GenerateRequest(prompt="a red house", seeds=(1, 2, 3, 4, 5), steps=2, width=32, height=32)
    with watched(tiny.unet) as calls:
        events = list(fast.stream(request))
    assert [len(context) for *_, context, _ in calls] == [8, 8, 2, 2]
    assert [(e.first, e.count) for e in events if isinstance(e, Denoised)] == [(0, 4), (0, 4), (4, 1), (4, 1)]
    assert (events[-1].result.loaded, tiny.generate(request).loaded) == ({"batch": 4}, {})
    for one, other in zip(events[-1].result.pictures, tiny.generate(request).pictures, strict=True):
        assert one.seed == other.seed
        assert max(abs(a - b) for a, b in zip(one.rgb, other.rgb, strict=True)) <= 1


def test_drawing_leaves_torchs_own_randomness_alone(tiny: Pipeline) -> None:
    before = torch.get_rng_state()
    tiny("a red house", sampler="euler_a", steps=2)
    assert torch.equal(torch.get_rng_state(), before)


# --- image to image ---


def test_strength_zero_returns_the_picture(tiny: Pipeline, gradient: Gradient) -> None:
    with watched(tiny.unet) as calls:
        result = tiny("a red house", picture=gradient(64, 64), strength=0, seed=3)
    assert result.pictures[0].rgb == gradient(64, 64).rgb
    assert result.seeds == (3,)
    assert calls == []


def test_strength_zero_takes_no_memory(tiny: Pipeline, gradient: Gradient) -> None:
    narrow = replace(tiny, memory=1)
    assert narrow("a red house", picture=gradient(64, 64), strength=0).pictures[0].rgb == gradient(64, 64).rgb
    with pytest.raises(OutOfMemory):
        narrow("a red house", picture=gradient(64, 64), strength=0.5)


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_strength_one_ignores_the_picture(tiny: Pipeline, gradient: Gradient, sampler: str) -> None:
    fields = {"sampler": sampler, "steps": 3, "seed": 4, "width": 64, "height": 64}
    assert (
        tiny("a red house", picture=gradient(64, 64), strength=1, **fields).pictures
        == tiny("a red house", **fields).pictures
    )


@pytest.mark.parametrize("fixture", ["tiny", "tiny_flow"])
def test_noise_is_added_at_the_level_that_the_strength_names(
    fixture: str, gradient: Gradient, request: pytest.FixtureRequest
) -> None:
    pipeline: Pipeline = request.getfixturevalue(fixture)
    with watched(pipeline.unet) as calls:
        pipeline("a red house", picture=gradient(64, 64), strength=0.5, guidance=1, steps=10, seed=9)
    shown, timesteps, *_ = calls[0]
    schedule = pipeline.schedule
    middle = schedule.shifted(torch.tensor([0.5 * schedule.times[-1]], dtype=torch.float64))
    assert float(timesteps[0]) == pytest.approx(float(middle), rel=1e-4)
    noise = torch.randn(shown.shape[1:], generator=torch.Generator().manual_seed(9))
    sigma = schedule.sigma_of(middle)
    source = pipeline.encode(gradient(64, 64))
    expected = schedule.signal(sigma).float() * (source + float(sigma) * noise)
    torch.testing.assert_close(shown, expected, rtol=1e-4, atol=1e-4)
    assert 4 <= len(calls) <= 7


def test_a_weaker_strength_stays_nearer_to_the_picture(tiny: Pipeline, gradient: Gradient) -> None:
    """With a U-Net that sees no noise, what comes out is the source and what was added: less is nearer."""

    def distance(strength: float) -> float:
        with answering(tiny.unet, lambda answer, _: torch.zeros_like(answer)):
            drawn = tiny("", picture=gradient(64, 64), strength=strength, steps=10, seed=1).pictures[0]
        kept = tiny.decode(tiny.encode(gradient(64, 64)), (1,))[0]
        return sum(abs(a - b) for a, b in zip(drawn.rgb, kept.rgb, strict=True)) / len(drawn.rgb)

    assert distance(0.05) < distance(0.3) < distance(0.8)


def test_the_picture_sets_the_shape_and_the_model_the_size(tiny: Pipeline, gradient: Gradient) -> None:
    result = tiny("a red house", picture=gradient(200, 50), steps=1)
    assert (result.request.width, result.request.height, result.request.strength) == (128, 32, 0.75)
    given = tiny("a red house", picture=gradient(200, 50), width=40, height=48, steps=1)
    assert (given.pictures[0].width, given.pictures[0].height) == (40, 48)


def test_a_strength_without_a_picture_is_refused(tiny: Pipeline) -> None:
    with pytest.raises(RequestError, match=r"strength: 0\.5 of a picture"):
        tiny("a red house", strength=0.5)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (10.0, [10.0, 4.0, 1.0, 0.0]),
        (99.0, [10.0, 4.0, 1.0, 0.0]),
        (9.0, [9.0, 4.0, 1.0, 0.0]),
        (5.0, [5.0, 1.0, 0.0]),
        (4.0, [4.0, 1.0, 0.0]),
        (1.1, [1.1, 0.0]),
        (0.01, [0.01, 0.0]),
    ],
)
def test_the_way_down_is_entered_at_the_nearest_rung(level: float, expected: list[float]) -> None:
    assert entered_at(level, [10.0, 4.0, 1.0, 0.0]) == expected


# --- stopping, previews, trouble ---


def test_stopping_to_iterate_stops_the_work_and_frees_the_latents(tiny: Pipeline) -> None:
    with watched(tiny.unet) as calls:
        run = tiny.stream(GenerateRequest(prompt="a red house", steps=50))
        event = next(event for event in run if isinstance(event, Denoised) and event.step == 2)
        latents = weakref.ref(event.previews.args[0])
        assert latents() is not None
        run.close()
        del event
        gc.collect()
    assert len(calls) == 2
    assert latents() is None
    assert list(run) == []


def test_inference_mode_does_not_leak_into_the_consumer(tiny: Pipeline) -> None:
    for _ in tiny.stream(GenerateRequest(prompt="a red house", steps=1)):
        assert not torch.is_inference_mode_enabled()


def test_the_last_preview_is_the_picture_where_the_decoder_draws_it(tiny: Pipeline) -> None:
    events = list(tiny.stream(GenerateRequest(prompt="a red house", steps=3, seeds=(8,))))
    steps = [event for event in events if isinstance(event, Denoised)]
    assert steps[-1].preview() == events[-1].result.pictures[0]
    assert steps[0].preview() != steps[-1].preview()


def test_previews_of_large_pictures_are_decoded_small(tiny: Pipeline) -> None:
    wide = torch.zeros(1, 4, 16, 64)
    (picture,) = tiny.preview(wide, (0,))
    assert (picture.width, picture.height) == (256, 64)


def test_previews_follow_the_line_fitted_for_the_model(tiny: Pipeline) -> None:
    latents = torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    line = Sketch(
        torch.randn(3, 4, generator=torch.Generator().manual_seed(1)) / 8, torch.tensor([0.1, 0.0, -0.1])
    )
    sketched = replace(tiny, about={"sketch": line.to_json()})
    with watched(tiny.decoder) as calls:
        pictures = sketched.preview(latents, range(6))
    assert calls == []
    assert {(picture.width, picture.height) for picture in pictures} == {(32, 32)}


def test_numbers_that_are_not_finite_stop_the_run_at_the_first_bad_step(tiny: Pipeline) -> None:
    def spoil(answer: Tensor, call: int) -> Tensor:
        return answer * torch.nan if call == 2 else answer

    run = tiny.stream(GenerateRequest(prompt="a red house", steps=6, seeds=(5,), sampler="euler"))
    seen: list[Any] = []
    with answering(tiny.unet, spoil), pytest.raises(NonFiniteError, match=r"seed 5 .* step 3 of 6"):
        seen.extend(run)
    assert [event.step for event in seen if isinstance(event, Denoised)] == [1, 2]


def test_pixels_that_are_not_finite_are_no_picture(tiny: Pipeline) -> None:
    with answering(tiny.decoder, lambda pixels, _: pixels / 0), pytest.raises(NonFiniteError, match="pixels"):
        tiny("a red house", steps=1)


def test_a_device_that_is_too_small_is_told_as_such(tiny: Pipeline) -> None:
    def full(answer: Tensor, _: int) -> Tensor:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    with answering(tiny.unet, full), pytest.raises(OutOfMemory, match="64x64 pixels do not fit on cpu"):
        tiny("a red house", steps=1)


def test_other_failures_of_torch_are_not_hidden(tiny: Pipeline) -> None:
    def broken(answer: Tensor, _: int) -> Tensor:
        raise RuntimeError("shapes differ")

    with answering(tiny.unet, broken), pytest.raises(RuntimeError, match="shapes differ"):
        tiny("a red house", steps=1)


# --- memory ---


def test_a_plan_holds_also_after_another_drawing_between_two_events(
    tiny_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "CHANNELS", 1)  # small networks count as large
    monkeypatch.setattr(winograd, "TILES", 1)
    pipe = Pipeline.of(tiny_parts)
    usual = MemoryPlan(sequential=False, kept=0, given=0, reading=0, drawing=0, decoding=0)
    plans = {1: replace(usual, spreads=True), 2: replace(usual, streams=1), 3: usual}
    monkeypatch.setattr(Pipeline, "planned", lambda self, request, *_: plans[request.steps])

    def told() -> tuple[set[bool], set[bool]]:
        spread = {m.is_spread for m in pipe._fast_unet.modules() if isinstance(m, WinogradConv2d)}
        return spread, {each.stays for each in packed_in(pipe._fast_unet)}

    seen = list[Any]()
    with answering(pipe.unet, lambda answer, _: seen.append(told()) or answer):
        for event in pipe.stream(GenerateRequest(prompt="a red house", steps=2, seeds=(1, 2))):
            if isinstance(event, Encoded | Denoised | Decoded):
                last = len(seen)
                pipe("a boat", steps=1)
                pipe("a boat", steps=3)
                del seen[last:]
    assert seen == [({False}, {False})] * 4


def test_a_picture_is_encoded_where_the_autoencoder_has_room(
    tiny: Pipeline, gradient: Gradient, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_painting = list[bool]()

    class Watched(Thrift):
        @contextmanager
        def painting(self) -> Iterator[None]:
            is_painting.append(True)
            with super().painting():
                yield
            is_painting.clear()

    monkeypatch.setattr("fromnoise.pipeline.Thrift", Watched)
    found = list[bool]()
    with answering(tiny.encoder.leave, lambda answer, _: found.append(bool(is_painting)) or answer):
        tiny("a red house", picture=gradient(64, 64), steps=2)
    assert found == [True]


# --- reading ---


def encoded(pipeline: Pipeline, prompt: str, negative: str = "") -> Encoded:
    request = GenerateRequest(prompt=prompt, negative=negative, steps=1)
    return next(event for event in pipeline.stream(request) if isinstance(event, Encoded))


def test_what_does_not_fit_in_the_window_is_named(tiny: Pipeline) -> None:
    short = encoded(tiny, "a red house")
    assert (short.tokens, short.window, short.cut) == (3, 75, "")
    long = encoded(tiny, "a " * 75 + "red house", negative="a " * 74 + "blue boat")
    assert (long.tokens, long.cut, long.negative_cut) == (75, "red house", "boat")


def test_words_that_the_model_never_saw_are_named_with_the_nearest_it_did(tiny: Pipeline) -> None:
    knowing = replace(tiny, about={"words": ["a", "red", "house", "boat"]})
    assert encoded(knowing, "a Red houze, a xylophone houze 7").strangers == (
        ("houze", "house"),
        ("xylophone", None),
    )
    assert encoded(tiny, "a xylophone").strangers == ()


def test_a_text_encoder_that_does_not_fit_the_unet_is_refused(tiny_parts: Parts) -> None:
    spec = tiny_parts.spec
    wide = replace(tiny_parts, spec=replace(spec, unet=replace(spec.unet, context_width=64)))
    with pytest.raises(SpecError, match="32 numbers a token, the U-Net reads 64"):
        Pipeline.of(wide)
    with pytest.raises(SpecError, match="1 text encoders need as many tokenizers, not 0"):
        Pipeline.of(replace(tiny_parts, tokenizers=()))
    pooled = replace(
        tiny_parts, spec=replace(spec, unet=replace(spec.unet, pooled_width=SDXL.unet.pooled_width))
    )
    with pytest.raises(SpecError, match="2816 beside the tokens"):
        Pipeline.of(pooled)
    other = replace(spec.texts[0], vocab=1025, end=1024)
    with pytest.raises(SpecError, match="1024 ids"):
        Pipeline.of(replace(tiny_parts, spec=replace(spec, texts=(other,))))


# --- loading ---


@pytest.mark.parametrize(
    ("named", "field"),
    [
        ({"device": "cuda:99"}, "device"),
        ({"device": "toaster"}, "device"),
        ({"dtype": "float8"}, "dtype"),
        ({"engine": "steam"}, "engine"),
    ],
)
def test_unknown_devices_types_and_engines_are_refused(named: dict[str, str], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        load(None, **named)
    assert list(caught.value.problems) == [field]


def test_names_on_floor_zero_are_the_samplers_there_are() -> None:
    assert tuple(SAMPLERS) == SAMPLER_NAMES


def test_batches_leave_no_seed_out() -> None:
    assert [list(batch) for batch in batches(range(5), 2)] == [[0, 1], [2, 3], [4]]
