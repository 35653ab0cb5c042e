"""Make the parts of the documentation that a program can make better than a hand.

python docs/make.py words                                 the tables in docs/world.md
python docs/make.py card [--model FILE] [--score FILE]    the facts in docs/model-card.md
python docs/make.py card --keep FOLDER [--quick] [--clip RUN] [--run RUN]
                                                          all of the card; goes on where it stopped
python docs/make.py labels                                the checker beside labels by hand, in the card
python docs/make.py uncurated [--model FILE]              docs/pictures/uncurated.png
python docs/make.py gallery [--model FILE]                docs/pictures/gallery.png
python docs/make.py sheet                                 docs/pictures/world-full.png and letters.png
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count, cycle, islice
from pathlib import Path
from textwrap import wrap
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from fromnoise import Pipeline, load
from fromnoise.images.pixels import MIDDLE, to_pictures
from fromnoise.score import Report, agreement, load_labels, load_oracle, make_tiers, to_markdown
from fromnoise.score.plans import OVERALL, SEEN
from fromnoise.train.handover import CLIP, DECODER, ORACLE, UNET, VAE
from fromnoise.train.log import Log
from fromnoise.train.sheet import sheet as tiles
from fromnoise.weights.model_loader import FOLDER, MODEL_FILE
from fromnoise.weights.native import Parts, load_native
from fromnoise.world import (
    FULL,
    SMALL,
    SPELLING,
    Mix,
    Scene,
    Thing,
    World,
    parse,
    publish,
    sample_scene,
    scene_seed,
)
from fromnoise.world.render import render
from fromnoise.world.splits import withheld_pairs
from fromnoise.world.vocabulary import COUNTS, LETTERS

DOCS = Path(__file__).parent
EMBEDDED = FOLDER / MODEL_FILE

PROMPTS = (
    "a red lighthouse on an island at sunset",
    "a purple whale in the sea at night",
    "a white cat in a meadow by day",
    "a blue car in the desert at sunset",
    "a yellow balloon in the snow by day",
    "a pink house on a beach at sunset",
    "an orange fish in the sea by day",
    "a black castle in the snow at night",
    "three yellow balloons on a beach by day",
    "a gold star on paper",
    "a green cat in a forest by day",
    "a blue whale in the desert by day",
)
SEED = 0  # of every picture: none is picked
UNCURATED = 20  # pictures in the card
LABELS = DOCS / "labels"
POINTS = 12  # of the curve
COLUMNS, ENLARGE, GAP = 4, 2, 6
FONT_SIZE = 13
BELOW = FONT_SIZE + 6  # pixels, for a line of the prompt
LONGEST = 38  # letters of such a line

TILE, ACROSS, FIRST = 96, 6, 24  # pixels of a scene, scenes in a row, scenes as they come
LOOKS = (  # what is drawn in every style
    Scene(9, "city", "night", (Thing("robot", "blue", 0.5, 0.62, 0.5),), weather="rainy", world="full"),
    Scene(5, "garden", "day", (Thing("owl", "teal", 0.5, 0.6, 0.5),), weather="clear", world="full"),
)

STAGES = (ORACLE, VAE, DECODER, CLIP, UNET)  # in the order they are trained; a model file has them by name


# --- the gallery ---


def unseen(prompt: str) -> bool:
    """Does the prompt name a combination that training never showed?"""
    atoms = parse(prompt)
    return any(
        (thing.colour, thing.kind) in withheld_pairs("H1")
        or (atoms.setting, thing.kind) in withheld_pairs("H4")
        or (thing.count > 1 and (COUNTS[thing.count - 1], thing.kind) in withheld_pairs("H3"))
        for thing in atoms.things
    )


def gallery(pipe: Pipeline, prompts: tuple[str, ...] = PROMPTS, lines: int = 1) -> Image.Image:
    """One picture a prompt, its prompt below it in so many lines; a star marks what training never showed."""
    pictures = [pipe(prompt, seed=SEED).images[0] for prompt in prompts]
    wide, high = (side * ENLARGE for side in pictures[0].size)
    rows = -(-len(prompts) // COLUMNS)
    below = BELOW * lines
    page = Image.new("RGB", (COLUMNS * (wide + GAP) - GAP, rows * (high + below + GAP) - GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_SIZE)
    for k, (prompt, picture) in enumerate(zip(prompts, pictures, strict=True)):
        left, top = k % COLUMNS * (wide + GAP), k // COLUMNS * (high + below + GAP)
        page.paste(picture.resize((wide, high), Image.Resampling.LANCZOS), (left, top))
        text = prompt + " *" * unseen(prompt)
        text = "\n".join(wrap(text, LONGEST)) if lines > 1 else text
        pen.multiline_text((left + 2, top + high + 2), text, fill="black", font=font)
    return page


def uncurated(world: World = SMALL) -> tuple[str, ...]:
    """The prompts of the card's pictures: the first of the score, each for the next of its six tiers."""
    tiers = make_tiers(OVERALL, UNCURATED, 0, world=world)
    return tuple(tiers[n % len(tiers)].prompts[SEEN][n].text for n in range(UNCURATED))


