import json
from dataclasses import replace

import pytest

from fromnoise.score import SEEN, Report, Row, Share, wilson
from fromnoise.score.plans import OVERALL
from fromnoise.score.report import Judged, Source


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(right: int, of: int, low: float, high: float) -> None:
    assert wilson(right, of) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_symmetric_and_knows_nothing_from_nothing() -> None:
    low, high = wilson(13, 40)
    assert wilson(27, 40) == pytest.approx((1 - high, 1 - low))
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_share_is_shown_with_its_interval() -> None:
    assert str(Share(81, 263)) == "30.8 [26–37]"
    assert str(Share(0, 0)) == "–"


def row(split: str, source: Source, right: int, of: int = 100) -> Row:
    parts = ("object", "colour", "setting", "time", "all")
    return Row("single", split, source, of, dict.fromkeys(parts, Share(right, of)), {"missing": of - right})


@pytest.fixture
def report() -> Report:
    picture = Judged("single", SEEN, "a cat", 3, {"object": False}, ("missing: 0 cat, not 1",))
    rows = (row(SEEN, "model", 91), row(SEEN, "floor", 7), row(SEEN, "ceiling", 99), row("H4", "model", 64))
    return Report(rows, (picture,))


def test_the_table_sets_seen_beside_held_out_with_floor_and_ceiling(report: Report) -> None:
    lines = report.to_markdown().splitlines()
    assert lines[2] == "|  | seen | held out H4 | floor | ceiling |"
    assert lines[4] == "| pictures | 100 | 100 | 100 | 100 |"
    assert "| colour | 91.0 [84–95] | 64.0 [54–73] | 7.0 [3–14] | 99.0 [95–100] |" in lines
    assert "Faults (H4): missing 36." in lines


def test_json_holds_counts_intervals_and_pictures(report: Report) -> None:
    data = json.loads(json.dumps(report.to_json()))
    assert data["rows"][0]["shares"]["colour"] == {
        "right": 91,
        "of": 100,
        "share": 0.91,
        "interval": [round(end, 4) for end in wilson(91, 100)],
    }
    assert data["pictures"][0]["prompt"] == "a cat"
    assert data["misses"] == []


def test_the_bar_is_per_part_and_the_checker_has_its_own() -> None:
    low = Report((row(SEEN, "model", 85), row(SEEN, "ceiling", 96)), ())
    assert low.misses() == [
        "model: setting is right in 85.0 %, below 90 %",
        "model: time is right in 85.0 %, below 90 %",
        *(
            f"ceiling: {part} is right in 96.0 %, below 97 %"
            for part in ("object", "colour", "setting", "time")
        ),
    ]


def test_a_bar_that_was_not_measured_is_missed() -> None:
    assert Report((), ()).misses() == [
        "model: the tier of single things was not scored",
        "ceiling: the tier of single things was not scored",
    ]


def test_the_mean_of_tiers_is_of_the_first_six_by_their_headlines() -> None:
    assert Report((row(SEEN, "model", 91),), ()).overall() is None
    parts = dict.fromkeys(("colour", "setting", "time", "all"), Share(50, 100))
    shares = {"object": Share(80, 100), **parts}
    rows = [Row(name, split, "model", 100, shares, {}) for name in OVERALL for split in (SEEN, "H1")]
    rows[1] = replace(rows[1], shares={**shares, "object": Share(0, 100)})
    report = Report(tuple(rows), ())
    assert report.overall() == pytest.approx(
        (80 + 5 * 50) / 600
    )  # of single things only whether they are there
    assert report.overall(held_out=True) == pytest.approx(5 * 50 / 600)
    assert report.overall("ceiling") is None
    assert "Mean of T1 to T6: seen 55.0, held out 41.7." in report.to_markdown()
    assert report.to_json()["overall"] == {
        "seen": report.overall(),
        "held_out": report.overall(held_out=True),
    }
