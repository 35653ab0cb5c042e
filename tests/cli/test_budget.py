"""`--budget` and `--preset`, from the command line to the PNG."""

import json
from dataclasses import fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from fromnoise.cli.options import Asked, duration
from fromnoise.cli.screen import Screen
from fromnoise.cli.sooner import sooner
from fromnoise.engine import pace
from fromnoise.engine.rates import Rates
from fromnoise.errors import RequestError
from fromnoise.images.metadata import read_request
from fromnoise.loading import load
from fromnoise.request import GenerateRequest
from fromnoise.specs import TINY
from fromnoise.weights.native import Parts, save_native

PER_STEP = 2.0  # seconds for twenty million operations: about three for each guided step of this model


class Even(Rates):
    """Every operation takes equally long, so that what is chosen does not depend on the machine."""

    def look(self, work: Any) -> None:
        pass

    def seconds(self, work: Any) -> float:
        return PER_STEP / 2e7 * sum(each.flops for each in work)


@pytest.fixture
def slow(build: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TINY's shape with 20 steps, on a machine that takes seconds for each."""
    monkeypatch.setattr(pace, "Rates", Even)
    parts: Parts = build(replace(TINY, defaults=replace(TINY.defaults, width=32, height=32, steps=20)))
    path = tmp_path_factory.mktemp("slow") / "slow.safetensors"
    save_native(parts, path)
    return path


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("30", 30), ("2min", 120), ("1.5 m", 90), (".5h", 1800), ("7 sec", 7)]
)
def test_times(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0s", "-3s", "3 days", "1e3", "nan"])
def test_what_is_no_time_is_refused(text: str, fromnoise: Any) -> None:
    run = fromnoise("a red house", f"--budget={text}")
    assert run.code == 2
    assert "such as 30s or 2min" in run.err


def test_what_fits_is_chosen_said_drawn_and_in_the_picture(fromnoise: Any, slow: Path) -> None:
    run = fromnoise("a red house", "--model", slow, "--seed", "3", "--budget", "16s")
    assert run.code == 0, run.err
    (said,) = [line for line in run.err.splitlines() if "about" in line]
    request = read_request(run.paths[0])
    assert f"steps {request.steps}" in said
    assert request.steps is not None
    assert request.steps < 20
    assert "--budget" not in run.again[0]
    again = fromnoise("replay", run.paths[0], "--model", slow, "-o", "again.png")
    assert again.code == 0, again.err
    assert again.paths[0].read_bytes() == run.paths[0].read_bytes()


def test_what_is_set_stays_and_the_budget_is_for_all_pictures(fromnoise: Any, slow: Path) -> None:
    words = ("--model", slow, "--sampler", "ddim", "--reuse", "1", "--budget", "40s", "--dry-run")
    one, three = (fromnoise("a red house", "-n", n, "--seed", "1", *words) for n in ("1", "2"))
    assert (one.code, three.code) == (0, 0), one.err + three.err
    requests = [json.loads(run.out.splitlines()[0]) for run in (one, three)]
    requests = [request.get("request", request) for request in requests]
    assert [(r["sampler"], r["reuse"]) for r in requests] == [("ddim", 1)] * 2
    assert requests[1]["steps"] < requests[0]["steps"]


def test_too_little_is_refused_before_anything_is_drawn(fromnoise: Any, slow: Path, tmp_path: Path) -> None:
    run = fromnoise("a red house", "--model", slow, "--budget", "1s")
    assert run.code == 2
    assert "budget" in run.err
    assert "the quickest way needs about" in run.err
    assert not list(tmp_path.glob("*.png"))


def test_what_has_passed_is_taken_off(slow: Path) -> None:
    pipe, request, screen = load(slow), GenerateRequest(prompt="a red house"), Screen(quiet=True)
    blank: dict[str, Any] = {each.name: None for each in fields(Asked)}
    asked = Asked(**blank | {"budget": 100.0})
    (found,) = sooner([request], asked, screen, pipe, None, pipe.settled, perf_counter())
    (later,) = sooner([request], asked, screen, pipe, None, pipe.settled, perf_counter() - 70)
    assert found == request
    assert (later.reuse, later.steps) != (found.reuse, found.steps)
    with pytest.raises(RequestError, match=r"too few: the quickest way needs about 1\d\d s"):
        sooner([request], asked, screen, pipe, None, pipe.settled, perf_counter() - 100)


def test_a_preset(fromnoise: Any, slow: Path) -> None:
    run = fromnoise("a red house", "--model", slow, "--seed", "3", "--preset", "quick", "--guidance", "4")
    assert run.code == 0, run.err
    request = read_request(run.paths[0])
    assert (request.steps, request.reuse, request.guidance, request.sampler) == (20, 3, 4, "dpmpp_2m")
    assert "quick: " in run.err


def test_what_does_not_go_together(fromnoise: Any, slow: Path, tmp_path: Path) -> None:
    both = fromnoise("a red house", "--budget", "9s", "--preset", "quick")
    assert (both.code, "not both" in both.err) == (2, True)
    (tmp_path / "house.png").write_bytes(b"")
    repeated = fromnoise("replay", "house.png", "--budget", "9s")
    assert (repeated.code, "leave out --budget" in repeated.err) == (2, True)
