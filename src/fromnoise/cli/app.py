"""The front door: a bare prompt means `generate`; commands are imported when they are called."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from fromnoise.cli.commands import DEBUG, Group
from fromnoise.cli.faults import report
from fromnoise.cli.screen import take_any_text, warnings_told
from fromnoise.version import VERSION

COMMANDS: Final[Mapping[str, str]] = {
    "generate": "Draw pictures from words; a bare prompt means this.",
    "replay": "Draw a picture again, from what its PNG says.",
    "info": "Show how a picture was made.",
    "inspect": "Find out what a file of weights is, and what is wrong with it.",
    "models": "List the models on this computer, and find one by its name.",
    "convert": "Write a model in another format, bit for bit.",
    "doctor": "Show what this machine and installation can do.",
    "train": "Train a model, stage by stage.",
    "score": "Count how often pictures show what their prompts say.",
    "world": "Look at the scenes that the embedded model learns from.",
    "completion": "Print a script that completes commands in your shell.",
}

USAGE: Final = """\
Usage: fromnoise "PROMPT" [OPTIONS]     options: fromnoise generate --help
       fromnoise COMMAND [OPTIONS]

  fromnoise "a red lighthouse on an island at sunset"
  fromnoise "a white cat in a meadow" -n 4 -o cat.png
  fromnoise "a blue boat in the sea at night" --image photo.jpg --strength 0.6
  fromnoise replay red-lighthouse-on-an-island-1234.png
"""


class App(Group):
    """`fromnoise` itself: help without loading the commands, errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the file of this name; its `command` is what runs."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"fromnoise.cli.{cmd_name}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What begins with neither a command nor our own option is a prompt, or an option of `generate`."""
        if args[:1] == [DEBUG]:  # of every command; `main` has read it
            args = args[1:]
        own = {*COMMANDS, *ctx.help_option_names, "--version"}
        if args and args[0] not in own:
            args = ["generate", *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples first."""
        formatter.write(USAGE)
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        self.format_options(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without the list of commands, which click would load one by one."""
        click.Command.format_options(self, ctx, formatter)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run, and leave with an exit code: errors.py lists them."""
        words = sys.argv[1:] if args is None else list(args)
        extra["standalone_mode"] = False
        take_any_text(sys.stdout)
        try:
            with warnings_told():
                code = super().main(words, *rest, **extra)
        except Exception as error:
            code = report(error, debug=DEBUG in words)
        sys.exit(code)


@click.command(cls=App, invoke_without_command=True)
@click.version_option(VERSION, prog_name="fromnoise", message="%(prog)s %(version)s")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Draw pictures from words, on your own computer."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
