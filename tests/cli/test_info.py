"""What `fromnoise info` prints where text and its stream do not go together."""

import os
import shlex
from pathlib import Path

from click.testing import CliRunner
from conftest import FromNoise

from fromnoise.cli.app import app

FAST = ("--steps", "1", "--size", "8x8", "--seed", "1")


def test_what_a_stream_cannot_encode_is_escaped(fromnoise: FromNoise, model: Path) -> None:
    assert fromnoise("красный дом", "--model", model, "-o", "k.png", *FAST).code == 0
    shown = CliRunner(charset="cp1252").invoke(app, ["info", "k.png"])
    assert shown.exit_code == 0
    assert "\\u0434\\u043e\\u043c" in shown.stdout
    assert "fromnoise replay k.png" in shown.stdout


def test_the_command_names_a_file_byte_by_byte(fromnoise: FromNoise, model: Path) -> None:
    name = os.fsdecode(b"a\xff\n.png")
    fromnoise("a hill", "--model", model, "-o", "hill.png", *FAST)
    Path("hill.png").rename(name)
    shown = CliRunner().invoke(app, ["info", name])
    assert shown.exit_code == 0
    command = os.fsdecode(shown.stdout_bytes).partition("again")[2]
    assert shlex.split(command) == ["fromnoise", "replay", name]
