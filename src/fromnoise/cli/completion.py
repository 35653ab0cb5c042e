"""`fromnoise completion SHELL`: a script that completes our commands, options and names."""

import click
from click.shell_completion import get_completion_class

from fromnoise.cli.commands import Command

VARIABLE = "_FROMNOISE_COMPLETE"  # click looks for it when the script asks back


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a completion script for SHELL.

    \b
    bash:  eval "$(fromnoise completion bash)"            in ~/.bashrc
    zsh:   eval "$(fromnoise completion zsh)"             in ~/.zshrc
    fish:  fromnoise completion fish | source             in ~/.config/fish/config.fish
    """
    maker = get_completion_class(shell)
    assert maker is not None, shell
    click.echo(maker(ctx.find_root().command, {}, "fromnoise", VARIABLE).source())
