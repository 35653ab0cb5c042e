"""`fromnoise replay PNG`: draw a picture again, from what its file says."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from fromnoise.checks import SIDE_STEP
from fromnoise.cli.commands import Command
from fromnoise.cli.drawing import draw_all
from fromnoise.cli.options import FILE, Asked, drawing_options, ours
from fromnoise.cli.screen import Screen
from fromnoise.cli.sooner import check_sooner
from fromnoise.errors import RequestError
from fromnoise.request import GenerateRequest, spelled
from fromnoise.weights.wording import few

MOST_TOLD: Final = 8  # settings that are left out


@click.command(cls=Command, context_settings={"token_normalize_func": ours})
@click.argument("png", type=FILE)
@drawing_options
def command(png: Path, **options: Any) -> None:
    """Draw the picture in PNG again, exactly; options change what they name and nothing else.

    What it was drawn with beside the model is to be named again: --image FILE, and so with --mask, --refiner,
    --vae and --embedding.
    """
    from fromnoise.images.metadata import read_record
    from fromnoise.images.parameters import LEFT_OUT

    asked = Asked(**options)
    screen = Screen(quiet=asked.quiet)
    check_sooner(asked, replays=True)
    record = read_record(png)
    changes = asked.fields() | ({"seeds": asked.seeds()} if asked.seed else {})
    request = GenerateRequest.from_json(record["request"] | spelled(changes))
    check_given(png, request, record, asked)
    loaded = dict(record["loaded"])
    if (together := loaded.pop("batch", 1)) > 1:
        screen.warn(f"it was drawn in a batch of {together}; its last bits may differ")
    asked = loaded_alike(asked, loaded)
    times = asked.enlarge or shown_times(png, record["request"].get("width"))
    if left := record[LEFT_OUT]:
        screen.warn(f"of its settings these are left out: {few(left, MOST_TOLD)}")
    draw_all([request], replace(asked, enlarge=times), screen, expect=hashes_in(record))


def check_given(png: Path, request: GenerateRequest, record: Mapping[str, Any], asked: Asked) -> None:
    """Demand what the picture was drawn with and does not hold.  Raises: RequestError"""
    if request.strength not in (None, 1) and asked.image is None:
        problem = f"{png.name} began from another picture"
        raise RequestError({"image": problem}, hint="name it: --image FILE")
    for name in record["given"]:
        if getattr(asked, name, None) is None:
            problem = f"{png.name} was drawn with one"
            raise RequestError({name: problem}, hint=f"name it: --{name} FILE")


def loaded_alike(asked: Asked, loaded: Mapping[str, Any]) -> Asked:
    """The model loaded as it was then, where the command line says nothing else."""
    return replace(asked, **{name: value for name, value in loaded.items() if getattr(asked, name) is None})


def hashes_in(record: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the files that a picture was drawn with, where they are known, or how these begin."""
    models = {name: record.get(f"{name}_hash", "") for name in ("model", "refiner")}
    return {name: digest for name, digest in (models | record["hashes"]).items() if digest}


def shown_times(png: Path, width: Any) -> int | None:
    """How many times larger than drawn the file is; None where it does not say."""
    from fromnoise.images.pixels import opened

    with opened(png) as image:
        return max(1, image.width // width) if isinstance(width, int) and width >= SIDE_STEP else None
