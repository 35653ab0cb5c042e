"""The command line: `fromnoise "PROMPT"`, or a command. Paths go to stdout, everything else to stderr."""


def main() -> None:
    """Run `fromnoise` with the arguments of this process, and leave with its exit code."""
    from fromnoise.cli.app import app

    app.main(prog_name="fromnoise")
