"""`--memory` and what `--dry-run` foretells."""

import json
from pathlib import Path

import pytest
from conftest import FromNoise

from fromnoise.engine import plan as planning
from fromnoise.pipeline import Pipeline

PROMPT = "a red house"


@pytest.fixture
def small(model: Path) -> tuple[str, ...]:
    return ("--model", str(model), "--seed", "1", "--steps", "2")


def test_a_dry_run_foretells_seconds_and_gigabytes(fromnoise: FromNoise, small, monkeypatch) -> None:
    monkeypatch.setattr(Pipeline, "generate", lambda *_: pytest.fail("it was drawn"))
    predicted = json.loads(fromnoise(PROMPT, *small, "--dry-run").out)["predicted"]
    assert {"GB", "seconds", "first step", "step", "decode"} == predicted.keys()
    assert planning.RUNTIME / 1e9 <= predicted["GB"] <= 2 * planning.RUNTIME / 1e9


def test_larger_pictures_are_foretold_to_take_more(fromnoise: FromNoise, small) -> None:
    found = [
        json.loads(fromnoise(PROMPT, *small, "--dry-run", "--size", size).out)["predicted"]["GB"]
        for size in ("64x64", "2048x2048")
    ]
    assert found[0] < found[1]


@pytest.mark.parametrize("extra", [(), ("--dry-run",)])
def test_what_cannot_fit_is_refused_before_anything_is_drawn(
    fromnoise: FromNoise, small, tmp_path: Path, extra
) -> None:
    done = fromnoise(PROMPT, *small, "--memory", "100MB", *extra)
    assert done.code == 4
    assert "64x64 pixels take" in done.err
    assert "there are 0.10 GB" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("amount", ["lots", "-3", "0GB", "4 parsecs"])
def test_what_is_no_amount_is_refused(fromnoise: FromNoise, small, amount: str) -> None:
    done = fromnoise(PROMPT, *small, f"--memory={amount}")
    assert done.code == 2
    assert f"{amount!r} is no amount" in done.err
    assert "Traceback" not in done.err


def test_memory_enough_changes_no_byte_of_the_picture(fromnoise: FromNoise, small, tmp_path: Path) -> None:
    for name, amount in (("a.png", "auto"), ("b.png", "8GB")):
        assert fromnoise(PROMPT, *small, "-o", tmp_path / name, "--memory", amount).code == 0
    from fromnoise.images.pixels import read_picture

    a, b = (read_picture(tmp_path / name) for name in ("a.png", "b.png"))
    assert a.rgb == b.rgb


def test_offload_is_for_cards(fromnoise: FromNoise, small) -> None:
    done = fromnoise(PROMPT, *small, "--offload", "model")
    assert (done.code, "only a CUDA device has anything to offload" in done.err) == (2, True)
    assert "leave it out" in done.err
