"""`fromnoise score`: how often pictures show what their prompts say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from fromnoise.cli.commands import Command
from fromnoise.cli.faults import name_of
from fromnoise.cli.following import GOES_ON, Moment, follow
from fromnoise.cli.models import model_folders
from fromnoise.cli.naming import check_file
from fromnoise.cli.options import FILE, ours, whole_option
from fromnoise.cli.screen import Screen
from fromnoise.errors import RequestError, StorageError
from fromnoise.names import WORLD_NAMES
from fromnoise.request import GenerateRequest

if TYPE_CHECKING:
    from fromnoise.pipeline import Pipeline
    from fromnoise.score import OracleReader, Progress, Report, Tier

TIERS: Final = (
    *("single", "two", "count", "colour", "position", "attribution"),
    *("place", "style", "pattern", "size", "complex", "wording", "letter", "paper"),
)
REQUEST_FIELDS: Final = ("steps", "guidance", "sampler", "spacing")
# pictures of a full score, and of one that tells in minutes whether a training goes well
FULL: Final = {"prompts": 100, "held_out": 30, "seeds": 4, "pool": 10_000}
QUICK: Final = {"prompts": 12, "held_out": 4, "seeds": 2, "pool": 1000}
TO_LABEL: Final = 200
BEGINS_ANEW: Final = "the same command begins anew; with --keep FOLDER it would go on"
# what is read beside these two, which do something else than score
READ: Final[Mapping[str, tuple[str, ...]]] = {
    "labels": ("oracle",),
    "sheet_for_labels": (
        *("tiers", "world", "prompts", "held_out", "quick", "model", "oracle", "keep", "device", "threads"),
        *REQUEST_FIELDS,
    ),
}


@click.command(cls=Command, context_settings={"token_normalize_func": ours})
@click.option("--tier", "tiers", type=click.Choice(TIERS), multiple=True, help="Only these; else all.")
@click.option("--world", type=click.Choice(WORLD_NAMES), help="Whose words to ask for; else the checker's.")
@whole_option("--prompts", low=2, help=f"Seen, per tier; else {FULL['prompts']}.")
@whole_option("--held-out", low=0, help=f"For each split; else {FULL['held_out']}.")
@whole_option("--seeds", low=1, help=f"Pictures a prompt; else {FULL['seeds']}.")
@whole_option("--pool", low=2, help=f"Training scenes to look for copies in; else {FULL['pool']}.")
@click.option(
    "--quick", is_flag=True, help="Few of all: {prompts}, {held_out}, {seeds} and {pool}.".format(**QUICK)
)
@click.option("--steps", type=int, metavar="N", help="As in fromnoise generate, and so are these:")
@click.option("--guidance", type=float, metavar="G")
@click.option("--sampler", metavar="NAME")
@click.option("--spacing", metavar="NAME")
@click.option("--model", metavar="PATH|NAME", help="Else the embedded model.")
@click.option("--oracle", type=FILE, metavar="FILE", help="The checker; else the embedded one.")
@click.option("--clip", type=FILE, metavar="RUN", help="Score with the CLIP of this training run as well.")
@click.option("--keep", type=FILE, metavar="FOLDER", help="Keep pictures there; draw only what is missing.")
@click.option("--against", type=FILE, metavar="FILE", help="A report from before, to set beside this one.")
@click.option(
    "--sheet-for-labels", type=FILE, metavar="FOLDER", help=f"Only draw {TO_LABEL} pictures to label."
)
@click.option("--labels", type=FILE, metavar="FOLDER", help="Only compare the checker with these labels.")
@click.option("--device", default="cpu", show_default=True, metavar="NAME")
@whole_option("--threads", low=1, help="CPU threads to use.")
@click.option("-o", "--out", type=FILE, metavar="FILE", help="Write the whole report there, as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON, not as a table.")
@click.pass_context
def command(ctx: click.Context, **options: Any) -> None:
    """Draw many prompts, let a checker look at the pictures, and count what it found of what was asked."""
    out: Path | None = options["out"]
    check_read(ctx)
    if out is not None:
        check_file(out)
    usual = QUICK if options["quick"] else FULL
    options |= {name: usual[name] for name in usual if options[name] is None}
    screen = Screen()
    if options["labels"]:
        screen.text(labelled(options))
    elif options["sheet_for_labels"]:
        for path in sheets(options):
            screen.path(path)
    else:
        tell(screen, options, out)


def check_read(ctx: click.Context) -> None:
    """Refuse options that nobody would read.  Raises: RequestError"""
    for wish, read in READ.items():
        if ctx.params[wish] is None:
            continue
        for parameter in ctx.command.params:
            name = parameter.name or ""
            is_given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
            if is_given and name in ctx.params and name not in (wish, *read):
                option = name_of(parameter)
                problem = f"--{wish.replace('_', '-')} has no use for it"
                raise RequestError({option.removeprefix("--"): problem}, hint=f"leave out {option}")


def tell(screen: Screen, options: Mapping[str, Any], out: Path | None) -> None:
    """Score, print and write."""
    from fromnoise.images.files import replace
    from fromnoise.score import compared, to_markdown

    before = read_report(options["against"]) if options["against"] else None
    report = scored(options, before)
    if before:
        from dataclasses import replace as changed

        report = changed(report, sections=(*report.sections, compared(before, report)))
    data = report.to_json()
    if options["as_json"]:
        screen.record(data)
    else:
        screen.text(to_markdown(report))
    if out is not None:
        screen.say(f"wrote {replace(out, json.dumps(data, indent=1).encode())}")
    for miss in report.misses():
        screen.warn(miss)


def read_report(path: Path) -> "Report":
    """A report that was written with -o.  Raises: StorageError, RequestError"""
    from fromnoise.score import Report

    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise RequestError({"report": f"{path} is no JSON: {error}"}) from error
    return Report.from_json(data)


def scored(options: Mapping[str, Any], before: "Report | None" = None) -> "Report":
    """Run the whole course.  Raises: RequestError if it could not be compared with the one `before`"""
    from fromnoise.cli.score_parts import beside, drawing
    from fromnoise.score import Report, Settings, check_comparable, load_oracle, score

    request = requested(options)
    reader = load_oracle(options["oracle"], options["device"])
    pipe = loaded(options)
    tiers = chosen(reader, options)
    settings = Settings(seeds_per_prompt=options["seeds"], size=pipe.spec.defaults.width)
    draw = drawing(pipe, request, options["keep"])
    extras = beside(pipe, request, reader, tiers, options)
    if before:  # known before hours of drawing
        check_comparable(before.stamp, extras.stamp)
    last: list[Report] = []

    def moment(event: "Progress | Report") -> Moment:
        if isinstance(event, Report):
            last.append(event)
            looked_at = sum(row.pictures for row in event.rows if row.source != "floor")
            return Moment(looked_at, looked_at, "pictures")
        return Moment(event.done, event.of, f"{event.tier}, {event.split}, {event.source}")

    follow("score", score(draw, reader, tiers, settings, extras), moment, after_stop(options))
    return last[0]


def requested(options: Mapping[str, Any]) -> GenerateRequest:
    """How every picture is drawn.  Raises: RequestError"""
    return GenerateRequest(prompt="", **{name: options[name] for name in REQUEST_FIELDS})


def loaded(options: Mapping[str, Any]) -> "Pipeline":
    """The model that draws.  Raises: as `load`"""
    import torch

    from fromnoise.loading import load

    if options["threads"]:
        torch.set_num_threads(options["threads"])
    return load(options["model"], device=options["device"], folders=model_folders())


def after_stop(options: Mapping[str, Any]) -> str:
    """What the same command does if this one is stopped."""
    return GOES_ON if options["keep"] else BEGINS_ANEW


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


def sheets(options: Mapping[str, Any]) -> list[Path]:
    """Draw pictures for a person to label.  Raises: as `chosen` and `begin_labels`"""
    import torch

    from fromnoise.cli.score_parts import drawing
    from fromnoise.score import Labels, begin_labels, load_oracle, save_labels, to_label

    request = requested(options)
    tiers = chosen(load_oracle(options["oracle"]), options)
    labels = to_label(tiers, TO_LABEL)
    begin_labels(options["sheet_for_labels"])
    pipe = loaded(options)
    draw = drawing(pipe, request, options["keep"])
    parts: list[torch.Tensor] = []

    def drawn() -> Any:
        for label in labels:
            parts.append(draw([label.prompt], [label.seed]))
            yield len(parts)

    follow("pictures", drawn(), lambda done: Moment(done, len(labels)), after_stop(options))
    world = next(iter(tiers[0].prompts.values()))[0].scene.world
    found = Labels(pipe.model_hash, world, tuple(labels), torch.cat(parts))
    return save_labels(options["sheet_for_labels"], found)


def labelled(options: Mapping[str, Any]) -> str:
    """The checker beside a person, and where they differ."""
    from fromnoise.score import agreement, load_labels, load_oracle

    labels = load_labels(options["labels"])
    table, unlike = agreement(labels, load_oracle(options["oracle"])(labels.pixels))
    words = {True: "right", False: "wrong"}
    lines = [f"{label.number}: {label.prompt} (by hand {words[bool(label.right)]})" for label in unlike]
    return "\n".join((table.to_markdown(), "", *lines))
