import json
from typing import Any

import pytest

from fromnoise.errors import SpecError
from fromnoise.specs import (
    FAMILIES,
    REFINER,
    SD15,
    SD21,
    SD21_BASE,
    SDXL,
    ClipSpec,
    ImageTowerSpec,
    ModelSpec,
    OracleSpec,
    ScheduleSpec,
    Spec,
    UNetSpec,
    VaeSpec,
)


@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_every_family_survives_the_journey_through_json(spec: ModelSpec) -> None:
    there = json.dumps(spec.to_json())
    assert ModelSpec.from_json(json.loads(there)) == spec


def test_open_fields_take_their_defaults() -> None:
    assert ModelSpec.from_json({"name": "sd15"}) == SD15


def test_a_model_that_was_written_before_edm_is_still_read() -> None:
    there = SD15.to_json()
    for name in ("sigma_min", "sigma_max", "sigma_data"):
        del there["schedule"][name]
    assert ModelSpec.from_json(there) == SD15


def test_the_refiner_reads_the_larger_of_sdxls_texts_and_is_told_less_of_sizes() -> None:
    assert REFINER.texts == SDXL.texts[1:]
    assert REFINER.unet.context_width == SDXL.texts[1].width
    assert (SDXL.unet.pooled_width, REFINER.unet.pooled_width) == (1280 + 6 * 256, 1280 + 5 * 256)
    assert REFINER.unet.widths == [384, 768, 1536, 1536]


def test_sd2_comes_in_two_kinds() -> None:
    assert (SD21.prediction, SD21.defaults.width) == ("v", 768)
    assert (SD21_BASE.prediction, SD21_BASE.defaults.width) == ("eps", 512)
    assert SD21_BASE.unet == SD21.unet


MISFITS: list[tuple[type[Spec], dict[str, Any], str]] = [
    (UNetSpec, {"colour": 3}, "UNetSpec has no field 'colour'"),
    (ModelSpec, {"name": "x", "vae": {"depth": 3}}, "VaeSpec has no field 'depth'"),
    (ModelSpec, {}, "ModelSpec is incomplete: .*'name'"),
    (OracleSpec, {"kinds": 3, "colours": 3, "settings": 3}, "OracleSpec is incomplete: .*'times'"),
    (ClipSpec, {"width": "768"}, "ClipSpec: width is '768', not int"),
    (ClipSpec, {"heads": True}, "ClipSpec: heads is True, not int"),
    (ClipSpec, {"projection": 2.5}, "ClipSpec: projection is 2.5, not int"),
    (ClipSpec, {"activation": "relu"}, "activation is 'relu', not 'quick_gelu' or 'gelu'"),
    (VaeSpec, {"multipliers": 4}, "VaeSpec: multipliers is 4, not tuple"),
    (VaeSpec, {"multipliers": [1, "2"]}, "VaeSpec: multipliers is '2', not int"),
    (ModelSpec, {"name": "x", "texts": [7]}, "ModelSpec: texts is 7, not ClipSpec"),
    (ModelSpec, {"name": "x", "schedule": {"beta_end": float("nan")}}, "beta_end is nan, which no model has"),
    (ModelSpec, {"name": "x" * 999, "vae": "x" * 999}, r"vae is 'x+\.\.\.x+', not VaeSpec"),
]


