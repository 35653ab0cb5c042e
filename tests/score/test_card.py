"""What docs/make.py writes of a score into the model card."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from fromnoise.score import SEEN, TIERS, Report, Row, Share, Stamp
from fromnoise.score.plans import OVERALL
from fromnoise.score.report import Judged
from fromnoise.score.weakness import weaknesses
from fromnoise.train.log import Log
from fromnoise.train.recipe import Progress
from fromnoise.world import SMALL, parse

MAKE = Path(__file__).parents[2] / "docs" / "make.py"
STAMP = Stamp(checker="c", plans="p", world="small", seeds=4, model="mite", model_hash="e" * 64)


@pytest.fixture(scope="module")
def make() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(MAKE)))


def judged(prompt: str, right: bool) -> Judged:
    return Judged("single", SEEN, prompt, 0, {"object": right, "colour": right, "setting": True}, ())


@pytest.fixture
def report() -> Report:
    shares = dict.fromkeys(("object", "colour", "setting", "time", "atoms", "all"), Share(4, 10))
    rows = (Row("single", SEEN, "model", 10, shares, {"missing": 6}),)
    pictures = [judged("a red cat in the snow", False) for _ in range(6)]
    pictures += [judged("a blue car in the snow", True) for _ in range(4)]
    return Report(rows, tuple(pictures), stamp=STAMP)


def test_the_worst_words_come_first_and_lost_tiers_are_named(report: Report) -> None:
    section = weaknesses(report, SMALL)
    assert [row["word"] for row in section.rows] == ["red", "cat"]
    assert section.rows[1] == {"word": "cat", "is a": "object", "right": Share(0, 6)}
    assert f"on seen prompts: {TIERS['single'].title} (40.0" in section.note


def test_a_report_of_another_model_or_version_does_not_get_into_the_card(
    make: SimpleNamespace, report: Report, tmp_path: Path
) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(report.to_json() | {"rows": []}))
    assert "Made by WorldEval 3, checker c" in make.scored(path, "e" * 64)
    with pytest.raises(SystemExit, match="the score of another model, eeeeeeeeeeee"):
        make.scored(path, "f" * 64)
    path.write_text(json.dumps(report.to_json() | {"format": 1}))
    with pytest.raises(Exception, match="format 1 of WorldEval"):
        make.scored(path)


def test_the_curve_is_that_of_the_validations(make: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    for step in range(100, 3100, 100):
        figures = {"loss": 1.0, "flow_at_0.3": 1 / step} if step % 200 == 0 else {"loss": 0.5}
        Log(tmp_path / "unet").write(Progress(step, 3000, 0.1, 1.0, 1.0, figures))
    lines = make.curve(tmp_path).splitlines()
    assert lines[2] == "| 200 | flow_at_0.3 0.0050 |"
    assert lines[-1] == "| 3,000 | flow_at_0.3 0.0003 |"
    assert 3 < len(lines) <= 2 + make.POINTS + 1


def test_the_pictures_of_the_card_are_the_first_prompts_of_all_six_tiers(make: SimpleNamespace) -> None:
    prompts = make.uncurated()
    assert len(prompts) == len({*prompts}) == 20
    assert all(parse(prompt).things and parse(prompt).setting for prompt in prompts)
    for n, prompt in enumerate(prompts):
        (tier,) = make.make_tiers((OVERALL[n % 6],), 20, 0)
        assert tier.prompts[SEEN][n].text == prompt
