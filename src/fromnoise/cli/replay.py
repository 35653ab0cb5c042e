"""`fromnoise replay PNG`: draw a picture again, from what its file says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fromnoise.cli.commands import Command
from fromnoise.cli.drawing import draw_all
from fromnoise.cli.info import made_by, record_in
from fromnoise.cli.options import FILE, Asked, drawing_options, ours
from fromnoise.cli.screen import Screen
from fromnoise.cli.sooner import check_sooner
from fromnoise.errors import RequestError
from fromnoise.request import GenerateRequest


@click.command(cls=Command, context_settings={"token_normalize_func": ours})
@click.argument("png", type=FILE)
@drawing_options
def command(png: Path, **options: Any) -> None:
    """Draw the picture in PNG again, exactly; options change what they name and nothing else.

    A picture that began from another one needs that one: --image FILE, and so with --mask and --refiner.
    """
    from fromnoise.images.metadata import read_request

    asked = Asked(**options)
    check_sooner(asked, replays=True)
    found = read_request(png)
    request = replace(found, **asked.fields(), seeds=asked.seeds() if asked.seed else found.seeds)
    if request.strength not in (None, 1) and asked.image is None:
        problem = f"{png.name} began from another picture"
        raise RequestError({"image": problem}, hint="name it: --image FILE")
    for name in record_in(png).get("given", ()):
        if getattr(asked, name, None) is None:
            problem = f"{png.name} was drawn with one"
            raise RequestError({name: problem}, hint=f"name it: --{name} FILE")
    times = asked.enlarge or shown_times(png, found)
    expect = made_by(png).get("model_hash", "")
    draw_all([request], replace(asked, enlarge=times), Screen(quiet=asked.quiet), expect=expect)


def shown_times(png: Path, request: GenerateRequest) -> int | None:
    """How many times larger than drawn the file is."""
    from fromnoise.images.pixels import opened

    with opened(png) as image:
        return max(1, image.width // request.width) if request.width else None
