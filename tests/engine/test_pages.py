"""Torch asks Linux for large pages, if we ask it before its first tensor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import fromnoise
from fromnoise.cli.app import app
from fromnoise.engine.pages import ASKED, ask_for_large_pages

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
FAULTS = """
import resource, torch
{}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.empty(64 * 2**20, dtype=torch.uint8).fill_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
ASK = "from fromnoise.engine.pages import ask_for_large_pages; ask_for_large_pages()"


def test_what_the_user_said_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ASKED, "0")
    ask_for_large_pages()
    assert os.environ[ASKED] == "0"


@pytest.mark.skipif(
    not SWITCH.exists() or "[madvise]" not in SWITCH.read_text(),
    reason="large pages are always given, or never",
)
def test_memory_is_touched_in_fewer_pieces() -> None:
    def faults(ask: str) -> int:
        env = {name: value for name, value in os.environ.items() if name != ASKED}
        words = [sys.executable, "-c", FAULTS.format(ask)]
        return int(subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout)

    assert faults("") > 16_000  # 4 kB each
    assert faults(ASK) < 8_000


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has said anything, and afterwards it is as it was."""
    monkeypatch.setenv(ASKED, "")
    monkeypatch.delenv(ASKED)


@pytest.mark.usefixtures("silent")
def test_the_command_line_asks() -> None:
    CliRunner().invoke(app, ["--version"])
    assert os.environ[ASKED] == "1"


@pytest.mark.usefixtures("silent")
def test_loading_asks() -> None:
    fromnoise.load()
    assert os.environ[ASKED] == "1"
