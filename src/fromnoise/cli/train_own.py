"""`fromnoise train unet|lora|embedding FOLDER`: learn from one's own pictures."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fromnoise.cli.commands import Command
from fromnoise.cli.following import Moment, follow
from fromnoise.cli.models import model_folders
from fromnoise.cli.options import FILE, models_dir_option, whole_option
from fromnoise.cli.screen import Screen
from fromnoise.errors import RequestError
from fromnoise.names import WORLD_NAMES
from fromnoise.weights.wording import few

if TYPE_CHECKING:
    from fromnoise.pipeline import Pipeline
    from fromnoise.train.own import Session, Wishes
    from fromnoise.train.recipe import Progress

F = TypeVar("F", bound=Callable[..., Any])

# what a run of our own model's stages leaves in its folder
STAGES: Final = ("pool", "oracle", "vae", "clip", "latents", "unet", "decoder")
MIXED: Final = "a folder of pictures is learned by --model; a run's folder holds pool, tokenizer.json, vae …"
GIGABYTE: Final = 1e9


def learning_rate(text: str) -> float:
    """A number above 0, at most 1."""
    with suppress(ValueError):
        if 0 < (rate := float(text)) <= 1:
            return rate
    raise click.BadParameter(f"{text!r} is not a number above 0, and at most 1")


step_options = (
    whole_option("--steps", low=1, help="Train until this step."),
    whole_option("--batch", low=1, help="Pictures a step."),
    click.option("--lr", type=learning_rate, metavar="R", help="The learning rate at its highest."),
)
threads_option = whole_option("--threads", low=1, help="CPU threads to use.")
picture_options = (
    click.option("--model", metavar="PATH|NAME", help="What is to learn; else the embedded model."),
    models_dir_option,
    click.option("--prediction", metavar="P", help="What the model says, if its file does not: eps, v …"),
    click.option(
        "-o", "--out", type=FILE, metavar="FOLDER", help="Checkpoints, sheets, result; else NAME-KIND."
    ),
    whole_option("--size", low=8, help="Pixels a side of a square picture; others get as many in all."),
    click.option("--caption", metavar="TEXT", help="What is said of pictures that have no caption."),
    click.option("--file-names", is_flag=True, help="Their names are captions where they have none."),
    click.option(
        "--dropout", type=click.FloatRange(0, 1), metavar="P", help="Captions left empty; else 0.1."
    ),
    click.option("--shuffle", is_flag=True, help="Put tags between commas in another order each time ..."),
    whole_option("--keep", low=0, help="... but so many of the first."),
    whole_option("--held-out", low=0, help="Pictures that are only looked at; else one in 50."),
    whole_option("--prior", low=0, help="Learn so many pictures of the model's own beside: it forgets less."),
    click.option("--prior-prompt", multiple=True, metavar="TEXT", help="What those show; again for more."),
    click.option("--min-snr", type=float, metavar="G", help="eps and v: cap errors at little noise; else 5."),
    click.option("--no-ema", is_flag=True, help="Write the last weights, not their average."),
    click.option("--low-memory", is_flag=True, help="Gradient checkpointing: slower, far less memory."),
    click.option("--sample", multiple=True, metavar="TEXT", help="What sheets show; else captions."),
    whole_option("--sample-every", low=1, help="Steps between two sheets; else four in all."),
    whole_option("--seed", low=0, help="Of order, noise and first weights; else 0."),
)
PLURAL: Final = {"prior_prompt": "prior_prompts", "sample": "samples"}


def album_options(function: F) -> F:
    """What all three are told, beside steps."""
    return _told(function, picture_options)


def recipe(function: F) -> F:
    """What may be changed wherever steps are taken."""
    return _told(function, step_options)


folder_argument = click.argument("folder", type=FILE, metavar="FOLDER")


def _told(function: F, options: Sequence[Callable[[F], F]]) -> F:
    for option in reversed(options):
        function = option(function)
    return function


@click.command(cls=Command)
@folder_argument
@recipe
@threads_option
@album_options
@whole_option("--rank", low=1, help="Of the changes; else 16.")
@click.option("--alpha", type=float, metavar="A", help="They count alpha/rank; else as they are.")
@click.option("--layers", metavar="WHICH", help="attention (usual), transformer or all.")
@click.option("--text", is_flag=True, help="The text encoders learn too.")
@click.option("--format", metavar="NAME", help="kohya (usual) or peft.")
def lora(folder: Path, **told: Any) -> None:
    """Teach a model by a LoRA: a small file beside it, from a FOLDER of pictures."""
    learn("lora", folder, **told)


@click.command(cls=Command)
@folder_argument
@recipe
@threads_option
@album_options
@click.option("--word", required=True, metavar="WORD", help="What it is called in prompts, and the file.")
@click.option("--init", metavar="TEXT", help="What it is like, in words that the model knows.")
@whole_option("--vectors", low=1, help="Tokens that it takes; else 4.")
@click.option("--format", metavar="NAME", help="kohya (usual) or diffusers.")
def embedding(folder: Path, **told: Any) -> None:
    """Teach a model a word (textual inversion) from a FOLDER of pictures; the model stays as it is."""
    learn("embedding", folder, **told)


def is_run(folder: Path) -> bool:
    """Is it the folder of a run of our own model, by what stages leave?"""
    if (folder / "tokenizer.json").is_file():
        return True
    return any(
        (folder / name / "log.jsonl").is_file() or any((folder / name).glob("*.safetensors"))
        for name in STAGES
    )


def said(told: dict[str, Any]) -> dict[str, Any]:
    """What the command line does not leave open."""
    # by identity: 0 equals False, and is an answer
    return {n: value for n, value in told.items() if value is not None and value is not False and value != ()}


def only_for_pictures(told: dict[str, Any]) -> None:
    """Refuse what means nothing to a stage of our own model.  Raises: RequestError"""
    if names := list(said(told)):
        name = names[0].replace("_", "-")
        problem = "this folder is a run of our own model, whose stage has no use for it"
        raise RequestError({name: problem}, hint=MIXED)


def learn_whole(folder: Path, *, tiny: bool, world: str, **told: Any) -> None:
    """Train a whole U-Net on pictures.  Raises: RequestError for what only a run's stages are told"""
    for name, given in (("tiny", tiny), ("world", world != WORLD_NAMES[0])):
        if given:
            problem = f"{folder} is no run of our own model, and only its stages are told that"
            raise RequestError({name: problem}, hint=MIXED)
    learn("unet", folder, **told)


