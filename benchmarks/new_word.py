"""Does a folder of 500 pictures teach the embedded model a new word, and does it keep the old ones?

The album: renders of a thing that the small world does not have, as plain PNG files with a .txt beside each.
The lesson: one `fromnoise train lora`, timed. The exam: single things (tier T1 of the score), the new one
and the old ones, drawn before and after with the same seeds. Old words are judged by the shipped checker; the
new one by a copy of it that learned one more class from other renders, and is itself examined first.

python benchmarks/new_word.py [--thing penguin] [--work FOLDER] [--quick] [-- options for `train lora`]
"""

import os
import platform
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Final

import torch
from PIL import Image
from run import commit, processor
from torch import Tensor, nn

import fromnoise as fn
from fromnoise.nets.oracle import Oracle
from fromnoise.pipeline import Pipeline
from fromnoise.score import OracleReader, load_oracle, wilson
from fromnoise.train.device import autocast
from fromnoise.train.loop import fit
from fromnoise.train.oracle import OracleTask
from fromnoise.train.own.drawing import draw
from fromnoise.train.pool import SHARD, grow, open_pool
from fromnoise.train.recipe import Recipe
from fromnoise.train.sheet import save_sheet
from fromnoise.train.state import newest, under
from fromnoise.world import FULL, SMALL, Mix, World, parse, sample_scene, scene_seed
from fromnoise.world.check import judge
from fromnoise.world.prompts import Prompt, say
from fromnoise.world.render import render
from fromnoise.world.vocabulary import THINGS

ALBUM: Final = 500
PARTS: Final = ("size", "colour", "setting", "time")
SIZE: Final = 128
TRAINED_ON, EXAMINED_ON, JUDGED_ON = 7, 8, 9  # seeds of scenes
AT_ONCE: Final = 32
TRIES: Final = 20  # scenes for each prompt: of one thing there are 253
LESSON: Final = ("--steps", "400", "--batch", "32", "--prior", "240", "--layers", "all", "--rank", "16")
QUICK: Final = ("--steps", "60", "--batch", "16", "--prior", "32", "--layers", "all", "--rank", "16")
MINUTES, NEW_WORD, OLD_WORDS = 15.0, 0.80, 0.02  # the bars


def world_of(*things: str) -> World:
    """The small world's places and colours, with these things in them."""
    return replace(
        FULL,
        things=things,
        colours=SMALL.colours,
        settings=SMALL.settings,
        times=SMALL.times,
        textures=SMALL.textures,
        weathers=("clear",),
        styles=("",),
        sizes=SMALL.sizes,
        sizes_from_smallest=False,
        homes=SMALL.homes,
    )


def mix_of(world: World, **more: float) -> Mix:
    """Single things, in the one drawing of each that the embedded model knows."""
    plain = Mix(single=1, pair=0, count=0, rich=0, pattern=0, variants=1, flips=False, weather=0, style=0)
    return replace(plain, world=world, **more)


def make_album(folder: Path, thing: str, count: int) -> None:
    """Pictures with captions, as a user would have them."""
    folder.mkdir(parents=True, exist_ok=True)
    mix = mix_of(world_of(thing))
    for k in range(count):
        scene = sample_scene(scene_seed(TRAINED_ON, k), mix)
        pixels = render([scene], SIZE).pixels[0].permute(1, 2, 0).contiguous()
        Image.frombytes("RGB", (SIZE, SIZE), pixels.numpy().tobytes()).save(folder / f"{k:03}.png")
        (folder / f"{k:03}.txt").write_text(say(scene, PARTS))


def exam(world: World, count: int) -> list[Prompt]:
    """Different prompts for one thing each, in a colour, a place and at a time."""
    mix = mix_of(world, any_colour=1, at_home=0, tiny=0, small=0, big=0)
    prompts: dict[str, Prompt] = {}
    for index in range(TRIES * count):
        scene = sample_scene(scene_seed(EXAMINED_ON, index), mix)
        text = say(scene, PARTS[1:])
        prompts.setdefault(text, Prompt(text, parse(text, FULL), scene))
        if len(prompts) == count:
            break
    return list(prompts.values())


