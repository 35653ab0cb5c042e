import pytest

from fromnoise.errors import RequestError
from fromnoise.names import (
    SAMPLER_ALIASES,
    SAMPLER_NAMES,
    SPACING_ALIASES,
    SPACING_NAMES,
    find_sampler,
    find_spacing,
)
from fromnoise.noise.samplers import SAMPLERS
from fromnoise.noise.spacings import CLOCKS, LADDERS
from fromnoise.specs import FAMILIES


def test_the_names_on_floor_0_are_those_of_the_tables() -> None:
    assert tuple(SAMPLERS) == SAMPLER_NAMES
    assert (*LADDERS, *CLOCKS) == SPACING_NAMES


def test_every_alias_leads_to_something_and_hides_nothing() -> None:
    for alias, (sampler, spacing) in SAMPLER_ALIASES.items():
        assert alias == alias.lower()
        assert alias not in SAMPLER_NAMES
        assert sampler in SAMPLER_NAMES
        assert spacing is None or spacing in SPACING_NAMES
    for alias, spacing in SPACING_ALIASES.items():
        assert alias not in SPACING_NAMES
        assert spacing in SPACING_NAMES


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("euler", ("euler", None)),
        ("Euler a", ("euler_a", None)),
        ("DPM++ 2M Karras", ("dpmpp_2m", "karras")),
        ("k_heun", ("heun", None)),
        ("euler_ancestral", ("euler_a", None)),
        ("dpmpp_2m_k", ("dpmpp_2m", "karras")),
        ("DPMSolverMultistepScheduler", ("dpmpp_2m", None)),
        (" DDIM ", ("ddim", None)),
    ],
)
def test_samplers_are_found_by_the_names_that_users_type(name: str, found: tuple[str, str | None]) -> None:
    assert find_sampler(name) == found


@pytest.mark.parametrize(
    ("name", "found"), [("Karras", "karras"), ("normal", "linspace"), ("sgm_uniform", "uniform")]
)
def test_spacings_are_found_by_the_names_that_users_type(name: str, found: str) -> None:
    assert find_spacing(name) == found


def test_unknown_names_are_answered_with_the_nearest_known_one() -> None:
    with pytest.raises(RequestError, match=r"'eular' is unknown; did you mean 'euler'\?"):
        find_sampler("eular")
    with pytest.raises(RequestError, match=r"'karas' is unknown; did you mean 'karras'\?"):
        find_spacing("karas")


def test_the_defaults_of_every_family_exist() -> None:
    for spec in FAMILIES.values():
        assert spec.defaults.sampler in SAMPLER_NAMES
        assert spec.defaults.spacing in SPACING_NAMES
