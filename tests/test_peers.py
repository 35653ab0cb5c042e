"""What the comparison with other programs makes of its figures: benchmarks/peers."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("benchmarks.peers", reason="run from the repository's root")

from benchmarks.peers.job import Job
from benchmarks.peers.race import Failed, missing, spent
from benchmarks.peers.systems import SYSTEMS, our_drawing
from benchmarks.peers.table import HEADS, best_peer, limits, markdown, rows, step


def found(seconds: float) -> dict[str, Any]:
    return {
        "first": {"cold": 9.0, "warm": 4.0},
        "steps": [seconds + 1, seconds, seconds - 1],
        "decodes": [2 * seconds],
        "peak": {"steps": 1e9, "all": 2e9},
        "error": {"U-Net": 0.004},
        "versions": {"torch": "2"},
    }


RESULTS: dict[str, Any] = {
    "date": "2026-01-01",
    "commit": "abc",
    "processor": "a processor",
    "threads": 2,
    "load": 0.0,
    "size": 512,
    "number": "bf16",
    "machine": {
        "peaks": {"bf16 matmul": 4.0, "bf16 conv": 5.0, "int8 conv": 10.0},
        "flops": {"step": {"conv": 10.0, "matmul": 8.0}, "decode": {"conv": 20.0, "matmul": 0.0}},
    },
    "systems": {
        "fromnoise": found(3.0),
        "diffusers": found(6.0),
        "openvino": found(4.0),
        "sdcpp": {"failed": "not installed: stable_diffusion_cpp"},
    },
}


def test_ours_is_compared_with_the_best_of_the_others() -> None:
    assert best_peer(RESULTS["systems"], step) == 4.0
    ours, *_ = rows(RESULTS)
    assert ours[3:5] == ["3.00 (2.00–4.00)", "0.75"]
    assert ours[5:7] == ["6.00 (6.00–6.00)", "0.75"]


def test_everybody_calculates_in_the_same_numbers_and_says_so() -> None:
    peaks = {"fp32 matmul": 2.0, "fp32 conv": 2.5, "int8 conv": 10.0}
    machine = {"peaks": peaks, "flops": RESULTS["machine"]["flops"]}
    table = rows(RESULTS | {"number": "fp32", "machine": machine})
    names = [row[0] for row in table]
    assert names == ["**fromnoise, fp32**", "diffusers, fp32", "OpenVINO, fp32", "limit, fp32", "limit, int8"]
    assert table[3][3] == "8.00"


def test_the_limit_is_what_the_products_take_at_their_own_peaks() -> None:
    assert limits(RESULTS, lambda peaks, kind: peaks[f"bf16 {kind}"]) == (10 / 5 + 8 / 4, 20 / 5)
    assert [row[3] for row in rows(RESULTS)[-2:]] == ["4.00", "1.80"]


def test_every_row_has_every_column_and_who_failed_is_named_below() -> None:
    text = markdown(RESULTS)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {len(HEADS) + 1}
    assert len(table) == 2 + 3 + 2
    assert "stable-diffusion.cpp: no figures. not installed" in text


def test_a_job_survives_its_journey_to_another_process(tmp_path: Path) -> None:
    job = Job(
        home=tmp_path,
        size=64,
        threads=2,
        number="fp32",
        compiled=tmp_path / "cold",
        picture=tmp_path / "a.png",
    )
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json") == job


def test_a_child_that_fails_says_its_last_line(tmp_path: Path) -> None:
    job, log = Job(home=tmp_path), tmp_path / "log"
    words = [sys.executable, "-c", "print('warm'); raise SystemExit('out of luck')"]
    with pytest.raises(Failed, match=r"exit 1, out of luck"):
        spent(words, log, job)
    names = ["OMP_NUM_THREADS", "TORCHINDUCTOR_CACHE_DIR"]
    tell = f"import os, json; print(json.dumps([os.environ[name] for name in {names}]))"
    log.unlink()
    spent([sys.executable, "-c", tell], log, replace(job, threads=3, compiled=tmp_path / "cold"))
    assert json.loads(log.read_text()) == ["3", str(tmp_path / "cold")]


def test_what_is_missing_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "g++" in missing("compiled")
    assert missing("fromnoise") == []


def test_our_picture_is_drawn_by_a_command_that_the_command_line_understands(tmp_path: Path) -> None:
    from fromnoise.cli.generate import command

    words = our_drawing(Job(home=tmp_path, picture=tmp_path / "a.png"), SYSTEMS["fromnoise"].options)
    context = command.make_context("generate", words[3:])
    assert context.params["dtype"] == "bfloat16"
    assert context.params["model"] == str(tmp_path / "sd15.safetensors")
