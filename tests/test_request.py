import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromnoise.checks import MAX_SEED, MAX_SIDE
from fromnoise.errors import RequestError
from fromnoise.names import SAMPLER_NAMES, SPACING_NAMES
from fromnoise.request import CHECKS, AdapterUse, FilledRequest, GenerateRequest, Picture
from fromnoise.specs import Defaults

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=9)
requests = st.builds(
    GenerateRequest,
    prompt=texts,
    negative=texts,
    width=st.none() | st.integers(1, MAX_SIDE // 8).map(lambda n: 8 * n),
    height=st.none() | st.integers(1, MAX_SIDE // 8).map(lambda n: 8 * n),
    steps=st.none() | st.integers(1, 1000),
    guidance=st.none() | st.floats(0, 100),
    sampler=st.none() | st.sampled_from(SAMPLER_NAMES),
    spacing=st.none() | st.sampled_from(SPACING_NAMES),
    seeds=st.lists(st.integers(0, MAX_SEED), min_size=1, max_size=4).map(tuple),
    strength=st.none() | st.floats(0, 1),
    guidance_rescale=st.floats(0, 1),
    guidance_interval=st.none() | st.just((0.25, 5.5)),
    merge=st.floats(0, 0.75),
    reuse=st.integers(1, 20),
    image_guidance=st.none() | st.floats(0, 100),
    refine_from=st.none() | st.floats(0, 1),
    original_size=st.none() | st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
    crop=st.none() | st.tuples(st.integers(0, 9999), st.integers(0, 9999)),
    aesthetic=st.none() | st.tuples(st.floats(0, 10), st.floats(0, 10)),
    zero_negative=st.booleans(),
    adapters=st.none() | st.lists(st.builds(AdapterUse, name=names, scale=st.floats(-9, 9)), max_size=1),
)


def problems(**named: Any) -> dict[str, str]:
    with pytest.raises(RequestError) as caught:
        GenerateRequest(**({"prompt": "a house"} | named))
    return caught.value.problems


def test_every_wrong_field_is_named_at_once() -> None:
    assert problems(width=513, steps=0, sampler="eular") == {
        "width": "513 is not a multiple of 8; try 512",
        "steps": "0 is outside 1..1000",
        "sampler": "'eular' is unknown; did you mean 'euler'?",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None),
        ("prompt", b"bytes"),
        ("prompt", "half \ud83d of a character"),
        ("prompt", "long " * 10_000),
        ("negative", 3),
        *((side, bad) for side in ("width", "height") for bad in (0, -8, 7, 2**31, 2**63, 1e308)),
        *((side, bad) for side in ("width", "height") for bad in (math.nan, 64.0, "64", True, [64])),
        *(("steps", bad) for bad in (0, -1, 1001, 20.0, math.inf, "20", True)),
        *(("guidance", bad) for bad in (-0.1, 100.1, math.nan, math.inf, -math.inf, "7", True, [7])),
        *(("strength", bad) for bad in (-0.01, 1.01, math.nan, "0.5", False)),
        *(("guidance_rescale", bad) for bad in (-1, 2, None, math.nan)),
        *(("guidance_interval", bad) for bad in ((1, 1), (2, 1), (1,), (1, 2, 3), 5, "ab", (0, math.nan))),
        *(("merge", bad) for bad in (-0.1, 0.8, math.nan, "0.5", None, True)),
        *(("reuse", bad) for bad in (0, 21, 2.0, "2", None, True)),
        *(("image_guidance", bad) for bad in (-1, 101, math.nan, "2")),
        *(("refine_from", bad) for bad in (-0.1, 1.1, "0.8", True)),
        *(("original_size", bad) for bad in ((0, 8), (8,), (8, 8, 8), 8, "88", (8.0, 8), (2**20, 8))),
        *(("crop", bad) for bad in ((-1, 0), (0, 0.5), "00", 0)),
        *(("aesthetic", bad) for bad in ((6.0, 11.0), (6.0,), 6.0, (math.nan, 1))),
        *(("zero_negative", bad) for bad in (None, 1, "yes")),
        *(("sampler", bad) for bad in ("", "magic", 3, True)),
        *(("spacing", bad) for bad in ("", "wide", 3)),
        *(
            ("seeds", bad)
            for bad in ((), (-1,), (2**64,), (1.0,), (True,), 5, "12", None, ("1",), [0] * 2000)
        ),
    ],
)
def test_bad_values_are_refused_with_the_name_of_their_field(field: str, value: Any) -> None:
    assert list(problems(**{field: value})) == [field]


