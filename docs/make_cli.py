"""Write docs/cli.md from what `--help` says: `python docs/make_cli.py`."""

from collections.abc import Iterator
from pathlib import Path

import click

from fromnoise.cli.app import app

TARGET = Path(__file__).with_name("cli.md")
WIDTH = 100
HEAD = """# The command line

Made from `--help` by `python docs/make_cli.py`; a test compares the two.

| stream | what goes there |
|---|---|
| stdout | the path of each file that was written; with `--json` a JSON object a line; tables |
| stderr | progress, the seed, the command that draws the picture again, warnings, errors |

| exit code | what it means |
|---|---|
| 0 | done |
| 1 | a mistake of ours: please report it, with what `--debug` prints |
| 2 | the command line asks for something that cannot be |
| 3 | a model file does not hold what is needed |
| 4 | not enough memory, or numbers that are not finite |
| 5 | a file or folder cannot be read or written |
| 130 | stopped with Ctrl-C; what was finished is kept |
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *sections(app, None)])


def sections(command: click.Command, parent: click.Context | None) -> Iterator[str]:
    """A command's help, and that of the commands below it."""
    name = command.name if parent else "fromnoise"
    ctx = click.Context(command, parent, info_name=name, terminal_width=WIDTH, **command.context_settings)
    yield f"## {ctx.command_path}\n\n```text\n{command.get_help(ctx)}\n```\n"
    if isinstance(command, click.Group):
        for each in command.list_commands(ctx):
            child = command.get_command(ctx, each)
            assert child is not None
            child.name = each
            yield from sections(child, ctx)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
