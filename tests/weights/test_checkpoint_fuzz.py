"""Damaged files, thousands of them: each is read or refused, soon. `make fuzz` goes on and on."""

import time
from pathlib import Path

import pytest
from fuzzing import LONG, ROADS, Count, Watch, case_of, outcome, run_case


def fuzz(folder: Path, rounds: int, seed: int) -> tuple[int, int]:
    """How many mutated checkpoints were read, and how many refused."""
    write, read = ROADS["checkpoint"](folder), 0
    for number in range(rounds):
        path = write(case_of("checkpoint", seed, number))
        began = time.process_time()
        message = outcome(path)
        assert message.isprintable(), (seed, number)
        assert time.process_time() - began < LONG, (seed, number)
        read += not message
    return read, rounds - read


def test_ten_thousand_damaged_checkpoints_are_read_or_refused(tmp_path: Path) -> None:
    read, refused = fuzz(tmp_path, rounds=10_000, seed=0)
    assert read > 200
    assert refused > 5_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_a_hundred_thousand_damaged_checkpoints_are_read_or_refused(tmp_path: Path, seed: int) -> None:
    fuzz(tmp_path, rounds=10_000, seed=seed)


@pytest.mark.parametrize(
    ("road", "rounds"), [("checkpoint", 500), ("safetensors", 1_000), ("folder", 500), ("names", 50)]
)
def test_damaged_files_of_every_kind_are_read_or_refused_by_all_doors(
    tmp_path: Path, road: str, rounds: int
) -> None:
    write, watch, count = ROADS[road](tmp_path), Watch(tmp_path), Count()  # the watch hears nothing here
    for number in range(rounds):
        assert run_case(write, case_of(road, 0, number), watch, count) == "", (road, number)
    assert count.accepted > rounds / 100
    assert count.refused > rounds / 4 or road == "names"  # `inspect` tells of those that it can open
