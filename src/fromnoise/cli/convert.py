"""`fromnoise convert SRC DST`: the same model as another kind of file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click

from fromnoise.cli.commands import Command
from fromnoise.cli.models import model_folders
from fromnoise.cli.options import FILE
from fromnoise.cli.screen import Screen
from fromnoise.durable import replacing
from fromnoise.errors import StorageError
from fromnoise.specs import Prediction

if TYPE_CHECKING:
    from fromnoise.weights.conversion_report import Report

KEEP: Final = "keep"
SHORT: Final = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
DTYPES: Final = (*SHORT.values(), *SHORT, KEEP)
FORMS: Final = ("ldm", "diffusers", "ours")  # those of weights.conversion, which would import torch


@click.command(cls=Command)
@click.argument("src")
@click.argument("dst", type=FILE)
@click.option("--to", type=click.Choice(FORMS), help="Else a folder is for diffusers, a file LDM's.")
@click.option("--dtype", type=click.Choice(DTYPES), default=KEEP, help="Round the numbers; else none is.")
@click.option("--ema", is_flag=True, help="Take the running averages of its weights.")
@click.option("--vae", metavar="FILE", help="Take the autoencoder from this file or folder.")
@click.option("--prediction", type=click.Choice(get_args(Prediction)), help="What the U-Net says.")
@click.option("--variant", metavar="NAME", help="Of a diffusers folder with several: fp16 …")
@click.option("--prune", is_flag=True, help="Leave out what no network reads: averages, schedules …")
@click.option("--force", is_flag=True, help="Replace what is there under DST's name.")
@click.option("--verify", is_flag=True, help="Read the result again, and compare every hash.")
@click.option("--report", type=FILE, metavar="FILE", help="Write the hash of every tensor, before and after.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but warnings and errors.")
def command(
    src: str, dst: Path, vae: str | None, dtype: str, report: Path | None, quiet: bool, **wishes: Any
) -> None:
    """Write the model in SRC as DST: .safetensors, .ckpt, or a folder for diffusers.

    SRC is a file, a folder, or a name that `fromnoise models` lists.

    No number changes unless --dtype asks for it. What was left out, and why, is said on standard error.
    """
    import torch

    from fromnoise.weights.catalogue import find_model
    from fromnoise.weights.conversion import Wishes, convert

    screen = Screen(quiet=quiet)
    source = find_model(src, model_folders())
    if report is not None:
        check_report(report, source, dst, force=wishes["force"])
    asked = Wishes(
        dtype=None if dtype == KEEP else getattr(torch, SHORT.get(dtype, dtype)),
        vae=None if vae is None else find_model(vae, model_folders(), role="VAE"),
        **wishes,
    )
    with screen.progress("converting") as bar:
        done = convert(source, dst, asked, spell, bar.show)
    if report is not None:
        write_report(done, report)
    for line in done.summary():
        screen.say(line)
    for doubt in done.doubts:
        screen.warn(doubt)
    screen.path(dst)


def spell(tokenizer: Mapping[str, Any]) -> tuple[Mapping[str, int], Sequence[tuple[str, str]]]:
    """Every symbol's id, and the merges."""
    from fromnoise.text import Tokenizer

    known = Tokenizer.from_json(tokenizer)
    return known.vocabulary(), known.merges


def check_report(report: Path, source: Path, target: Path, *, force: bool) -> None:
    """Refuse early what would fail after the work is done, or destroy something.  Raises: StorageError"""
    here = report.absolute()
    if not here.parent.is_dir():
        raise StorageError(f"there is no folder {here.parent}", hint="make it first, or name another")
    if here.resolve() in (source.resolve(), target.resolve()) or here.is_dir():
        raise StorageError(f"{report} cannot be the report", hint="give the name of another file")
    if here.exists() and not force:
        raise StorageError(f"{report} is there already", hint="--force replaces it")


def write_report(report: "Report", path: Path) -> None:
    """The whole account as JSON.  Raises: StorageError"""
    with replacing(path) as part:
        part.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
