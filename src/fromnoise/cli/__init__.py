"""The command line: `fromnoise "PROMPT"`, or a command. Paths go to stdout, everything else to stderr."""

import atexit
import gc
from typing import Final

# Objects made before Python looks for garbage among them. Its own 700 suit a small program: importing torch
# makes 190,000 that all stay, and to go through them again and again takes a fifth of the import.
YOUNG: Final = 20_000


def main() -> None:
    """Run `fromnoise` with the arguments of this process, and leave with its exit code."""
    gc.set_threshold(YOUNG)
    atexit.register(gc.freeze)  # memory goes back as a whole; to pick it apart takes most of a second
    from fromnoise.cli.app import app

    app.main(prog_name="fromnoise")
