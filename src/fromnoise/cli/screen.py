"""Who gets to read what: paths and JSON on stdout, everything else on stderr, a bar only on a terminal."""

import json
import os
import sys
import warnings
from codecs import lookup
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

if TYPE_CHECKING:
    from rich.progress import Progress

PLAIN_EVERY: Final = 10.0  # seconds between lines where there is no terminal


class Bar(Protocol):
    """How far something long has come."""

    def show(self, done: float, note: str) -> None:
        """Tell how much is done, 0 to 1, and what is going on."""
        ...

    def hide(self) -> None:
        """Make room for a line."""
        ...

    def back(self) -> None:
        """Come back after the line."""
        ...


class NoBar:
    """For those who asked for quiet."""

    def show(self, done: float, note: str) -> None:
        """Tell nothing."""

    def hide(self) -> None:
        """Nothing is in the way."""

    def back(self) -> None:
        """Nothing was there."""


class PlainBar(NoBar):
    """A line now and then: what a log wants."""

    def __init__(self) -> None:
        self.told = monotonic()
        self.first: tuple[float, float] | None = None  # when, and how much was done by then

    def show(self, done: float, note: str) -> None:
        """Tell, unless it was told just now."""
        now = monotonic()
        self.first = self.first or (now, done)
        if now - self.told < PLAIN_EVERY:
            return
        self.told = now
        click.echo(f"{done:4.0%} · {note}{self.left(now, done)}", err=True)

    def left(self, now: float, done: float) -> str:
        """How long it will take, as far as one can tell."""
        began, before = self.first or (now, done)
        if done <= before or done >= 1:
            return ""
        return f" · {duration((now - began) * (1 - done) / (done - before))} left"


class RichBar:
    """A bar that moves."""

    def __init__(self, progress: "Progress", note: str) -> None:
        self.progress, self.task = progress, progress.add_task(note, total=1.0)

    def show(self, done: float, note: str) -> None:
        """Move."""
        self.progress.update(self.task, completed=done, description=note)

    def hide(self) -> None:
        """Make room for a line, which may go to another stream than the bar does."""
        self.progress.stop()

    def back(self) -> None:
        """Come back after the line."""
        self.progress.start()


def take_any_text(stream: object) -> None:
    """Let a stream escape what its encoding lacks, and write names of files that are no UTF-8 as they are."""
    if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
        is_utf8 = lookup(stream.encoding).name == "utf-8"
        stream.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


@contextmanager
def warnings_told() -> Generator[None]:
    """Tell our own warnings as we tell others, without the line of code that they come from."""
    usual = warnings.showwarning

    def tell(message: Warning | str, category: type[Warning], *where: Any) -> None:
        if issubclass(category, RuntimeWarning):
            Screen().warn(str(message))
        else:
            usual(message, category, *where)

    with warnings.catch_warnings():
        warnings.showwarning = tell
        yield


class Screen:
    """Where a command shows its work."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar: Bar = NoBar()

    def path(self, path: Path) -> None:
        """A file that is there now, on stdout; as bytes, for a name need not be text."""
        self._line(os.fsencode(path))

    def record(self, facts: Mapping[str, Any]) -> None:
        """A JSON object on one line, on stdout."""
        self._line(json.dumps(facts))

    def text(self, text: str) -> None:
        """What was asked for, on stdout."""
        self._line(text)

    def say(self, text: str) -> None:
        """Something nice to know."""
        if not self.quiet:
            self._line(text, err=True)

    def warn(self, text: str) -> None:
        """Something that the user did not want, and should know."""
        self._line(f"warning: {text}", err=True)

    def _line(self, text: str | bytes, *, err: bool = False) -> None:
        self.bar.hide()
        click.echo(text, err=err)
        self.bar.back()

    @contextmanager
    def progress(self, note: str) -> Generator[Bar]:
        """A bar while something long goes on."""
        with self._bar(note) as self.bar:
            try:
                yield self.bar
            finally:
                self.bar = NoBar()

    @contextmanager
    def _bar(self, note: str) -> Generator[Bar]:
        if self.quiet:
            yield NoBar()
        elif not moves(sys.stderr.isatty(), os.environ.get("TERM", "")):
            yield PlainBar()
        else:
            with rich_progress() as progress:
                yield RichBar(progress, note)


def moves(is_terminal: bool, kind: str) -> bool:
    """Whether a bar can be drawn over itself."""
    return is_terminal and kind != "dumb"


def rich_progress() -> "Progress":
    """A bar on stderr that goes away when it is done; rich itself looks at NO_COLOR."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def duration(seconds: float) -> str:
    """12 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