# --- the judge ---


def make_judge(folder: Path, thing: str, scenes: int, steps: int) -> OracleReader:
    """The shipped checker, which learns one more thing from renders that nobody else sees."""
    shipped = load_oracle()
    lower = len(SMALL.things) + 1  # its classes, with "nothing"
    oracle = grown(shipped.oracle, lower + 1)
    if steps:
        world = world_of(*SMALL.things, *[thing] * (len(SMALL.things) // 2))  # a third of all
        mix = mix_of(world, pattern=0.1)
        for _ in grow(folder / "pool", scenes, size=SIZE, seed=JUDGED_ON, mix=mix, shard=min(scenes, SHARD)):
            pass
        pool, number = open_pool(folder / "pool"), list(THINGS).index(thing) + 1
        pool = replace(pool, kinds=torch.where(pool.kinds == number, lower, pool.kinds), textures=None)
        recipe = Recipe(steps=steps, batch=32, lr=3e-4, warmup=50, held_out=64, look_every=10_000, ema=None)
        task = OracleTask(oracle.spec, pool, recipe)
        task.modules.load_state_dict(oracle.state_dict())
        for _ in fit(task, recipe, folder / "oracle"):
            pass
        found = newest(folder / "oracle")
        assert found is not None
        oracle.load_state_dict(under("model", found.checkpoint.tensors))
    words = {**shipped.words, "kinds": (*SMALL.things, thing)}
    return OracleReader(oracle.eval().requires_grad_(False), words=words)


def grown(shipped: Oracle, kinds: int) -> Oracle:
    """The same network with room for more kinds."""
    oracle = Oracle(replace(shipped.spec, kinds=kinds))
    state = shipped.state_dict()
    for name in ("kinds.weight", "kinds.bias"):
        fresh = oracle.state_dict()[name].clone()
        fresh[: len(state[name])] = state[name]
        state[name] = fresh
    oracle.load_state_dict(state)
    for parameter in oracle.parameters():
        nn.Parameter.requires_grad_(parameter, True)
    return oracle


@dataclass(frozen=True)
class Marks:
    """How many pictures show the thing, and how many all that was said."""

    shown: int
    right: int
    of: int

    def line(self) -> str:
        """In words, with the interval of the first share."""
        low, high = wilson(self.shown, self.of)
        return f"{self.shown / self.of:6.1%} ({low:.0%}–{high:.0%}) {self.right / self.of:9.1%}"


def marks(pixels: Tensor, prompts: Sequence[Prompt], reader: OracleReader) -> Marks:
    """What a checker finds in pictures of these prompts."""
    seen = reader(pixels)
    verdicts = [judge(prompt.atoms, each, FULL) for prompt, each in zip(prompts, seen, strict=True)]
    asked = [{k: v for k, v in verdict.asked().items()} for verdict in verdicts]
    return Marks(
        sum(bool(verdict.object) for verdict in verdicts),
        sum(all(each.values()) for each in asked),
        len(prompts),
    )


@torch.inference_mode()
def drawn(pipe: Pipeline, prompts: Sequence[Prompt]) -> Tensor:
    """Picture k from seed k."""
    parts: list[Tensor] = []
    for at in range(0, len(prompts), AT_ONCE):
        some = [prompt.text for prompt in prompts[at : at + AT_ONCE]]
        with autocast(pipe.device):
            parts.append(draw(pipe, some, range(at, at + len(some)), (SIZE, SIZE)))
    return torch.cat(parts)


@torch.inference_mode()
def rebuilt(pipe: Pipeline, prompts: Sequence[Prompt]) -> Tensor:
    """True pictures of the same scenes, through the autoencoder: the best that can be had."""
    pixels = render([prompt.scene for prompt in prompts], SIZE).pixels.float() / 127.5 - 1
    return torch.cat([pipe.decoder(pipe.encoder(row[None]).mean).clamp(-1, 1) for row in pixels])


# --- the lesson ---


def teach(album: Path, out: Path, options: Sequence[str]) -> tuple[Path, float, float]:
    """Run the command; the file it leaves, the minutes it took, and those of all processor cores."""
    command = [sys.executable, "-m", "fromnoise", "train", "lora", str(album), "-o", str(out), *options]
    print("fromnoise", *command[3:], flush=True)
    before, began = os.times(), perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    minutes, after = (perf_counter() - began) / 60, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return Path(done.stdout.splitlines()[-1]), minutes, spent / 60


def main() -> None:
    """Teach, examine, and print a table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--thing", default="penguin", choices=[t for t in THINGS if t not in SMALL.things])
    parser.add_argument("--work", type=Path, default=Path("new-word"))
    parser.add_argument("--prompts", type=int, default=150, help="with the new word; twice as many with old")
    parser.add_argument("--quick", action="store_true", help="a rehearsal: a minute, and nothing is learned")
    parser.add_argument("--threads", type=int)
    parser.add_argument("lesson", nargs="*", help="options for `train lora`, after --")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    thing = asked.thing
    work = asked.work / (f"{thing}-quick" if asked.quick else thing)
    if (work / "lora").exists():
        parser.error(
            f"{work / 'lora'} holds an earlier lesson, which would go on: remove it, or name another --work"
        )
    count = 24 if asked.quick else asked.prompts
    print(f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}, torch {torch.__version__}, {processor()}")
    print(f"Python {platform.python_version()}, {torch.get_num_threads()} threads")
    make_album(work / f"{thing}s", thing, 40 if asked.quick else ALBUM)
    reader, shipped = (
        make_judge(work / "judge", thing, *((128, 4) if asked.quick else (3000, 400))),
        load_oracle(),
    )
    new, old = exam(world_of(thing), count), exam(world_of(*SMALL.things), 2 * count)
    pipe = fn.load(engine="plain")
    rows: dict[str, Marks] = {"new word, ceiling": marks(rebuilt(pipe, new), new, reader)}
    rows["old words for it"] = marks(
        rebuilt(pipe, old[: len(new)]), new, reader
    )  # does the judge see it where it is not?
    rows["new word, before"] = marks(drawn(pipe, new), new, reader)
    rows["old words, before"] = marks(drawn(pipe, old), old, shipped)
    lesson = asked.lesson or (QUICK if asked.quick else LESSON)
    threads = ("--threads", str(asked.threads)) if asked.threads else ()
    file, minutes, spent = teach(work / f"{thing}s", work / "lora", (*lesson, *threads))
    pipe.attach(file)
    after = drawn(pipe, new)
    rows["new word, after"] = marks(after, new, reader)
    kept = drawn(pipe, old)
    rows["old words, after"] = marks(kept, old, shipped)
    save_sheet(torch.cat([after[:16], kept[:16]]), work / "sheet.png")
    print(f"\n{'':20}{'shown (95 %)':>16}{'all right':>12}")
    for name, found in rows.items():
        print(f"{name:20}{found.line()}")
    lost = (rows["old words, before"].shown - rows["old words, after"].shown) / len(old)
    learned = rows["new word, after"].shown / len(new)
    print(
        f"\n{minutes:.1f} minutes ({spent:.1f} of all cores) to learn {thing!r}: "
        f"{file}, {file.stat().st_size / 1e6:.1f} MB"
    )
    print(
        f"new word {learned:.0%} (wanted {NEW_WORD:.0%}); "
        f"old words lose {100 * lost:.1f} points (at most {100 * OLD_WORDS:.0f})"
    )
    sys.exit(not (learned >= NEW_WORD and lost <= OLD_WORDS and minutes <= MINUTES) and not asked.quick)


if __name__ == "__main__":
    main()
