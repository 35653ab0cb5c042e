"""`fromnoise score`: how often pictures show what their prompts say."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fromnoise.cli.commands import Command
from fromnoise.cli.following import Moment, follow
from fromnoise.cli.naming import check_folder
from fromnoise.cli.options import FILE, ours, whole_option
from fromnoise.cli.screen import Screen
from fromnoise.errors import RequestError
from fromnoise.names import WORLD_NAMES
from fromnoise.request import GenerateRequest

if TYPE_CHECKING:
    from torch import Tensor

    from fromnoise.pipeline import Pipeline
    from fromnoise.score import OracleReader, Progress, Report, Tier

TIERS: Final = (
    *("single", "two", "count", "colour", "position", "attribution"),
    *("place", "style", "pattern", "size", "complex", "wording"),
)
REQUEST_FIELDS: Final = ("steps", "guidance", "sampler", "spacing")


@click.command(cls=Command, context_settings={"token_normalize_func": ours})
@click.option("--tier", "tiers", type=click.Choice(TIERS), multiple=True, help="Only these; else all.")
@click.option("--world", type=click.Choice(WORLD_NAMES), help="Whose words to ask for; else the checker's.")
@whole_option("--prompts", low=2, default=100, help="Seen, per tier.")
@whole_option("--held-out", low=0, default=30, help="For each split.")
@whole_option("--seeds", low=1, default=2, help="Pictures a prompt.")
@click.option("--steps", type=int, metavar="N", help="As in fromnoise generate, and so are these:")
@click.option("--guidance", type=float, metavar="G")
@click.option("--sampler", metavar="NAME")
@click.option("--spacing", metavar="NAME")
@click.option("--model", metavar="FILE", help="Else the embedded model.")
@click.option("--oracle", type=FILE, metavar="FILE", help="The checker; else the embedded one.")
@click.option("--device", default="cpu", show_default=True, metavar="NAME")
@whole_option("--threads", low=1, help="CPU threads to use.")
@click.option("-o", "--out", type=FILE, metavar="FILE", help="Write the whole report there, as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON, not as a table.")
def command(**options: Any) -> None:
    """Draw many prompts, let a checker look at the pictures, and count what it found of what was asked."""
    out: Path | None = options["out"]
    if out is not None:
        check_folder(out.parent)
    report = scored(options)
    screen, data = Screen(), report.to_json()
    if options["as_json"]:
        screen.record(data)
    else:
        screen.text(report.to_markdown())
    if out is not None:
        from fromnoise.images.files import replace

        screen.say(f"wrote {replace(out, json.dumps(data, indent=1).encode())}")
    for miss in report.misses():
        screen.warn(miss)


def scored(options: Mapping[str, Any]) -> "Report":
    """Run the whole course."""
    request = GenerateRequest(prompt="", **{name: options[name] for name in REQUEST_FIELDS})
    import torch

    from fromnoise.loading import load
    from fromnoise.score import Report, Settings, load_oracle, score

    if options["threads"]:
        torch.set_num_threads(options["threads"])
    reader = load_oracle(options["oracle"], options["device"])
    pipe = load(options["model"], device=options["device"])
    tiers = chosen(reader, options)
    settings = Settings(seeds_per_prompt=options["seeds"], size=pipe.spec.defaults.width)
    last: list[Report] = []

    def tell(event: "Progress | Report") -> Moment:
        if isinstance(event, Report):
            last.append(event)
            looked_at = sum(row.pictures for row in event.rows if row.source != "floor")
            return Moment(looked_at, looked_at, "pictures")
        return Moment(event.done, event.of, f"{event.tier}, {event.split}, {event.source}")

    follow("score", score(drawing(pipe, request), reader, tiers, settings, rebuild=rebuilding(pipe)), tell)
    return last[0]


def chosen(reader: "OracleReader", options: Mapping[str, Any]) -> "tuple[Tier, ...]":
    """The tiers that are asked for; else all that the world has and the checker can judge.

    Raises: RequestError where the checker cannot judge what is asked for
    """
    from fromnoise.score import make_tiers, tiers_for
    from fromnoise.world import world_of

    world = world_of(options["world"]) if options["world"] else reader.world
    if not reader.knows(world):
        problem = f"the checker does not know all words of the {world.name} world"
        raise RequestError({"world": problem}, hint="name one that does: --oracle FILE")
    can = tiers_for(world, reader.blind)
    if blind := [name for name in options["tiers"] if name in tiers_for(world) and name not in can]:
        untold = " or ".join(sorted(reader.blind))
        problem = f"the checker cannot judge {blind[0]!r}: it does not tell {untold}"
        raise RequestError({"tier": problem}, hint="name one that can: --oracle FILE")
    return make_tiers(options["tiers"] or can, options["prompts"], options["held_out"], world=world)


def drawing(pipe: "Pipeline", request: GenerateRequest) -> "Callable[[list[str], list[int]], Tensor]":
    """What the score asks to draw: prompts and seeds to pixels."""
    from dataclasses import replace

    import torch

    from fromnoise.images.pixels import to_pixels

    def draw(prompts: list[str], seeds: list[int]) -> "Tensor":
        jobs = [
            replace(request, prompt=text, seeds=(seed,)) for text, seed in zip(prompts, seeds, strict=True)
        ]
        return torch.cat([to_pixels(pipe(job).pictures[0]) for job in jobs])

    return draw


def rebuilding(pipe: "Pipeline") -> "Callable[[Tensor], Tensor]":
    """Pixels through the autoencoder and back: what is lost before any network draws."""
    import torch

    @torch.inference_mode()
    def rebuild(pixels: "Tensor") -> "Tensor":
        latents = pipe.encoder(pixels.to(pipe.device, pipe.dtype)).mean
        return pipe.decoder(latents).float().clamp(-1, 1).cpu()

    return rebuild
