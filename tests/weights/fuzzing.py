"""Damaged files without end, to be run by hand: `make fuzz`, or `python tests/weights/fuzzing.py --help`.

Every case is drawn from its road, seed and number alone, so one that fails can be had again. While it is
read, nothing may be imported, run or fetched, and no file outside its folder opened. It ends in numbers or in
one line, soon, and in little memory.
"""

import argparse
import gc
import json
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from random import Random
from struct import pack
from typing import Any

import torch
from families import UNETS, meta_parts
from forgery import legacy, zipped
from mutations import ANYWHERE, IN_FILES, IN_PICKLES, as_json, checkpoints, mutated
from safetensors.torch import save_file

from fromnoise.errors import StorageError, WeightsError
from fromnoise.specs import SD15, TINY
from fromnoise.weights.checkpoint import open_checkpoint
from fromnoise.weights.finite import find_broken
from fromnoise.weights.inspection import inspect
from fromnoise.weights.layouts import checkpoint_rules
from fromnoise.weights.model_converter import flipped, translate
from fromnoise.weights.native import FORMAT, HEADER
from fromnoise.weights.stored import open_weights

LONG = 2.0  # seconds of a processor for one case
LONGEST = 400  # letters of what is said
LITTLE = 64 << 20  # bytes that all cases together may need beyond the start
FORBIDDEN = (
    *("import", "exec", "compile", "subprocess", "socket", "ctypes", "shutil", "pty", "marshal"),
    *("webbrowser", "code", "pickle", "os"),
)
LOOKING = ("os.scandir", "os.listdir")  # which is done to folders

UNASKED = "model.diffusion_model.out.2.bias"  # a U-Net with NaN in it is not asked, which takes seconds
FEW_BITS = torch.float8_e4m3fn
Shape = tuple[int, ...]
ODD_SHAPES: list[Shape] = [(), (5,), (0,), (0, 0), (0, 5), (5, 0), (2, 3, 4), (2**62, 0)]
SMALLEST = replace(
    TINY,
    unet=replace(UNETS["bk-sdm tiny"], base_width=32, multipliers=(1, 1, 1)),
    vae=replace(SD15.vae, base_width=32, multipliers=(1, 1)),
)

Write = Callable[[Random], Path]  # damage something, and say where it lies


# --- what is damaged ---


def checkpoint_road(folder: Path) -> Write:
    """PyTorch's files in both containers, whole or only their pickles."""
    path = folder / "x.ckpt"
    files, pickles = checkpoints(folder)

    def write(random: Random) -> Path:
        match random.randrange(4):
            case 0 | 1 as which:
                data = mutated(random, files[which], IN_FILES)
            case 2:
                data = zipped(mutated(random, random.choice(pickles), IN_PICKLES))
            case _:
                data = legacy(mutated(random, random.choice(pickles)[2:-1], IN_PICKLES))
        return _written(path, data)

    return write


def safetensors_road(folder: Path) -> Write:
    """Files whose header or bytes are damaged; one tensor is scaled, with all that may stand beside it."""
    path = folder / "x.safetensors"
    mark = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    numbers = {"a.weight": torch.arange(8.0).to(torch.float8_e4m3fn), "a.weight_scale": torch.tensor(0.5)}
    save_file(numbers | {"a.comfy_quant": mark, "b.bias": torch.ones(3)}, path, {"k": "v"})
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header: dict[str, Any] = json.loads(whole[8 : 8 + length])

    def write(random: Random) -> Path:
        if random.random() < 0.3:
            return _written(path, mutated(random, whole, ANYWHERE))
        said = as_json(random, header)
        size = len(said) + random.choice([0] * 8 + [1, -1, 2**40])
        return _written(path, pack("<Q", max(0, size)) + said + whole[8 + length :])

    return write


