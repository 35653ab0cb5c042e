"""What every command shares: `-h`, `--debug`, and a word on the nearest name where one is unknown."""

from typing import Any, Final

import click

from fromnoise.errors import did_you_mean

SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
DEBUG: Final = "--debug"


def debug_option() -> click.Option:
    """Read by `App.main`, which catches what commands raise."""
    about = "Show the traceback of an error."
    return click.Option([DEBUG], is_flag=True, expose_value=False, help=about)


class Command(click.Command):
    """A command of fromnoise."""

    def __init__(self, *args: Any, **extra: Any) -> None:
        extra["context_settings"] = SETTINGS | (extra.get("context_settings") or {})
        super().__init__(*args, **extra)
        self.params.append(debug_option())


class Group(click.Group):
    """Commands under one name."""

    command_class = Command

    def __init__(self, *args: Any, **extra: Any) -> None:
        extra["context_settings"] = SETTINGS | (extra.get("context_settings") or {})
        super().__init__(*args, **{"no_args_is_help": False, **extra})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, in the order in which they were written down."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names."""
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"no command {args[0]!r}; {did_you_mean(args[0], names)}", ctx)
        return super().resolve_command(ctx, args)


Group.group_class = Group
