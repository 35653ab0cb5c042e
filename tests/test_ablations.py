"""What the table of ablations says of itself: benchmarks/ablations.py."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fromnoise.train.recipe import Recipe

pytest.importorskip("benchmarks.peers", reason="run from the repository's root")

from benchmarks import ablations

ROW = {"flow": 0.5, "misled": 0.1, **dict.fromkeys(ablations.JUDGED, 50.0)}


@pytest.fixture
def caption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Make an arm at some commit, and read what the table says of how its arms were made."""
    monkeypatch.setattr(ablations, "trained", lambda *_: {"": ROW})
    monkeypatch.setattr(ablations, "processor", lambda: "2 x Chip")
    monkeypatch.setattr(ablations.shapes, "today", lambda: "2026-01-02")

    def ask(arm: str, commit: str) -> str:
        monkeypatch.setattr(ablations, "commit", lambda: commit)
        monkeypatch.setattr(sys, "argv", ["ablations", str(tmp_path), "--arms", arm])
        ablations.main()
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Made: "))

    return ask


def test_figures_keep_the_commit_that_they_were_made_at(caption: Any) -> None:
    first = "2026-01-02, commit aaa, 2 x Chip, 60 prompts a tier"
    assert caption("as it is", "aaa").startswith(f"Made: {first}. Each from nothing, with 51,200 pictures")
    assert f"Made: {first}. Each" in caption("as it is", "bbb")
    assert f"Made: {first}; {first.replace('aaa', 'bbb')}. Each" in caption("half the rate", "bbb")


def test_figures_from_before_that_was_noted_are_of_unknown_origin(caption: Any, tmp_path: Path) -> None:
    kept = tmp_path / "ablations" / "figures-51200.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps({"as it is": {"": ROW}, "without both": {"": ROW}}))
    assert "Made: unknown. Each" in caption("as it is", "aaa")
    assert "Made: unknown; 2026-01-02, commit aaa," in caption("half the rate", "aaa")


class Line:
    """A task of a few numbers."""

    name = "line"

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.modules = nn.Linear(2, 1)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        return (self.modules(torch.ones(1, 2)) - step).square().sum(), {}


def test_averages_of_other_lengths_survive_a_stop(tmp_path: Path) -> None:
    recipe, lengths = Recipe(steps=9, batch=1, lr=0.1), (0.05, 0.2)

    def run_in(name: str, steps: int) -> ablations.Averaging:
        run = ablations.Averaging(Line(), recipe, tmp_path / name, lengths)  # type: ignore[arg-type]
        for _ in range(steps):
            run.train_step()
        run.save()
        return run

    whole = run_in("whole", 8)
    run_in("halves", 3)
    halves = run_in("halves", 5)
    assert list(halves.others) == ["average of 0.05", "average of 0.2"]
    for name, ema in whole.others.items():
        assert torch.equal(ema.averages["weight"], halves.others[name].averages["weight"])
