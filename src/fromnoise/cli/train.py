"""`fromnoise train STAGE RUN_FOLDER`: train a model, or go on where it was stopped."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fromnoise.cli.commands import Group
from fromnoise.cli.following import Moment, follow
from fromnoise.cli.models import model_folders
from fromnoise.cli.options import FILE, whole_option
from fromnoise.cli.screen import Screen
from fromnoise.cli.train_own import (
    album_options,
    embedding,
    is_run,
    learn_whole,
    lora,
    only_for_pictures,
    recipe,
    threads_option,
)
from fromnoise.errors import RequestError, StorageError
from fromnoise.names import WORLD_NAMES

if TYPE_CHECKING:
    from fromnoise.train.presets import Preset
    from fromnoise.train.recipe import Progress

F = TypeVar("F", bound=Callable[..., Any])

MODEL_FILE, ORACLE_FILE = "model.safetensors", "oracle.safetensors"
ABOUT: Final = """Train a model in RUN_FOLDER, stage by stage: pool, tokenizer, oracle, vae, (decoder,) clip,
latents, unet, (turbo,) assemble. Or teach a model your own pictures: unet, lora or embedding, and a FOLDER
of them. What was stopped, or killed, goes on where it was; Ctrl-C saves first."""


folder_argument = click.argument("folder", type=FILE, metavar="RUN_FOLDER")
tiny_option = click.option("--tiny", is_flag=True, help="A rehearsal in seconds; give it at every stage.")
world_option = click.option(
    "--world",
    type=click.Choice(WORLD_NAMES),
    default=WORLD_NAMES[0],
    show_default=True,
    help="The words of the scenes; give it at every stage.",
)
device_option = click.option("--device", metavar="NAME", help="cuda, or auto; else cpu.")


def stage(function: F) -> F:
    """What every stage is told."""
    for option in (threads_option, world_option, tiny_option, folder_argument):
        function = option(function)
    return function


@click.group(cls=Group, commands=[lora, embedding], help=ABOUT)
def command() -> None:
    """Train a model."""


@command.command
@stage
@click.option("--model", metavar="PATH|NAME", help="Else the embedded model.")
def unpack(folder: Path, tiny: bool, world: str, threads: int | None, model: str | None) -> None:
    """Take a model apart into an empty RUN_FOLDER, so that its training can go on: pool, latents, unet."""
    from fromnoise.train.unpacking import unpack as take_apart
    from fromnoise.weights.catalogue import find_model
    from fromnoise.weights.model_loader import EMBEDDED, load_model

    source = model if model in (None, EMBEDDED) else find_model(model, model_folders())
    take_apart(load_model(source), folder, begun(tiny, world, threads).spec)
    Screen().path(folder)


@command.command
@stage
@whole_option("--scenes", low=1, help="How many; may grow later.")
def pool(folder: Path, tiny: bool, world: str, threads: int | None, scenes: int | None) -> None:
    """Render the scenes that every later stage learns from."""
    from dataclasses import replace

    from fromnoise.train.stages import make_pool

    preset = begun(tiny, world, threads)
    preset = replace(preset, scenes=scenes or preset.scenes)
    follow("pool", make_pool(folder, preset), lambda done: Moment(min(done, preset.scenes), preset.scenes))
    Screen().path(folder / "pool")


@command.command
@stage
def tokenizer(folder: Path, tiny: bool, world: str, threads: int | None) -> None:
    """Learn the words of the captions."""
    from fromnoise.train.handover import TOKENIZER
    from fromnoise.train.stages import train_tokenizer

    made = train_tokenizer(folder, begun(tiny, world, threads))
    screen = Screen()
    screen.say(f"{made.size} tokens")
    screen.path(folder / TOKENIZER)


@command.command
@stage
@recipe
@device_option
def oracle(folder: Path, **told: Any) -> None:
    """Train the checker, which names what a picture shows."""
    from fromnoise.train.stages import train_oracle

    fit("oracle", train_oracle, folder, **told)


@command.command
@stage
@recipe
@device_option
def vae(folder: Path, **told: Any) -> None:
    """Train the autoencoder between pixels and latents."""
    from fromnoise.train.stages import train_vae

    fit("vae", train_vae, folder, **told)


@command.command
@stage
@recipe
@device_option
def decoder(folder: Path, **told: Any) -> None:
    """Go on with the decoder alone, if you like; after vae, at any time."""
    from fromnoise.train.stages import train_decoder

    fit("decoder", train_decoder, folder, **told)


@command.command
@stage
@recipe
@device_option
def clip(folder: Path, **told: Any) -> None:
    """Train the text encoder, against pictures."""
    from fromnoise.train.stages import train_clip

    fit("clip", train_clip, folder, **told)


@command.command
@stage
@device_option
def latents(folder: Path, tiny: bool, world: str, threads: int | None, device: str | None) -> None:
    """Encode every picture of the pool once, and measure mean and spread."""
    from fromnoise.train.handover import LATENTS, POOL
    from fromnoise.train.pool import open_pool
    from fromnoise.train.stages import cache_latents, measure_latents

    preset, of = begun(tiny, world, threads), len(open_pool(folder / POOL))
    preset = preset.told("vae", device=device or preset.vae.device)
    follow("latents", cache_latents(folder, preset), lambda done: Moment(done, of))
    measure_latents(folder, preset)
    Screen().path(folder / LATENTS)


@command.command
@click.argument("folder", type=FILE, metavar="FOLDER")
@tiny_option
@world_option
@threads_option
@recipe
@device_option
@album_options
@click.option("--from-scratch", is_flag=True, help="Begin with random weights; the rest is the model's.")
@click.option("--format", metavar="NAME", help="ldm (A1111's single file), diffusers or ours.")
def unet(folder: Path, tiny: bool, world: str, **told: Any) -> None:
    """Train the network that draws: the next stage of a RUN_FOLDER, or on a FOLDER of your own pictures.

    What the folder holds decides, and is said first. Options from --model on are for pictures.
    """
    if not is_run(folder):
        if told.pop("device"):
            raise RequestError({"device": "own pictures are learned on the CPU"}, hint="leave --device out")
        learn_whole(folder, tiny=tiny, world=world, **told)
        return
    from fromnoise.train.stages import train_unet

    Screen().say(f"unet: {folder} is taken as a run of our own model")
    steps = {name: told.pop(name) for name in ("steps", "batch", "lr", "threads", "device")}
    only_for_pictures(told)
    fit("unet", train_unet, folder, tiny=tiny, world=world, **steps)


@command.command
@stage
@recipe
@device_option
@click.option("--newer-unet", is_flag=True, help="Go on, though the U-Net has been trained further since.")
def turbo(folder: Path, *, newer_unet: bool, **told: Any) -> None:
    """Train an adapter that draws in four steps, if you like; after unet."""
    from fromnoise.train.stages import train_turbo

    fit("turbo", partial(train_turbo, newer_unet=newer_unet), folder, **told)


@command.command
@stage
@click.option("-o", "--out", type=FILE, metavar="FILE", help=f"RUN_FOLDER/{MODEL_FILE} if not given.")
@click.option("--small", is_flag=True, help="Most weights as bytes: little more than half the file.")
@click.option("--force", is_flag=True, help="Replace files of these names.")
def assemble(
    folder: Path, tiny: bool, world: str, threads: int | None, out: Path | None, small: bool, force: bool
) -> None:
    """Put the trained parts into one model file, the checker and turbo beside it, and checksums."""
    from fromnoise.nets.oracle import Oracle
    from fromnoise.score import save_oracle
    from fromnoise.train.handover import ORACLE, TURBO, has_weights, load_part
    from fromnoise.train.stages import assemble as put_together
    from fromnoise.weights.own_adapters import beside

    model = out or folder / MODEL_FILE
    checker, quick = model.with_name(ORACLE_FILE), beside(model, TURBO)
    if taken := [path for path in (model, checker, quick) if path.exists() and not force]:
        raise RequestError({"out": f"{taken[0]} is there already"}, hint="--force replaces it")
    if not model.parent.is_dir():
        raise StorageError(f"there is no folder {model.parent}", hint=f"mkdir -p {model.parent}")
    preset, can_judge = begun(tiny, world, threads), has_weights(folder / ORACLE)
    oracle = load_part(Oracle(preset.oracle_spec), folder / ORACLE) if can_judge else None
    put_together(folder, model, preset, small=small)
    screen = Screen()
    screen.path(model)
    if has_weights(folder / TURBO):
        screen.path(quick)
    if oracle:
        save_oracle(oracle, checker, world=preset.world)
        screen.path(checker)


def begun(tiny: bool, world: str, threads: int | None) -> "Preset":
    """The recipes of this model."""
    import torch

    from fromnoise.train.presets import run_for
    from fromnoise.world import world_of

    if threads:
        torch.set_num_threads(threads)
    return run_for(world_of(world), tiny=tiny)


def fit(
    name: str,
    train: "Callable[[Path, Preset], Iterator[Progress]]",
    folder: Path,
    *,
    tiny: bool,
    world: str,
    threads: int | None,
    **changes: float | str | None,
) -> None:
    """Train one stage to its end, or until somebody stops it."""
    from fromnoise.train.handover import WEIGHTS

    preset = begun(tiny, world, threads).told(name, **{key: v for key, v in changes.items() if v is not None})
    follow(name, train(folder, preset), Teller())
    Screen().path(folder / name / WEIGHTS)


class Teller:
    """A training's progress in a few words; figures stay until there are newer ones."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def __call__(self, now: "Progress") -> Moment:
        """Tell this moment."""
        self.figures |= now.figures
        words = [f"{name} {value:.4g}" for name, value in self.figures.items()]
        if now.pictures_per_second:
            words.append(f"{now.pictures_per_second:.1f} pictures/s")
        return Moment(now.step, now.of, " · ".join(words), now.notes)
