"""`fromnoise world`: look at the scenes, and read their captions, without any model."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fromnoise.cli.commands import Group
from fromnoise.cli.naming import check_target
from fromnoise.cli.options import FILE, whole_option
from fromnoise.cli.screen import Screen
from fromnoise.names import WORLD_NAMES

if TYPE_CHECKING:
    from fromnoise.world import Scene

MAX_SCENES = 1024
AT_A_TIME = 16  # scenes rendered between two movements of the bar

count_option = whole_option("-n", "--count", low=1, high=MAX_SCENES, default=64, help="How many scenes.")
world_option = click.option(
    "--world",
    type=click.Choice(WORLD_NAMES),
    default=WORLD_NAMES[0],
    show_default=True,
    help="Its words: those of the embedded model, or all.",
)
seed_option = whole_option("--seed", low=0, default=0, help="Which scenes.")


@click.group(cls=Group)
def command() -> None:
    """Look at the scenes that the embedded model learns from."""


@command.command
@click.option(
    "-o", "--out", type=FILE, metavar="FILE", default="world.png", show_default=True, help="A .png."
)
@count_option
@seed_option
@world_option
@whole_option("--size", low=16, high=1024, default=128, help="Pixels a side.")
@whole_option("--columns", low=1, high=64, default=8, help="Scenes in a row.")
@click.option("--force", is_flag=True, help="Replace a file of that name; else the new one gets a number.")
def preview(out: Path, count: int, seed: int, world: str, size: int, columns: int, force: bool) -> None:
    """Draw scenes side by side in one picture, and print its path."""
    check_target(out)
    screen = Screen()
    with screen.progress("loading"):
        data = sheet_of(scenes(count, seed, world), size, columns, screen)
    from fromnoise.images.files import place, replace

    screen.path(replace(out, data) if force else place(out, data))


@command.command
@count_option
@seed_option
@world_option
@click.option("--held-out", is_flag=True, help="In phrasings that training never sees.")
@click.option("--json", "as_json", is_flag=True, help="Print each scene with its captions as a JSON object.")
def caption(count: int, seed: int, world: str, held_out: bool, as_json: bool) -> None:
    """Print a caption for each of some scenes, a line each."""
    from dataclasses import asdict

    from fromnoise.world import caption as phrase
    from fromnoise.world.captions import DENSITIES

    screen = Screen()
    for scene in scenes(count, seed, world):
        if as_json:
            said = {density: phrase(scene, seed, density, held_out=held_out) for density in DENSITIES}
            screen.record({"captions": said, "scene": asdict(scene)})
        else:
            screen.text(phrase(scene, seed, held_out=held_out))


def scenes(count: int, seed: int, world: str = "small") -> "list[Scene]":
    """The first scenes of a run."""
    from fromnoise.world import Mix, sample_scene, scene_seed, world_of

    mix = Mix(world=world_of(world))
    return [sample_scene(scene_seed(seed, index), mix) for index in range(count)]


def sheet_of(shown: "list[Scene]", size: int, columns: int, screen: Screen) -> bytes:
    """The scenes in rows, as the bytes of a PNG."""
    from fromnoise.request import Picture
    from fromnoise.train.sheet import sheet
    from fromnoise.world.render import render

    pictures: list[Picture] = []
    for first in range(0, len(shown), AT_A_TIME):
        rows = render(shown[first : first + AT_A_TIME], size).pixels.permute(0, 2, 3, 1).contiguous()
        pictures += [Picture(size, size, each.numpy().tobytes()) for each in rows]
        screen.bar.show(min(1.0, (first + AT_A_TIME) / len(shown)), "drawing")
    file = BytesIO()
    sheet(pictures, min(columns, len(shown))).save(file, "PNG")
    return file.getvalue()
