"""What a person sees in pictures of a model, beside what the checker sees in them.

A folder of labels holds `pictures.png` (all of them, side by side, nothing lost), `labels.jsonl` (a first
line about the model, then one a picture), and, to be looked at, sheets with numbers and prompts. The
checker's verdict is nowhere in it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fromnoise.durable import make_folder, replacing
from fromnoise.errors import RequestError, StorageError
from fromnoise.images.pixels import from_image, opened, to_image, to_pictures, to_pixels
from fromnoise.score.plans import OVERALL
from fromnoise.score.tables import Section, Share, kappa
from fromnoise.score.tiers import Tier
from fromnoise.world.check import judge
from fromnoise.world.reading import parse
from fromnoise.world.seeing import Seen
from fromnoise.world.worlds import world_of

PICTURES: Final = "pictures.png"
LABELS: Final = "labels.jsonl"
ACROSS: Final = 20  # pictures in a row of `pictures.png`
ROW, ENLARGE, GAP = 5, 2, 8  # of the sheets: 5 x 5 pictures, twice as large
FONT_SIZE, LETTERS = 15, 36  # a line of a prompt
FIRST_SEED: Final = 9000


@dataclass(frozen=True, slots=True)
class Label:
    """A picture, and whether it is what its prompt says; None where nobody has looked yet."""

    number: int
    tier: str
    split: str
    prompt: str
    seed: int
    right: bool | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """What a person said of a model's pictures.  Shapes: pixels (N, 3, H, W) in [-1, 1]"""

    model_hash: str
    world: str
    labels: tuple[Label, ...]
    pixels: Tensor


def to_label(tiers: Sequence[Tier], count: int) -> list[Label]:
    """Prompts of the six tiers of GenEval, seen and held out in turn, each with a seed of its own.

    Raises: RequestError if the tiers hold fewer
    """
    queues = [
        [(tier.name, split, prompt.text) for prompt in prompts]
        for tier in tiers
        if tier.name in OVERALL
        for split, prompts in tier.prompts.items()
    ]
    longest = max(map(len, queues), default=0)
    chosen = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)][:count]
    if len(chosen) < count:
        raise RequestError({"labels": f"{count} pictures were asked for, of {len(chosen)} prompts"})
    return [Label(n, *each, seed=FIRST_SEED + n) for n, each in enumerate(chosen, start=1)]


def begin_labels(folder: Path) -> None:
    """Make the folder for labels.  Raises: StorageError if it cannot be made, or holds some already"""
    make_folder(folder)
    if (folder / LABELS).exists():
        raise StorageError(f"{folder / LABELS} is there already", hint="name another folder")