def learn(kind: str, folder: Path, **told: Any) -> None:
    """Find out what the folder holds, tell it, learn, and leave a file."""
    screen, model, threads = Screen(), told.pop("model"), told.pop("threads")
    special = {"prediction": told.pop("prediction"), "folders": model_folders(told.pop("models_dir"))}
    from fromnoise.train.own import name_of

    out = told.pop("out") or Path(f"{name_of(folder)}-{kind}")  # beside where one stands: flowers-lora
    wishes = wished(kind, told)
    with screen.progress("loading"):
        session = opened(folder, out, model, wishes, threads, special)
    screen.say(f"{kind}: {folder} is taken as a folder of pictures, for {model or 'the embedded model'}")
    for line in session.report():
        screen.say(line)
    screen.say(f"everything goes to {out}")
    if wishes.prior:
        follow("prior", session.draw_prior(), lambda done: Moment(done, wishes.prior))
    count = len(session.examples)
    follow("encode", session.encode(), lambda done: Moment(done, count))
    for note in (*session.cache.notes, *damaged(session)):
        screen.warn(note)
    train(session, screen)


def train(session: "Session", screen: Screen) -> None:
    """Train, and write the result."""
    from fromnoise.cli.train import Teller

    task = session.task()
    assert session.lessons is not None
    if cut := session.lessons.too_long():
        screen.warn(f"{len(cut):,} captions are too long, and their ends are left out: {few(cut)}")
    screen.say(f"{task.learner.count:,} numbers learn")
    teller, seconds = Teller(), list[float]()

    def tell(now: "Progress") -> Moment:
        seconds[:] = [now.seconds_a_step]
        return teller(now)

    follow(session.wishes.kind, session.train(task), tell)
    if seconds[0]:
        screen.say(f"{seconds[0]:.2f} s a step{memory()}")
    file, word = session.write(task), session.wishes.word
    if word not in ("", file.stem):
        screen.say(f"its file has another name; draw with --embedding {quote(f'{word}={file}')}")
    screen.path(file)


def memory() -> str:
    """The most memory this process ever had, where the system tells."""
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return ""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f", at most {peak / GIGABYTE:.2f} GB of memory"


def damaged(session: "Session") -> list[str]:
    """Pictures whose headers were sound, and nothing else."""
    skipped = session.cache.skipped
    if not skipped:
        return []
    named = few([f"{skip.name} ({skip.detail or skip.reason})" for skip in skipped])
    return [f"{len(skipped):,} pictures cannot be decoded and are left out: {named}"]


def wished(kind: str, told: dict[str, Any]) -> "Wishes":
    """What was asked for, with names as Python has them.  Raises: RequestError"""
    from fromnoise.train.own import Wishes

    wishes = {PLURAL.get(name, name): value for name, value in said(told).items()}
    if wishes.pop("no_ema", False):
        wishes["ema"] = None
    return Wishes(kind=kind, **wishes)  # pyright: ignore[reportArgumentType]  # one of three commands


def opened(
    folder: Path, out: Path, model: str | None, wishes: "Wishes", threads: int | None, special: dict[str, Any]
) -> "Session":
    """The model and the pictures, looked at."""
    import torch

    from fromnoise.train.own import Session

    if threads:
        torch.set_num_threads(threads)
    return Session(folder, out, loaded(model, wishes, special), wishes)


def loaded(model: str | None, wishes: "Wishes", special: dict[str, Any]) -> "Pipeline":
    """The model, plain; in float32 where all of it learns."""
    from fromnoise.loading import load

    dtype = "float32" if wishes.kind == "unet" else "auto"
    return load(model, dtype=dtype, engine="plain", **special)
