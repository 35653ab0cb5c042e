"""Long work on the screen, and how it is stopped."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import click
import pytest
from conftest import FromNoise

import fromnoise as package
from fromnoise.cli import screen as screens
from fromnoise.cli.following import Moment, follow, stoppable
from fromnoise.cli.screen import PlainBar, duration, moves

ALARMS = [signal.SIGINT, signal.SIGTERM]


class Work:
    """Steps that count, one of which gets a signal."""

    def __init__(self, steps: int, alarm: signal.Signals | None = None, at: int = 0) -> None:
        self.steps, self.alarm, self.at = steps, alarm, at
        self.done = 0
        self.saved: int | None = None

    def story(self) -> Iterator[int]:
        try:
            while self.done < self.steps:
                if self.alarm and self.done == self.at:
                    signal.raise_signal(self.alarm)
                self.done += 1
                yield self.done
        finally:
            self.saved = self.done

    def tell(self, done: int) -> Moment:
        return Moment(done, self.steps)


@pytest.mark.parametrize("alarm", ALARMS)
def test_a_signal_stops_after_the_step_and_saves(
    alarm: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    work, before = Work(9, alarm, at=4), signal.getsignal(alarm)
    with pytest.raises(click.Abort):
        follow("vae", work.story(), work.tell)
    assert (work.done, work.saved) == (5, 5)
    assert signal.getsignal(alarm) is before
    assert "vae 5/9\nvae: stopped; the same command goes on from here" in capsys.readouterr().err


def test_who_cannot_go_on_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(9, signal.SIGINT, at=4)
    with pytest.raises(click.Abort):
        follow("score", work.story(), work.tell, "nothing is kept")
    assert "score: stopped; nothing is kept\n" in capsys.readouterr().err


def test_a_signal_in_the_last_step_changes_nothing() -> None:
    work = Work(5, signal.SIGINT, at=4)
    follow("vae", work.story(), work.tell)
    assert (work.done, work.saved) == (5, 5)


def test_the_second_signal_is_an_exception() -> None:
    with stoppable() as asked:
        signal.raise_signal(signal.SIGTERM)
        assert asked == [signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_without_a_terminal_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 1.0, 11.0, 12.0, 21.0])
    monkeypatch.setattr(screens, "monotonic", lambda: next(now))
    bar = PlainBar()
    for done in (0.5, 0.6, 0.7, 0.75):  # resumed half way: 0.25 in 20 s, so 0.25 more in 20 s
        bar.show(done, "vae")
    assert capsys.readouterr().err == " 60% · vae · 40 s left\n 75% · vae · 20 s left\n"


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "0 s"), (99, "99 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_bar_moves_only_on_a_terminal_that_can() -> None:
    assert moves(is_terminal=True, kind="xterm")
    assert not moves(is_terminal=True, kind="dumb")
    assert not moves(is_terminal=False, kind="xterm")


@pytest.mark.parametrize("kind", ["xterm-256color", "dumb"])
def test_on_a_terminal_the_path_is_still_alone_on_stdout(kind: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "fromnoise", "world", "preview", "-n", "32", "--size", "16"]
    ours, theirs = pty.openpty()
    source = str(Path(package.__file__).parents[1])
    environment = os.environ | {"TERM": kind, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONPATH": source}
    with subprocess.Popen(words, stdout=PIPE, stderr=theirs, cwd=tmp_path, env=environment) as run:
        os.close(theirs)
        shown = read_all(ours)
        out, _ = run.communicate()
    assert (run.returncode, out) == (0, b"world.png\n"), shown
    assert ("━" in shown) == (kind != "dumb")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9;]*m", shown), "colours, in spite of NO_COLOR"


def read_all(terminal: int) -> str:
    data = b""
    try:
        while part := os.read(terminal, 65536):
            data += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    return data.decode()


# --- the stages themselves ---


def test_stages_leave_their_results_and_go_on_where_they_stopped(fromnoise: FromNoise) -> None:
    assert fromnoise("train", "pool", "run", "--tiny").out == "run/pool\n"
    assert fromnoise("train", "tokenizer", "run", "--tiny").out == "run/tokenizer.json\n"
    assert (
        fromnoise("train", "oracle", "run", "--tiny", "--steps", "1").out
        == "run/oracle/weights.safetensors\n"
    )
    again = fromnoise("train", "oracle", "run", "--tiny", "--steps", "2", "--batch", "4")
    assert again.code == 0
    assert "oracle: going on from step 1" in again.err
    assert "steps 1 -> 2" in again.err
    assert "batch 8 -> 4" in again.err
    assert re.search(r"^oracle 2/2 · loss [0-9.]+", again.err, re.MULTILINE)


def test_a_stage_names_the_one_before_it(fromnoise: FromNoise) -> None:
    fromnoise("train", "pool", "run", "--tiny")
    done = fromnoise("train", "latents", "run", "--tiny")
    assert done.code == 5
    assert "train them first: fromnoise train vae run" in done.err