def save_labels(folder: Path, labels: Labels) -> list[Path]:
    """Write the pictures, the sheets and the list to fill in.  Raises: StorageError"""
    begin_labels(folder)
    images = [to_image(picture) for picture in to_pictures(labels.pixels, [0] * len(labels.pixels))]
    side = images[0].width
    rows = -(-len(images) // ACROSS)
    mosaic = Image.new("RGB", (min(ACROSS, len(images)) * side, rows * images[0].height))
    for n, image in enumerate(images):
        mosaic.paste(image, (n % ACROSS * side, n // ACROSS * image.height))
    with replacing(folder / PICTURES) as part:
        mosaic.save(part, format="PNG", optimize=True)
    about = {"model_hash": labels.model_hash, "world": labels.world, "side": side}
    lines = [about, *(asdict(label) for label in labels.labels)]
    with replacing(folder / LABELS) as part:
        part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return [folder / LABELS, *save_sheets(folder, images, labels.labels)]


def save_sheets(folder: Path, images: Sequence[Image.Image], labels: Sequence[Label]) -> Iterator[Path]:
    """Contact sheets with numbers and prompts, and nothing else.  Raises: StorageError"""
    each = ROW * ROW
    for at in range(0, len(images), each):
        path = folder / f"sheet-{at // each + 1:02d}.png"
        with replacing(path) as part:
            _sheet(images[at : at + each], labels[at : at + each]).save(part, format="PNG")
        yield path


def _sheet(images: Sequence[Image.Image], labels: Sequence[Label]) -> Image.Image:
    side, below = images[0].width * ENLARGE, 3 * (FONT_SIZE + 3)
    page = Image.new("RGB", (ROW * (side + GAP), -(-len(images) // ROW) * (side + below + GAP)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_SIZE)
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        left, top = k % ROW * (side + GAP), k // ROW * (side + below + GAP)
        page.paste(image.resize((side, side), Image.Resampling.LANCZOS), (left, top))
        text = "\n".join(wrap(f"{label.number}: {label.prompt}", LETTERS))
        pen.multiline_text((left + 2, top + side + 2), text, fill="black", font=font)
    return page


def load_labels(folder: Path) -> Labels:
    """Read what was labelled.  Raises: StorageError; RequestError for a damaged line, or a label left open"""
    try:
        about, *lines = (folder / LABELS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        hint = f"make one: fromnoise score --sheet-for-labels {folder}"
        raise StorageError(f"cannot read {folder / LABELS}: {error}", hint=hint) from error
    model_hash, world, side = _about(about)
    labels: list[Label] = [_parsed(line, number, Label) for number, line in enumerate(lines, start=2)]
    if not labels:
        raise RequestError({LABELS: "it holds no label"}, hint="a line a picture follows the first one")
    if open_ := [label.number for label in labels if not isinstance(label.right, bool)]:
        problem = f"{len(open_)} pictures have no label yet, the first is number {open_[0]}"
        raise RequestError({LABELS: problem}, hint='say "right": true or false in every line')
    with opened(folder / PICTURES) as mosaic:
        mosaic.load()
        boxes = ((n % ACROSS * side, n // ACROSS * side) for n in range(len(labels)))
        parts = [from_image(mosaic.crop((x, y, x + side, y + side))) for x, y in boxes]
    return Labels(model_hash, world, tuple(labels), torch.cat([*map(to_pixels, parts)]))


def _about(line: str) -> tuple[str, str, int]:
    """What the first line says: the model, the world, and the side of a picture."""
    match _parsed(line, 1, dict):
        case {"model_hash": str(model_hash), "world": str(world), "side": int(side)} if side > 0:
            return model_hash, world_of(world).name, side
        case _:
            hint = "leave that line as fromnoise score --sheet-for-labels wrote it"
            raise RequestError({LABELS: "line 1 does not say model_hash, world and side"}, hint=hint)


def _parsed(line: str, number: int, kind: Callable[..., Any]) -> Any:
    try:
        return kind(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise RequestError({LABELS: f"line {number} is no label: {error}"}) from error


def agreement(labels: Labels, seen: Sequence[Seen]) -> tuple[Section, tuple[Label, ...]]:
    """How often the checker says the same, as a table, and the pictures of which it does not."""
    world = world_of(labels.world)
    said = [
        judge(parse(label.prompt, world), shown, world).right
        for label, shown in zip(labels.labels, seen, strict=True)
    ]
    pairs = [(bool(label.right), verdict) for label, verdict in zip(labels.labels, said, strict=True)]
    table = [
        {
            "by hand": word,
            "checker: right": sum(a == hand and b for a, b in pairs),
            "checker: wrong": sum(a == hand and not b for a, b in pairs),
        }
        for hand, word in ((True, "right"), (False, "wrong"))
    ]
    agreed = Share(sum(a == b for a, b in pairs), len(pairs))
    note = (
        f"{len(pairs)} pictures of the model {labels.model_hash[:12]}…, all facts of the prompt together. "
        f"They agree on {agreed} %;\nCohen's kappa is {kappa(pairs):.2f}."
    )
    unlike = tuple(label for label, (hand, it) in zip(labels.labels, pairs, strict=True) if hand != it)
    return Section("The checker beside labels by hand", tuple(table), note), unlike