# --- the full world ---


def sheet() -> Image.Image:
    """The first training scenes of the full world, and below them one thing in every style and weather."""
    mix = Mix(world=FULL)
    scenes = [sample_scene(scene_seed(SEED, index), mix) for index in range(FIRST)]
    scenes += [replace(scene, style=style) for scene in LOOKS for style in FULL.styles[1:]]
    return laid_out(scenes, ACROSS)


def alphabet() -> Image.Image:
    """Every letter in the three drawings of it, and the first training scenes with letters."""
    scenes = [
        Scene(n, "paper", "day", (Thing(kind, colour, 0.5, 0.55, 0.6, variant=variant),), world="letters")
        for variant in range(3)
        for n, (kind, colour) in enumerate(zip(LETTERS, cycle(SPELLING.colours)))
    ]
    mix = Mix(world=SPELLING)
    drawn = (sample_scene(scene_seed(SEED, index), mix) for index in count())
    lettered = (scene for scene in drawn if any(thing.kind in LETTERS for thing in scene.things))
    scenes += islice(lettered, len(LETTERS))
    return laid_out(scenes, len(LETTERS) // 2)


def laid_out(scenes: list[Scene], columns: int) -> Image.Image:
    """The scenes, drawn, in rows."""
    pixels = render(scenes, TILE).pixels.float() / MIDDLE - 1
    return tiles(to_pictures(pixels, range(len(scenes))), columns)


# --- the words of the world ---


def words(world: World = SMALL) -> str:
    """The vocabulary of a world, and what training never sees of it."""
    rows = {
        "things": world.things,
        "colours": world.colours,
        "settings": world.settings,
        "times": world.times,
        "weathers": world.weathers[1:],
        "styles": world.styles[1:],
        "sizes": filter(None, world.sizes),
        "patterns": world.textures[1:],
        "counts": COUNTS[: max(world.counts)],
        "relations": world.relations,
    }
    split = publish(world)
    lost = {
        "H1 colour × thing": "H1",
        "H3 count × thing": "H3",
        "H4 setting × thing": "H4",
        "H5 style × thing": "H5",
    }
    lines = ["| Sort | How many | Words |", "|---|---|---|"]
    for sort, found in rows.items():
        if listed := list(found):
            lines.append(f"| {sort} | {len(listed)} | {', '.join(listed)} |")
    lines += ["", "| Kept from training | How many | Which |", "|---|---|---|"]
    lines += [
        f"| {title} | {len(split[key])} | {', '.join(split[key])} |"
        for title, key in lost.items()
        if key in split
    ]
    lines.append(f"| H2 relation × two things | {len(split['H2'])} | `publish()` lists them |")
    templates = ", ".join(f"`{template}`" for template in split["H6"])
    return "\n".join([*lines, f"| H6 caption templates | {len(split['H6'])} | {templates} |"])


# --- the model card ---


def facts(parts: Parts, size: int) -> str:
    """What a model file says of itself.  Raises: SystemExit unless `fromnoise train assemble` made it"""
    if "card" not in parts.about:
        raise SystemExit("this model carries no card; only `fromnoise train assemble` writes one")
    made: Mapping[str, Any] = parts.about["card"]
    numbers = {name: sum(p.numel() for p in module.parameters()) for name, module in parts.modules()}
    lines = ["| Fact | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in _told(parts, made, numbers, size)]
    lines += [
        "",
        "| Stage | Steps | Batch | Learning rate | Hours | Last validation |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(made["stages"], key=STAGES.index):
        stage = made["stages"][name]
        figures = ", ".join(f"{what} {value:g}" for what, value in stage["figures"].items()) or "–"
        recipe, hours = stage["recipe"], stage["seconds"] / 3600
        lines.append(
            f"| {name} | {stage['steps']} | {recipe['batch']} | {recipe['lr']:g} | {hours:.2f} | {figures} |"
        )
    return "\n".join(lines)


def _told(
    parts: Parts, made: Mapping[str, Any], numbers: Mapping[str, int], size: int
) -> Iterator[tuple[str, str]]:
    yield "Name", made["model"]
    yield "File", f"{size / 1e6:.1f} MB, SHA-256 `{parts.sha256}`"
    yield "Numbers in it", ", ".join(f"{name} {count:,}" for name, count in numbers.items())
    yield "Picture", f"{parts.spec.defaults.width} × {parts.spec.defaults.height} pixels"
    yield "Trained on", f"{made['scenes']:,} scenes, until {made['date']}"
    yield "Hours in all", f"{made['seconds'] / 3600:.2f}"
    yield "Words in its captions", str(len(parts.about.get("words", ())))


def scored(path: Path, model_hash: str = "") -> str:
    """A report as text; one in JSON must be this version's and, where that is known, this model's."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return text
    report = Report.from_json(json.loads(text))
    if report.stamp and model_hash and report.stamp.model_hash != model_hash:
        raise SystemExit(f"{path} is the score of another model, {report.stamp.model_hash[:12]}…")
    return to_markdown(report)


def curve(run: Path) -> str:
    """How the U-Net's error fell, by its log: some of the validations, and the hours until then."""
    lines = [line for line in Log(run / UNET).lines() if any("_at_" in name for name in line["figures"])]
    shown = lines[:: max(1, -(-len(lines) // POINTS))] + lines[-1:]
    rows = ["| Step | Validation |", "|---|---|"]
    for step, line in {line["step"]: line for line in shown}.items():
        figures = (f"{name} {value:.4f}" for name, value in line["figures"].items() if "flow_at_" in name)
        rows.append(f"| {step:,} | {', '.join(figures)} |")
    return "\n".join(rows)


def by_hand(folder: Path = LABELS) -> str:
    """The checker beside a person's labels, and where they differ."""
    labels = load_labels(folder)
    table, unlike = agreement(labels, load_oracle()(labels.pixels))
    words = {True: "right", False: "wrong"}
    told = [f"{label.number} ({label.prompt}: by hand {words[bool(label.right)]})" for label in unlike]
    return "\n\n".join((table.to_markdown(), f"Where they differ: {'; '.join(told) or 'nowhere'}."))


def whole_card(asked: argparse.Namespace, parts: Parts) -> None:
    """Score, and write every part of the card."""
    report = asked.keep / "report.json"
    words = ["score", "--model", asked.model, "--keep", asked.keep / "pictures", "-o", report]
    words += ["--clip", asked.clip] if asked.clip else []
    words += ["--quick"] if asked.quick else []
    (asked.keep / "pictures").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "fromnoise", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    card = asked.folder / "model-card.md"
    rewrite(card, "score", scored(report, parts.sha256))
    rewrite(card, "labels", by_hand())
    pictures(asked.model, asked.folder)


def pictures(model: Path, folder: Path) -> None:
    """Draw the card's pictures."""
    path = folder / "pictures" / "uncurated.png"
    gallery(load(None if model == EMBEDDED else model), uncurated(), lines=2).save(path, optimize=True)
    print(path)


# --- writing ---


def replaced(text: str, part: str, body: str) -> str:
    """The text with a new body between `<!-- part: … -->` and `<!-- /part -->`."""
    pattern = re.compile(rf"(<!-- {part}: [^\n]*-->\n).*?(<!-- /{part} -->)", re.DOTALL)
    changed, count = pattern.subn(lambda found: f"{found[1]}\n{body.strip()}\n\n{found[2]}", text)
    if count != 1:
        raise SystemExit(f"there are {count} places for {part!r}, not 1")
    return changed


def rewrite(path: Path, part: str, body: str) -> None:
    """Replace one part of a page, and say so."""
    path.write_text(replaced(path.read_text(encoding="utf-8"), part, body), encoding="utf-8")
    print(path)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = ("words", "card", "labels", "uncurated", "gallery", "sheet")
    parser.add_argument("what", choices=kinds)
    parser.add_argument("--model", type=Path, default=EMBEDDED, help="else the embedded one")
    parser.add_argument("--score", type=Path, help="what `fromnoise score` printed, or wrote with -o")
    parser.add_argument("--keep", type=Path, help="score, and keep pictures and report in this folder")
    parser.add_argument("--quick", action="store_true", help="score few pictures")
    parser.add_argument("--clip", type=Path, help="a training run whose CLIP scores as well")
    parser.add_argument("--run", type=Path, help="the training run whose curve is shown")
    parser.add_argument("--folder", type=Path, default=DOCS, help="else this one")
    asked = parser.parse_args()
    card = asked.folder / "model-card.md"
    match asked.what:
        case "words":
            rewrite(asked.folder / "world.md", "words", words())
            rewrite(asked.folder / "world.md", "all-words", words(FULL))
        case "card":
            parts = load_native(asked.model)
            rewrite(card, "facts", facts(parts, asked.model.stat().st_size))
            if asked.keep:
                whole_card(asked, parts)
            elif asked.score:
                rewrite(card, "score", scored(asked.score, parts.sha256))
            if asked.run:
                rewrite(card, "curve", curve(asked.run))
        case "labels":
            rewrite(card, "labels", by_hand())
        case "uncurated":
            pictures(asked.model, asked.folder)
        case "sheet":
            for name, page in (("world-full", sheet()), ("letters", alphabet())):
                path = asked.folder / "pictures" / f"{name}.png"
                page.save(path, optimize=True)
                print(path)
        case _:
            path = asked.folder / "pictures" / "gallery.png"
            gallery(load(None if asked.model == EMBEDDED else asked.model)).save(path, optimize=True)
            print(path)


if __name__ == "__main__":
    main()
