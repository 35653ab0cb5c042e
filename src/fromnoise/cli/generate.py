"""`fromnoise "PROMPT"`: draw."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import click

from fromnoise.checks import MAX_PICTURES
from fromnoise.cli.app import COMMANDS
from fromnoise.cli.commands import Command
from fromnoise.cli.drawing import draw_all
from fromnoise.cli.options import SYNONYMS, Asked, drawing_options, ours, whole_option
from fromnoise.cli.screen import Screen
from fromnoise.errors import RequestError
from fromnoise.request import GenerateRequest

STDIN = "-"
KNOWN_AS = "Other programs' names for these work too: " + ", ".join(f"--{name}" for name in SYNONYMS)


@click.command(cls=Command, context_settings={"token_normalize_func": ours}, epilog=KNOWN_AS)
@click.argument("prompts", nargs=-1, required=True, metavar="PROMPT...")
@whole_option("-n", "--count", low=1, high=MAX_PICTURES, help="Pictures a prompt.")
@drawing_options
def command(prompts: tuple[str, ...], **options: Any) -> None:
    """Draw one picture or more for each PROMPT; "-" reads prompts from stdin, a line each.

    What is left open takes the model's own default. The path of each picture goes to stdout.
    """
    asked = Asked(**options)
    screen = Screen(quiet=asked.quiet)
    seeds, fields = asked.seeds(), asked.fields()
    requests = [GenerateRequest(prompt=text, seeds=seeds, **fields) for text in read_prompts(prompts, screen)]
    draw_all(requests, asked, screen)


def read_prompts(words: tuple[str, ...], screen: Screen) -> list[str]:
    """The prompts that the command line names.  Raises: RequestError"""
    if len(words) > 1 and not any(" " in word for word in words):
        raise RequestError({"prompt": f"{len(words)} prompts of one word each"}, hint=forgotten(words))
    if len(words) == 1 and (near := near_command(words[0])):
        screen.say(f"drawing {words[0]!r}; if you meant the command: fromnoise {near}")
    if STDIN not in words:
        return list(words)
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    piped = [line.strip() for line in text.split("\n") if line.strip()]
    if not piped:
        raise RequestError({"prompt": "stdin holds no text"}, hint='echo "a red house" | fromnoise -')
    return [prompt for word in words for prompt in (piped if word == STDIN else [word])]


def forgotten(words: Sequence[str]) -> str:
    """What somebody who typed several bare words may have meant."""
    if near := near_command(words[0]):
        return f"fromnoise {' '.join((near, *words[1:]))}"
    return f'one picture: fromnoise "{" ".join(words)}"; several: one prompt a line on stdin, fromnoise -'


def near_command(word: str) -> str | None:
    """The command that a word is a misspelling of."""
    return next(iter(get_close_matches(word, COMMANDS, n=1, cutoff=0.75)), None)