def test_numbers_beyond_all_floats_are_refused_like_others() -> None:
    huge = 10**400
    assert problems(guidance=huge, strength=-huge, adapters=[{"name": "ink", "scale": huge}]) == {
        "guidance": "it is far outside 0..100",
        "strength": "it is far outside 0..1",
        "adapters": "it is far outside -100..100",
    }


def test_limits_are_inside() -> None:
    edge = GenerateRequest(
        prompt="", width=8, height=MAX_SIDE, steps=1000, guidance=0, seeds=(MAX_SEED,), strength=1
    )
    assert (edge.width, edge.height, edge.seeds) == (8, 4096, (2**64 - 1,))


def test_every_field_has_a_check() -> None:
    assert list(CHECKS) == list(GenerateRequest.__dataclass_fields__)


def test_numbers_of_other_libraries_become_plain_ones() -> None:
    numpy = pytest.importorskip("numpy")
    request = GenerateRequest(
        prompt="", steps=numpy.int64(7), guidance=numpy.float32(2.5), seeds=numpy.arange(2)
    )
    assert json.dumps(request.to_json())
    assert (request.steps, request.guidance, request.seeds) == (7, 2.5, (0, 1))


def test_other_programs_names_become_ours() -> None:
    both = GenerateRequest(prompt="", sampler="DPM++ 2M Karras")
    assert (both.sampler, both.spacing) == ("dpmpp_2m", "karras")
    assert GenerateRequest(prompt="", sampler="Euler a").sampler == "euler_a"
    assert GenerateRequest(prompt="", spacing="sgm_uniform").spacing == "uniform"


def test_a_spacing_that_is_given_wins_over_the_one_in_the_samplers_name() -> None:
    request = GenerateRequest(prompt="", sampler="DPM++ 2M Karras", spacing="uniform")
    assert request.spacing == "uniform"


def test_a_change_of_sampler_brings_the_spacing_in_its_name() -> None:
    full = GenerateRequest(prompt="", spacing="uniform").filled(Defaults())
    assert full.but(sampler="DPM++ 2M Karras").spacing == "karras"
    assert full.but(sampler="DPM++ 2M Karras", spacing="leading").spacing == "leading"
    assert full.but(sampler="DPM++ 2M").spacing == "uniform"


def test_open_fields_take_the_models_defaults_and_given_ones_stay() -> None:
    defaults = Defaults(
        width=128, height=96, steps=20, guidance=3, sampler="euler", spacing="uniform", enlarge=4
    )
    full = GenerateRequest(prompt="a house", steps=7, guidance=0, seeds=(3,)).filled(defaults)
    assert isinstance(full, FilledRequest)
    assert (full.width, full.height, full.steps, full.guidance) == (128, 96, 7, 0)
    assert (full.sampler, full.spacing, full.seeds, full.strength) == ("euler", "uniform", (3,), None)
    assert full.filled(Defaults()) == full


@given(requests)
def test_json_gives_the_request_back(request: GenerateRequest) -> None:
    again = GenerateRequest.from_json(json.loads(json.dumps(request.to_json())))
    assert again == request
    assert hash(again) == hash(request)


def test_a_filled_request_equals_the_one_read_from_its_json() -> None:
    full = GenerateRequest(prompt="a house").filled(Defaults())
    assert GenerateRequest.from_json(full.to_json()) == full
    assert full != replace(full, steps=full.steps + 1)


@pytest.mark.parametrize(
    "data", [{"prompt": "", "stepz": 3}, {"steps": 3}, {"prompt": "", "schema": 2}, [], None, "x"]
)
def test_json_that_is_no_request_is_refused(data: Any) -> None:
    with pytest.raises(RequestError):
        GenerateRequest.from_json(data)


def test_unknown_keywords_are_answered_with_the_nearest_field() -> None:
    with pytest.raises(RequestError, match="stepz: no such field; did you mean 'steps'"):
        GenerateRequest.of("a house", stepz=3)


def test_seed_is_short_for_seeds() -> None:
    assert GenerateRequest.of("a house", seed=7).seeds == (7,)
    with pytest.raises(RequestError, match="not both"):
        GenerateRequest.of("a house", seed=7, seeds=(7,))


def test_a_picture_has_three_bytes_a_pixel() -> None:
    with pytest.raises(RequestError, match="11 bytes are not 2x2 pixels"):
        Picture(2, 2, bytes(11))
