import json
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import FromNoise

from fromnoise.cli.score import FULL, QUICK
from fromnoise.pipeline import Pipeline
from fromnoise.score.labels import LABELS

FEW = ("score", "--tier", "single", "--prompts", 2, "--held-out", 0, "--pool", 6, "--steps", 1)


@pytest.fixture
def kept(fromnoise: FromNoise, embedded: Path) -> tuple[FromNoise, dict[str, int]]:
    """A score of two pictures, with its pictures kept and its report in r.json."""
    done = fromnoise(*map(str, FEW), "--seeds", "1", "--keep", "kept", "-o", "r.json")
    assert done.code == 0, done.err
    return fromnoise, {path.name: path.stat().st_mtime_ns for path in Path("kept").iterdir()}


def test_a_score_is_printed_written_and_stamped(kept: tuple[FromNoise, dict[str, int]]) -> None:
    _, pictures = kept
    assert len(pictures) == 2
    data = json.loads(Path("r.json").read_text())
    assert {row["source"] for row in data["rows"]} == {"model", "floor", "ceiling", "rebuilt", "retrieval"}
    assert (data["stamp"]["version"], data["stamp"]["seeds"], data["stamp"]["drawn"]["steps"]) == (3, 1, 1)
    assert [section["title"].split(":")[0] for section in data["sections"]] == [
        *("KID-oracle", "Variety", "Copies of training pictures"),
    ]


def test_the_same_command_goes_on_and_more_seeds_draw_only_more(
    kept: tuple[FromNoise, dict[str, int]],
) -> None:
    fromnoise, before = kept
    done = fromnoise(*map(str, FEW), "--seeds", "2", "--keep", "kept", "--json")
    after = {path.name: path.stat().st_mtime_ns for path in Path("kept").iterdir()}
    assert len(after) == 4
    assert before.items() <= after.items()
    assert len(json.loads(done.out)["pictures"]) == 4


def test_a_score_is_set_beside_one_of_the_same_ruler_only(kept: tuple[FromNoise, dict[str, int]]) -> None:
    fromnoise, _ = kept
    done = fromnoise(*map(str, FEW), "--seeds", "1", "--keep", "kept", "--against", "r.json")
    assert "### Beside the score before" in done.out
    data = json.loads(Path("r.json").read_text())
    data["stamp"]["checker"] = "another"
    Path("other.json").write_text(json.dumps(data))
    refused = fromnoise(*map(str, FEW), "--seeds", "1", "--keep", "kept", "--against", "other.json")
    assert (refused.code, refused.out) == (2, "")
    assert "different rulers cannot be compared: checker another and" in refused.err


@pytest.mark.parametrize(
    ("content", "code", "complaint"),
    [
        (None, 5, "cannot read r.json"),
        ("{", 2, "r.json is no JSON"),
        ('{"format": 1}', 2, "format 1 of WorldEval"),
        ("[1]", 2, "it holds no score"),
    ],
)
def test_what_is_no_report_is_refused_before_anything_is_drawn(
    fromnoise: FromNoise, embedded: Path, content: str | None, code: int, complaint: str
) -> None:
    if content is not None:
        Path("r.json").write_text(content)
    done = fromnoise(*map(str, FEW), "--keep", "kept", "--against", "r.json")
    assert done.code == code
    assert complaint in done.err
    assert not Path("kept").exists()


@pytest.mark.parametrize(
    ("keep", "said"),
    [((), "begins anew; with --keep FOLDER it would go on"), (("--keep", "kept"), "goes on from here")],
)
def test_a_score_that_is_stopped_says_what_the_same_command_does(
    fromnoise: FromNoise, embedded: Path, monkeypatch: pytest.MonkeyPatch, keep: tuple[str, ...], said: str
) -> None:
    draw, alarms = Pipeline.__call__, iter([signal.SIGINT])

    def stopped(pipe: Pipeline, *rest: Any) -> Any:
        for alarm in alarms:
            signal.raise_signal(alarm)
        return draw(pipe, *rest)

    monkeypatch.setattr(Pipeline, "__call__", stopped)
    done = fromnoise(*map(str, FEW), "--seeds", "1", *keep)
    assert done.code == 130
    assert f"score: stopped; the same command {said}\n" in done.err


def test_a_model_is_scored_by_its_name(
    fromnoise: FromNoise, embedded: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ("score", "--model", model.name, "--world", "letters")  # which the checker of the tests cannot read
    assert fromnoise(*ask).code == 5
    monkeypatch.setenv("FROMNOISE_MODELS", str(model.parent))
    assert "the checker does not know all words" in fromnoise(*ask).err


def test_labels_that_are_not_there_are_asked_for(fromnoise: FromNoise) -> None:
    done = fromnoise("score", "--labels", "nowhere")
    assert done.code == 5
    assert "fromnoise score --sheet-for-labels nowhere" in done.err


def test_a_folder_of_labels_is_known_before_anything_is_drawn(
    fromnoise: FromNoise, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("used").mkdir()
    Path("used", LABELS).write_text("{}\n")
    monkeypatch.setattr(Pipeline, "__call__", lambda *_: pytest.fail("it draws"))
    done = fromnoise("score", "--sheet-for-labels", "used")
    assert done.code == 5
    assert "used/labels.jsonl is there already" in done.err


def test_a_device_that_cannot_be_used_is_no_bug(fromnoise: FromNoise, embedded: Path) -> None:
    done = fromnoise(*map(str, FEW), "--device", "nonsense")
    assert done.code == 2
    assert "device: 'nonsense' cannot be used" in done.err


def test_a_quick_score_has_less_of_everything() -> None:
    assert FULL["seeds"] == 4
    assert QUICK.keys() == FULL.keys()
    assert all(QUICK[name] < FULL[name] for name in FULL)