@pytest.mark.parametrize(("kind", "data", "message"), MISFITS)
def test_json_that_does_not_fit_is_refused(kind: type[Spec], data: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        kind.from_json(data)


def test_whole_numbers_stand_for_fractions_and_null_for_nothing() -> None:
    assert VaeSpec.from_json({"latent_scale": 1}).latent_scale == 1.0
    assert UNetSpec.from_json({"mid": None}).mid is None


CONTRADICTIONS: list[tuple[type[Spec], dict[str, Any], str]] = [
    (UNetSpec, {"heads": 7}, "width 320 does not divide by heads 7"),
    (UNetSpec, {"heads": 0}, "width 320 does not divide by heads 0"),
    (UNetSpec, {"heads": None, "head_width": 48}, "width 320 does not divide by head_width 48"),
    (UNetSpec, {"heads": 8, "head_width": 64}, "either heads or head_width, not 8 and 64"),
    (UNetSpec, {"heads": None}, "either heads or head_width, not None and None"),
    (UNetSpec, {"multipliers": (1, 2, 4)}, "3 widths for 4 levels down and 4 up"),
    (UNetSpec, {"up": ((1, 1, 1),) * 3}, "4 widths for 4 levels down and 3 up"),
    (UNetSpec, {"up": ((0, 0, 0), (1, 1, 1), (1, 1), (1, 1, 1))}, "level 1 .* 2 blocks down, so it needs 3"),
    (UNetSpec, {"groups": 48}, "width 320 does not divide by groups 48"),
    (VaeSpec, {"groups": 48}, "width 128 does not divide by groups 48"),
    (VaeSpec, {"latent_mean": (0.0,) * 3}, "latent_mean has 3 numbers for 4 channels"),
    (VaeSpec, {"latent_std": (1.0,) * 5}, "latent_std has 5 numbers for 4 channels"),
    (ClipSpec, {"heads": 7}, "width 768 does not divide by heads 7"),
    (ClipSpec, {"hidden": 0}, "hidden 0 is none of the layers -12 .first. to -1"),
    (ClipSpec, {"hidden": -13}, "hidden -13 is none of the layers"),
    (ClipSpec, {"vocab": 1024}, "end 49407 .* outside the vocabulary of 1024"),
    (ImageTowerSpec, {"size": 65}, "size 65 does not divide by patch 8"),
    (OracleSpec, {"kinds": 2, "colours": 2, "settings": 2, "times": 2, "groups": 5}, "groups 5"),
]


@pytest.mark.parametrize(("kind", "fields", "message"), CONTRADICTIONS)
def test_a_spec_that_contradicts_itself_is_refused(
    kind: type[Spec], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        kind(**fields)


OUT_OF_PROPORTION: list[tuple[type[Spec], dict[str, Any], str]] = [
    (ClipSpec, {"layers": 10**9}, "ClipSpec: layers is 1000000000, which no model has"),
    (ClipSpec, {"layers": 1001}, "number of layers is 1,001, not 0 to 1,000"),
    (ClipSpec, {"width": -768}, "width -768 does not divide"),
    (ImageTowerSpec, {"layers": 1001}, "number of layers is 1,001"),
    (VaeSpec, {"base_width": 32 * 10**6}, "base_width is 32000000, which"),
    (VaeSpec, {"blocks": 100}, "number of blocks is 804, not 0 to 200"),
    (VaeSpec, {"blocks": -1}, "number of blocks is -4"),
    (VaeSpec, {"multipliers": (1,) * 17}, "number of levels is 17, not 0 to 16"),
    (UNetSpec, {"multipliers": (1,) * 17}, "number of levels is 17, not 0 to 16"),
    (UNetSpec, {"down": ((0,) * 201,)}, "number of blocks is 213, not 0 to 200"),
    (UNetSpec, {"down": ((10**9,),)}, "down is 1000000000, which no model has"),
    (UNetSpec, {"mid": 1001}, "number of layers in a transformer is 1,001"),
    (UNetSpec, {"down": ((-900, 900),)}, "number of layers in a transformer is -900"),
    (UNetSpec, {"down": ((600, 600),)}, "number of layers is 1,210, not 0 to 1,000"),
    (
        ModelSpec,
        {"name": "x", "texts": (ClipSpec(layers=600),) * 2},
        "text encoders is 1,200, not",
    ),
    (ScheduleSpec, {"steps": 10**12}, "steps is 1000000000000, which"),
]


@pytest.mark.parametrize(("kind", "fields", "message"), OUT_OF_PROPORTION)
def test_more_than_any_network_has_is_refused_before_it_is_built(
    kind: type[Spec], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        kind(**fields)


@pytest.mark.parametrize("data", [[], None, 3, "spec", [["name", "x"]]])
def test_what_is_no_json_object_is_no_spec(data: object) -> None:
    with pytest.raises(SpecError, match=r"ModelSpec is .*, not a JSON object"):
        ModelSpec.from_json(data)


def test_the_number_of_heads_follows_the_width_where_their_width_is_fixed() -> None:
    assert [SD15.unet.heads_for(width) for width in SD15.unet.widths] == [8, 8, 8, 8]
    assert [SD21.unet.heads_for(width) for width in SD21.unet.widths] == [5, 10, 20, 20]
    assert [SDXL.unet.heads_for(width) for width in SDXL.unet.widths] == [5, 10, 20]


def test_a_latent_spans_eight_pixels_in_every_family() -> None:
    assert {spec.vae.factor for spec in FAMILIES.values()} == {8}
