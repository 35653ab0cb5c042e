import json
from dataclasses import replace

import pytest

from fromnoise.errors import RequestError
from fromnoise.score import SEEN, Report, Row, Section, Share, Stamp, compared, to_markdown, wilson
from fromnoise.score.plans import OVERALL
from fromnoise.score.report import Judged, Source


def row(split: str, source: Source, right: int, of: int = 100, tier: str = "single") -> Row:
    parts = ("object", "colour", "setting", "time", "atoms", "all")
    return Row(tier, split, source, of, dict.fromkeys(parts, Share(right, of)), {"missing": of - right})


@pytest.fixture
def report() -> Report:
    picture = Judged("single", SEEN, "a cat", 3, {"object": False}, ("missing: 0 cat, not 1",))
    rows = (row(SEEN, "model", 91), row(SEEN, "floor", 7), row(SEEN, "ceiling", 99), row("H4", "model", 64))
    return Report(rows, (picture,))


def test_the_table_sets_seen_beside_held_out_with_ceiling_and_floor(report: Report) -> None:
    lines = to_markdown(report).splitlines()
    assert lines[2] == "|  | seen | held out H4 | ceiling | floor |"
    assert lines[4] == "| pictures | 100 | 100 | 100 | 100 |"
    assert "| colour | 91.0 [84–95] | 64.0 [54–73] | 99.0 [95–100] | 7.0 [3–14] |" in lines
    assert "Faults (H4): missing 36." in lines
    assert "| missing | 9.0 [5–16] | 36.0 [27–46] |" in lines


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


def test_the_bar_is_per_part_and_the_checker_has_its_own_per_tier() -> None:
    rows = (row(SEEN, "model", 85), row(SEEN, "ceiling", 98), row(SEEN, "ceiling", 96, tier="count"))
    assert Report(rows, ()).misses() == [
        "model: setting is right in 85.0 %, below 90 %",
        "model: time is right in 85.0 %, below 90 %",
        "ceiling: single is right in 98.0 %, below 99 %",
        "ceiling: count is right in 96.0 %, below 97 %",
    ]
    fine = (row(SEEN, "model", 95), row(SEEN, "ceiling", 99), row(SEEN, "ceiling", 97, tier="count"))
    assert Report(fine, ()).misses() == []


def test_an_autoencoder_may_lose_two_points() -> None:
    def lost(points: int) -> list[str]:
        true = [row(SEEN, "ceiling", 100, tier=name) for name in OVERALL]
        rebuilt = [row(SEEN, "rebuilt", 100 - points, tier=name) for name in OVERALL]
        return Report((row(SEEN, "model", 95), *true, *rebuilt), ()).misses()

    assert lost(2) == []
    assert lost(3) == ["rebuilt: the autoencoder loses 3.0 points of T1 to T6, more than 2"]


def test_a_bar_that_was_not_measured_is_missed() -> None:
    assert Report((), ()).misses() == ["model: the tier of single things was not scored"]


def test_the_headline_of_a_tier_is_the_share_that_its_plan_names(report: Report) -> None:
    assert report.headline("single") == Share(91, 100)
    with pytest.raises(AssertionError, match="two was not measured"):
        report.headline("two")


def test_the_mean_of_tiers_is_of_the_first_six_by_their_headlines() -> None:
    assert Report((row(SEEN, "model", 91),), ()).overall() is None
    parts = dict.fromkeys(("colour", "setting", "time", "atoms", "all"), Share(50, 100))
    shares = {"object": Share(80, 100), **parts}
    rows = [Row(name, split, "model", 100, shares, {}) for name in OVERALL for split in (SEEN, "H1")]
    rows[1] = replace(rows[1], shares={**shares, "object": Share(0, 100)})
    report = Report(tuple(rows), ())
    assert report.overall() == pytest.approx(
        (80 + 5 * 50) / 600
    )  # of single things only whether they are there
    assert report.overall(held_out=True) == pytest.approx(5 * 50 / 600)
    assert report.overall("ceiling") is None
    assert "| model | 55.0 | 55.0 [51–59] | 41.7 | 41.7 [38–46] |" in to_markdown(report)
    assert report.to_json()["overall"] == {
        "seen": report.overall(),
        "held_out": report.overall(held_out=True),
    }


STAMP = Stamp(checker="c" * 64, plans="d" * 64, world="small", seeds=4, model="mite", model_hash="e" * 64)


def test_a_report_comes_back_from_its_json(report: Report) -> None:
    section = Section("KID", ({"": "model", "share": Share(1, 3), "kid": 0.25, "n": 7},), "a note")
    whole = replace(report, sections=(section,), stamp=STAMP)
    assert Report.from_json(json.loads(json.dumps(whole.to_json()))) == whole
    assert Report.from_json(report.to_json()) == report


def test_what_another_version_wrote_is_refused(report: Report) -> None:
    data = replace(report, stamp=STAMP).to_json()
    for other in (data | {"format": 1}, data | {"stamp": data["stamp"] | {"version": 1}}):
        with pytest.raises(RequestError, match="not 2 of 3"):
            Report.from_json(other)
    with pytest.raises(RequestError, match="format None of WorldEval"):
        Report.from_json({"rows": []})
    with pytest.raises(RequestError, match="it holds no score: 'pictures'"):
        Report.from_json({key: value for key, value in data.items() if key != "pictures"})


@pytest.mark.parametrize(
    "data",
    [
        [],
        5,
        {"stamp": [1]},
        {"stamp": {"version": 3}},
        {"rows": 5},
        {"rows": ["row"]},
        {"pictures": ["picture"]},
        {"sections": [{"title": "", "note": "", "rows": [[]]}]},
    ],
)
def test_json_that_is_no_report_is_one_clear_error(report: Report, data: object) -> None:
    whole = replace(report, stamp=STAMP).to_json() | data if isinstance(data, dict) else data
    with pytest.raises(RequestError, match=r"report: (it holds no score|format)"):
        Report.from_json(whole)  # type: ignore[arg-type]


def test_two_scores_are_set_side_by_side(report: Report) -> None:
    before = replace(report, rows=(row(SEEN, "model", 80),), stamp=replace(STAMP, model_hash="f" * 64))
    section = compared(before, replace(report, stamp=STAMP))
    (line,) = section.rows
    assert (line["before"], line["now"], line["change"]) == (Share(80, 100), Share(91, 100), "+11.0")
    assert "ffffffffffff…; now: mite eeeeeeeeeeee…" in section.note


@pytest.mark.parametrize(
    ("field", "value"), [("version", 1), ("checker", "x"), ("plans", "x"), ("world", "full"), ("seeds", 2)]
)
def test_scores_of_different_rulers_are_never_compared(report: Report, field: str, value: object) -> None:
    other = replace(report, stamp=replace(STAMP, **{field: value}))
    with pytest.raises(RequestError, match=f"different rulers cannot be compared: {field} {value} and"):
        compared(other, replace(report, stamp=STAMP))
    with pytest.raises(RequestError, match="without a stamp"):
        compared(report, replace(report, stamp=STAMP))
