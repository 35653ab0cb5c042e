"""What went wrong, in one line and a hint; no traceback unless asked for."""

import traceback
from typing import Final

import click

from fromnoise.errors import FromNoiseError, OutOfMemory

BUG, USAGE, STOPPED = 1, 2, 130  # exit codes beside those in errors.py; 130 is 128 + SIGINT
REPORT: Final = "this is our mistake: please report it, with what --debug prints"


def report(error: Exception, *, debug: bool = False) -> int:
    """Tell stderr about an error, and give the exit code."""
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    message, hint, code = explained(error)
    click.echo(f"error: {message}" if code != STOPPED else message, err=True)
    if hint:
        click.echo(f"  hint: {hint}", err=True)
    return code


def explained(error: Exception) -> tuple[str, str, int]:
    """The message, the hint and the exit code for any exception."""
    match error:
        case FromNoiseError():
            return error.message, error.hint, error.exit_code
        case click.Abort():
            return "stopped", "", STOPPED
        case click.UsageError():
            return usage(error), f"{command_of(error)} --help", USAGE
        case click.ClickException():
            return error.format_message(), "", error.exit_code
        case MemoryError():
            return "there is not enough memory", "draw smaller, or fewer at a time", OutOfMemory.exit_code
        case _:
            return f"{type(error).__name__}: {one_line(str(error))}", REPORT, BUG


def usage(error: click.UsageError) -> str:
    """Click's complaints in our words."""
    match error:
        case click.NoSuchOption():
            near = f"; did you mean {error.possibilities[0]}?" if error.possibilities else ""
            return f"there is no option {error.option_name}{near}"
        case click.MissingParameter(param=click.Parameter() as parameter):
            return f"{name_of(parameter)} is missing"
        case click.BadParameter(param=click.Parameter() as parameter):
            return f"{name_of(parameter)}: {plain(error.message)}"
        case _:
            return plain(error.format_message())


def plain(message: str) -> str:
    """A sentence of click's as the rest of a line."""
    message = one_line(message).rstrip(".")
    return message if message[:2].isupper() else message[:1].lower() + message[1:]


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.split())


def name_of(parameter: click.Parameter) -> str:
    """The longest name of an option, or what an argument is called in the usage line."""
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.human_readable_name.strip(".").upper()


def command_of(error: click.UsageError) -> str:
    """The command line up to where the error was made."""
    return error.ctx.command_path if error.ctx else "fromnoise"
