"""Help, completion, speed, and what is not imported."""

import os
import resource
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FromNoise

import fromnoise as package
from fromnoise.cli import WAITING, YOUNG
from fromnoise.cli.app import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"
HEAVY = ("torch", "rich", "PIL", "numpy", "safetensors", "jaxtyping", "regex")
LISTEN = """
import sys
from fromnoise.cli.app import app
try:
    app.main(sys.argv[1:], prog_name="fromnoise")
finally:
    print(*sorted(set(sys.modules) & {heavy!r}), file=sys.stderr)
"""


def python(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, env=os.environ | environment
    )


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["generate", "--help"], ["train", "--help"], ["a red house", "--steps", "0"]],
    ids=" ".join,
)
def test_nothing_heavy_is_imported_before_there_is_work(words: list[str]) -> None:
    run = python("-c", LISTEN.format(heavy=set(HEAVY)), *words)
    assert run.stderr.splitlines()[-1] == ""


def test_help_takes_less_than_200_ms_of_processor_time() -> None:
    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def once() -> float:
        before = spent()
        assert python("-m", "fromnoise", "--help").stdout.startswith("Usage: fromnoise")
        return spent() - before

    assert min(once() for _ in range(3)) < 0.2


def test_python_looks_for_garbage_seldom_and_not_at_the_end() -> None:
    """Both cost a whole second where torch is imported."""
    run = python(
        "-c",
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 0))\n"  # runs last
        "from fromnoise.cli import main\n"
        "sys.argv = ['fromnoise', '--version']\n"
        "main()",
    )
    assert run.stdout.splitlines()[-1] == f"{YOUNG} True"


@pytest.mark.parametrize(
    ("said", "patience"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_sleep_soon_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], patience: str
) -> None:
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    run = python(
        "-c",
        "import atexit, os, sys\n"
        "atexit.register(lambda: print(os.environ.get('GOMP_SPINCOUNT')))\n"
        "from fromnoise.cli import main\n"
        "sys.argv = ['fromnoise', '--version']\n"
        "main()",
    )
    assert run.stdout.splitlines()[-1] == patience


def test_help_is_short_and_names_every_command(fromnoise: FromNoise) -> None:
    for words in (["--help"], ["-h"], []):
        done = fromnoise(*words)
        assert done.code == 0
        assert len(done.out.splitlines()) <= 25
        assert all(f"  {name} " in done.out for name in COMMANDS)


def test_debug_may_stand_before_a_command_or_a_prompt(fromnoise: FromNoise) -> None:
    assert fromnoise("--debug", "doctor", "--help").out == fromnoise("doctor", "--help").out
    refused = fromnoise("--debug", "a red house", "--steps", "0")
    assert "Traceback" in refused.err
    assert "steps: 0 is outside" in refused.err


def test_every_command_has_help(fromnoise: FromNoise) -> None:
    for name in COMMANDS:
        done = fromnoise(name, "--help")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("Usage: ")


def test_the_version_is_ours(fromnoise: FromNoise) -> None:
    assert fromnoise("--version").out == f"fromnoise {package.__version__}\n"


def test_the_page_about_the_command_line_is_up_to_date() -> None:
    made = runpy.run_path(str(DOCS / "make_cli.py"))["page"]()
    assert made == (DOCS / "cli.md").read_text(encoding="utf-8"), "run: python docs/make_cli.py"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, fromnoise: FromNoise) -> None:
    done = fromnoise("completion", shell)
    assert done.code == 0
    assert "_FROMNOISE_COMPLETE" in done.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("fromnoise wo", {"world"}),
        ("fromnoise x --sa", {"--sampler"}),
        ("fromnoise x --sampler eul", {"euler", "euler_a"}),
    ],
)
def test_shells_complete_commands_options_and_names(typed: str, offered: set[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    run = python("-m", "fromnoise", _FROMNOISE_COMPLETE="bash_complete", **words)
    assert {line.partition(",")[2] for line in run.stdout.splitlines()} == offered
