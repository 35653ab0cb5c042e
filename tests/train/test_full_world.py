"""The same stages on the full world, end to end: from scenes to a scored model."""

from pathlib import Path

import pytest
import torch
from conftest import Rehearsal, rehearse

from fromnoise.cli.score_parts import drawing
from fromnoise.nets.oracle import Oracle
from fromnoise.pipeline import Pipeline
from fromnoise.request import GenerateRequest
from fromnoise.score import Report, Settings, load_oracle, make_tiers, save_oracle, score, tiers_for
from fromnoise.train import stages
from fromnoise.train.presets import run_for
from fromnoise.weights.native import load_native
from fromnoise.world import FULL


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    return rehearse(tmp_path_factory.mktemp("full"), run_for(FULL, tiny=True))


def test_every_stage_takes_every_step_and_its_figures_are_explained(full: Rehearsal) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
    for stage, progress in full.told.items():
        assert [p.step for p in progress] == [0, 1, 2, 3, 4], stage
        section = page.split(f"\n### {stage}\n")[1].split("\n### ")[0]
        assert [name for name in progress[-1].figures if f"`{name}`" not in section] == [], stage
    assert {"texture_right", "weather_right", "style_right"} <= set(full.told["oracle"][-1].figures)


def test_the_model_is_scored_in_every_tier_by_its_own_checker(full: Rehearsal) -> None:
    checker = full.folder / "oracle.safetensors"
    save_oracle(
        stages.load_part(Oracle(full.preset.oracle_spec), full.folder / "oracle"), checker, world=FULL
    )
    reader = load_oracle(checker)
    assert (reader.world, reader.blind) == (FULL, frozenset())
    tiers = make_tiers(tiers_for(FULL, reader.blind), 2, 0, world=FULL)
    draw = drawing(Pipeline.of(load_native(full.model)), GenerateRequest(prompt="", steps=1))
    *_, report = score(draw, reader, tiers, Settings(seeds_per_prompt=1, size=32))
    assert isinstance(report, Report)
    assert {row.tier for row in report.rows} == set(tiers_for(FULL))
    assert report.overall() is not None
    for row in report.rows:
        parts = next(tier.parts for tier in tiers if tier.name == row.tier)
        assert tuple(row.shares) == (*parts, "atoms", "all")
    assert torch.isfinite(draw(["a teal owl in the rain, neon"], [0])).all()
