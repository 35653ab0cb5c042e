"""`fromnoise info PNG`: how a picture was made."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from fromnoise.cli.commands import Command
from fromnoise.cli.options import FILE
from fromnoise.cli.screen import Screen
from fromnoise.cli.tables import columns

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
        screen.text(columns(list(lines(facts))))


def facts_of(png: Path) -> dict[str, Any]:
    """What a picture file says of itself.  Raises: StorageError, RequestError if it says nothing"""
    from fromnoise.images.metadata import read_request
    from fromnoise.images.pixels import opened

    request = read_request(png)
    with opened(png) as image:
        size = {"width": image.width, "height": image.height}
    return {
        "path": str(png),
        **size,
        "request": request.to_json(),
        **made_by(png),
        "again": shlex.join(["fromnoise", "replay", str(png)]),
    }


def record_in(png: Path) -> Mapping[str, Any]:
    """Our own record of how a picture was made; empty where another program drew it."""
    from fromnoise.images.metadata import OURS
    from fromnoise.images.pixels import opened

    with opened(png) as image:
        image.load()
        return json.loads(image.info.get(OURS, "{}"))


def made_by(png: Path) -> dict[str, str]:
    """The models and the version of fromnoise; empty where another program drew the picture."""
    record = record_in(png)
    return {name: str(record[name]) for name in MAKERS if record.get(name)}


def lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts for people: what was left open is not shown."""
    request: Mapping[str, Any] = facts["request"]
    for name, value in request.items():
        if name not in ("schema", "width", "height", "seeds") and value not in (None, "", 0.0):
            yield name, str(value)
    yield "seed", ", ".join(map(str, request["seeds"]))
    if request["width"]:
        yield "size", f"{request['width']}x{request['height']}, saved as {facts['width']}x{facts['height']}"
    for name in (*MAKERS, "again"):
        if name in facts:
            yield name.replace("_", " "), facts[name]
