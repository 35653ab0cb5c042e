"""`fromnoise info PNG`: how a picture was made."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from fromnoise.cli.commands import Command
from fromnoise.cli.options import FILE
from fromnoise.cli.screen import Screen
from fromnoise.cli.tables import columns
from fromnoise.errors import RequestError
from fromnoise.weights.wording import plain

AGAIN: Final = "again"
MAKERS: Final = ("model", "model_hash", "refiner", "refiner_hash", "version")


@click.command(cls=Command)
@click.argument("png", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def command(png: Path, as_json: bool) -> None:
    """Show the prompt and the settings that PNG was made with, and the command that makes it again."""
    facts = facts_of(png)
    screen = Screen()
    if as_json:
        screen.record(facts)
    else:
        screen.text(columns([row for name, value in lines(facts) for row in rows(name, value)]))


def facts_of(png: Path) -> dict[str, Any]:
    """What a picture file says of itself.  Raises: StorageError, RequestError if it says nothing"""
    from fromnoise.images.metadata import read_text
    from fromnoise.images.pixels import opened

    _, text = read_text(png)
    with opened(png) as image:
        facts = {"path": str(png), "width": image.width, "height": image.height}
    try:
        return facts | told(png)
    except RequestError as error:
        return facts | {"text": text, "problem": error.message}


def told(png: Path) -> dict[str, Any]:
    """What can be drawn again, and how.  Raises: StorageError, RequestError for words that are not ours"""
    from fromnoise.images.metadata import read_record
    from fromnoise.request import GenerateRequest

    record = read_record(png)
    return {
        "request": GenerateRequest.from_json(record["request"]).to_json(),
        **{name: str(record[name]) for name in MAKERS if record.get(name)},
        **{name: record[name] for name in ("loaded", "hashes") if record[name]},
        AGAIN: shlex.join(["fromnoise", "replay", str(png)]),
    }


def lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts for people: what was left open is not shown."""
    if "request" in facts:
        yield from settings(facts)
    for name in (*MAKERS, "text", "problem", AGAIN):
        if name in facts:
            yield name.replace("_", " "), facts[name]


def settings(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The request, how the model was loaded, and the files beside it."""
    request: Mapping[str, Any] = facts["request"]
    for name, value in request.items():
        if name not in ("schema", "width", "height", "seeds", "adapters") and value not in (None, "", 0.0):
            yield name, str(value)
    for use in request["adapters"] or ():
        yield "adapter", f"{use['name']}:{use['scale']:g}  {use['hash']}".strip()
    yield "seed", ", ".join(map(str, request["seeds"]))
    if request["width"]:
        yield "size", f"{request['width']}x{request['height']}, saved as {facts['width']}x{facts['height']}"
    for name, value in facts.get("loaded", {}).items():
        yield name, str(value)
    for name, digest in facts.get("hashes", {}).items():
        yield f"{name} hash", digest


def rows(name: str, value: str) -> Iterator[tuple[str, str]]:
    """One row a line, the name before the first."""
    if name == AGAIN:  # a command works as it is or not at all
        yield name, value
        return
    first, *others = map(plain, value.split("\n"))
    yield plain(name), first
    yield from (("", line) for line in others)