def folder_road(folder: Path) -> Write:
    """A pipeline's folder with an index and two shards, of which one file is damaged."""
    root = folder / "model"
    unet = root / "unet"
    unet.mkdir(parents=True)
    names = [f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for number, name in enumerate(names):
        save_file({f"x{number}.weight": torch.ones(2, 2)}, unet / name)
    table = {"metadata": {"total_size": 32}, "weight_map": {"x0.weight": names[0], "x1.weight": names[1]}}
    config = {"cross_attention_dim": 768, "block_out_channels": [320, 640], "layers_per_block": 2}
    pages = {
        root / "model_index.json": {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "U"]},
        unet / "config.json": config,
        unet / "diffusion_pytorch_model.safetensors.index.json": table,
    }
    sound = {path: json.dumps(value).encode() for path, value in pages.items()}
    sound |= {unet / name: (unet / name).read_bytes() for name in names}
    damaged = list[Path](sound)

    def write(random: Random) -> Path:
        while damaged:
            again = damaged.pop()
            _written(again, sound[again])
        path = random.choice(list(sound))
        damaged.append(path)
        data = as_json(random, pages[path]) if path in pages else mutated(random, sound[path], ANYWHERE)
        _written(path, data)
        return root

    return write


def names_road(folder: Path) -> Write:
    """Real names of a model of SD 1.x, one of ours, a LoRA and an embedding; some tensors in any shape."""
    path = folder / "x.safetensors"
    spec = replace(SMALLEST, texts=(replace(SD15.texts[0], vocab=8, end=7, pad=7, layers=1, hidden=-1),))
    theirs = translate(meta_parts(spec), flipped(checkpoint_rules(spec.vae, "sd1")), source="ours")
    model = {name: tuple(tensor.shape) for name, tensor in theirs.items()}
    inside = (name for name in model if ".encoder.layers." in name and "layer_norm1" not in name)
    model |= dict.fromkeys(inside, (0,))  # large, and nobody's measure
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    header = {"format": FORMAT, "spec": SMALLEST.to_json(), "tokenizers": [], "about": {}}
    files: list[tuple[dict[str, Shape], dict[str, str]]] = [
        (model, {}),
        (
            {name: tuple(each.shape) for name, each in meta_parts(SMALLEST).items()},
            {HEADER: json.dumps(header)},
        ),
        ({f"{layer}.lora_up.weight": (8, 2), f"{layer}.lora_down.weight": (2, 8), f"{layer}.alpha": ()}, {}),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, {}),
    ]

    def write(random: Random) -> Path:
        shapes, metadata = random.choice(files)
        odd = random.choices(list(shapes), k=random.choice([0, 1, 1, 2, 9]))
        shapes = shapes | {name: random.choice(ODD_SHAPES) for name in odd}
        shapes |= dict.fromkeys(random.choice([(), (), ("v_pred",), ("texts",), ("unet.",)]), (1,))
        path.unlink(missing_ok=True)
        state = {name: torch.zeros(shape).to(FEW_BITS) for name, shape in shapes.items()}
        if UNASKED in state:
            state[UNASKED] = torch.full(state[UNASKED].shape, nan).to(FEW_BITS)
        save_file(state, path, metadata)
        return path

    return write


ROADS = {
    "checkpoint": checkpoint_road,
    "safetensors": safetensors_road,
    "folder": folder_road,
    "names": names_road,
}


def _written(path: Path, data: bytes) -> Path:
    path.unlink(missing_ok=True)  # truncating it would wait for the disk
    path.write_bytes(data)
    return path


# --- what becomes of it ---


def outcome(path: Path) -> str:
    """Why a checkpoint was refused, or nothing if it was read."""
    try:
        with open_checkpoint(path) as contents:
            contents.read_all()
    except (WeightsError, StorageError) as error:
        return error.message
    return ""


def looked_into(path: Path) -> str:
    """The same for any file or folder, through the door that all use, and by `inspect`."""
    try:
        with open_weights(path) as stored:
            list(find_broken(stored, lambda _: None))
        inspect(path)
    except (WeightsError, StorageError) as error:
        return error.message
    return ""


