"""Long work that is followed to its end, or stopped in good order."""

import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import click

from fromnoise.cli.screen import Screen

T = TypeVar("T")

GOES_ON: Final = "the same command goes on from here"


@dataclass(frozen=True, slots=True)
class Moment:
    """How far it is, some figures, and what is worth a line of its own: a resume, another recipe."""

    done: int
    of: int
    figures: str = ""
    notes: tuple[str, ...] = ()


def follow(name: str, story: Iterator[T], tell: Callable[[T], Moment], stopped: str = GOES_ON) -> None:
    """Show how far a generator is. The first Ctrl-C stops it between two steps, a second one at once.

    `stopped`: what to say of it then
    Raises: click.Abort if it was stopped; by then the generator is closed, and has saved what it saves
    """
    screen, now = Screen(), Moment(0, 1)
    with screen.progress(name) as bar, stoppable() as asked, closing(cast(Generator[T], story)):
        for event in story:
            now = tell(event)
            for note in now.notes:
                screen.say(f"{name}: {note}")
            bar.show(now.done / now.of, line(name, now))
            if asked and now.done < now.of:
                break
    screen.say(line(name, now))
    if asked and now.done < now.of:
        screen.say(f"{name}: stopped; {stopped}")
        raise click.Abort


def line(name: str, now: Moment) -> str:
    """A moment in words."""
    return " · ".join(filter(None, (f"{name} {now.done}/{now.of}", now.figures)))


@contextmanager
def stoppable() -> Generator[list[int]]:
    """A list that stays empty until Ctrl-C or SIGTERM asks us to stop; the second time it is an exception."""
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)  # nothing else: the main program may be in the middle of a line

    former = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
