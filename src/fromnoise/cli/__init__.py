"""The command line: `fromnoise "PROMPT"`, or a command. Paths go to stdout, everything else to stderr."""

import atexit
import gc
import os
from typing import Final

# Objects made before Python looks for garbage among them. Its own 700 suit a small program: importing torch
# makes 190,000 that all stay, and to go through them again and again takes a fifth of the import.
YOUNG: Final = 20_000

# How often threads look whether the others are done, before they sleep. libgomp's own 300,000 suit who is
# alone on a processor: beside one busy program on two cores a small picture took 11 seconds in place of 7,
# beside two of them 33 in place of 10. This number libgomp takes itself where it has more threads than cores.
PATIENCE: Final = "1000"
SPINS: Final = "GOMP_SPINCOUNT"
WAITING: Final = ("OMP_WAIT_POLICY", SPINS)  # what a user may have said of it


def main() -> None:
    """Run `fromnoise` with the arguments of this process, and leave with its exit code."""
    if not any(name in os.environ for name in WAITING):
        os.environ[SPINS] = PATIENCE  # before torch is imported: it is read once
    gc.set_threshold(YOUNG)
    atexit.register(gc.freeze)  # memory goes back as a whole; to pick it apart takes most of a second
    from fromnoise.cli.app import app

    app.main(prog_name="fromnoise")