@dataclass
class Watch:
    """Hears what Python does; on only while a case is read."""

    folder: Path
    on: bool = False
    seen: list[str] = field(default_factory=list[str])

    def __call__(self, event: str, details: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open" or event in LOOKING:
            inside = isinstance(details[0], int) or Path(str(details[0])).is_relative_to(self.folder)
            if not inside:
                self.seen.append(f"{event} {details[0]!r}")
        elif event.partition(".")[0] in FORBIDDEN:
            self.seen.append(f"{event} {str(details)[:100]}")

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.on = True
        try:
            yield
        finally:
            self.on = False


@dataclass
class Count:
    """What became of the cases of one road."""

    cases: int = 0
    accepted: int = 0
    refused: int = 0
    crashed: int = 0
    seconds: float = 0.0
    slowest: float = 0.0


def case_of(road: str, seed: int, number: int) -> Random:
    """All that is random about a case."""
    return Random(f"{road} {seed} {number}")


def run_case(write: Write, random: Random, watch: Watch, count: Count) -> str:
    """Make a case and read it; what went wrong, or nothing."""
    path = write(random)
    began, watch.seen = time.process_time(), []
    try:
        with watch.watching():
            message = looked_into(path)
    except Exception:
        count.crashed += 1
        return traceback.format_exc()
    took = time.process_time() - began
    count.slowest = max(count.slowest, took)
    count.accepted += not message
    count.refused += bool(message)
    faults = [*watch.seen]
    if took > LONG:
        faults.append(f"took {took:.1f} s")
    if not message.isprintable() or len(message) > LONGEST:
        faults.append(f"said {message[:LONGEST]!r} in {len(message):,} letters")
    count.crashed += bool(faults)
    return "\n".join(faults)


# --- the run ---


def resident() -> tuple[int, int]:
    """Memory in use and the most that there was since it was last forgotten, in bytes."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return tuple(int(lines[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return most, most


def run(seconds: float, seed: int, roads: list[str], only: int | None) -> int:
    """Every road for its share of the time; 0 if all was well."""
    failed = False
    print(f"seed {seed}; one case again: --road ROAD --seed {seed} --case NUMBER", flush=True)
    print(
        f"{'road':12}{'cases':>10}{'accepted':>10}{'refused':>10}{'crashed':>9}{'seconds':>9}{'slowest':>10}{'memory':>11}"
    )
    with tempfile.TemporaryDirectory() as name:
        watch = Watch(Path(name).resolve())
        sys.addaudithook(watch)
        for road in roads:
            folder = watch.folder / road
            folder.mkdir()
            write, count = ROADS[road](folder), Count()
            for number in range(200):  # what is imported once, and memory that is kept
                run_case(write, case_of("before", 0, number), watch, Count())
            gc.collect()
            if sys.platform == "linux":
                Path("/proc/self/clear_refs").write_text("5")  # forget the peak
            at_first, began, number = resident()[0], time.perf_counter(), only or 0
            while time.perf_counter() - began < seconds / len(roads):
                if wrong := run_case(write, case_of(road, seed, number), watch, count):
                    print(f"--- {road}, seed {seed}, case {number}\n{wrong}", flush=True)
                count.cases += 1
                number += 1
                if only is not None:
                    break
            count.seconds = time.perf_counter() - began
            grown = resident()[1] - at_first
            failed |= bool(count.crashed) or grown > LITTLE
            print(
                f"{road:12}{count.cases:10,}{count.accepted:10,}{count.refused:10,}{count.crashed:9,}"
                f"{count.seconds:9.0f}{1000 * count.slowest:7.0f} ms{grown / 2**20:+7.1f} MiB",
                flush=True,
            )
    return int(failed)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--road", choices=ROADS, action="append")
    parser.add_argument("--case", type=int, help="only this one")
    asked = parser.parse_args()
    seed = time.time_ns() % 1_000_000 if asked.seed is None else asked.seed
    return run(asked.seconds, seed, asked.road or list(ROADS), asked.case)


if __name__ == "__main__":
    sys.exit(main())
