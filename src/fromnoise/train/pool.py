"""A pool of rendered scenes on disk: made once, in shards, and read by every stage.

A shard holds, for each scene, its picture, which thing stands where, and a few captions.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.train.state import FACTS, generator, write_checkpoint
from fromnoise.train.tensorfile import TensorFile, open_tensors
from fromnoise.world import SMALL, Mix, Scene, World, sample_caption, sample_scene, scene_seed
from fromnoise.world.render import render
from fromnoise.world.vocabulary import SETTINGS, STYLES, TIMES, WEATHERS

SHARD = 1000
CAPTIONS = 4  # a scene
LABEL_STRIDE = 4  # labels are kept at a quarter of the size
LABELS = ("kinds", "colours", "setting", "time")
LOOKS = ("weather", "style")  # of worlds that have them; else all 0, which is "as it comes"
TEXTURES = "textures"


@dataclass(frozen=True)
class Pool:
    """Scenes as training sees them.

    Shapes: pixels (shard, 3, S, S) uint8, a tensor each shard, mapped from disk;
            kinds, colours, textures (N, S/4, S/4) uint8, 0 is nothing;
            setting, time, weather, style (N,); captions N lists
    Units:  places in the tables of `vocabulary`
    """

    pixels: list[Tensor]
    kinds: Tensor
    colours: Tensor
    setting: Tensor
    time: Tensor
    weather: Tensor
    style: Tensor
    captions: list[list[str]]
    textures: Tensor | None = None  # None in worlds without weather and styles

    def __len__(self) -> int:
        return len(self.kinds)

    def pictures(self, index: Tensor) -> Tensor:
        """Float pixels in [-1, 1] of the scenes at `index`: (B, 3, S, S)."""
        shard = len(self.pixels[0])
        rows = [self.pixels[i // shard][i % shard] for i in cast(list[int], index.tolist())]
        return torch.stack(rows).float() / 127.5 - 1


def shard_path(folder: Path, number: int) -> Path:
    """What a shard is called, in a pool and in the cache of its latents."""
    return folder / f"shard-{number:05d}.safetensors"


def shards_in(folder: Path) -> list[Path]:
    """All shards of a folder, in order."""
    return sorted(folder.glob("shard-*.safetensors"))


def grow(
    folder: Path,
    count: int,
    *,
    size: int = 128,
    seed: int = 0,
    mix: Mix | None = None,
    shard: int = SHARD,
    batch: int = 250,
) -> Iterator[int]:
    """Render shards until the pool has `count` scenes, yielding how many there are; shards that exist stay.

    Raises: WeightsError if a shard that exists has pictures of another size, seed or world
    """
    world = mix.world if mix else SMALL
    facts = {"size": size, "seed": seed} | ({} if world is SMALL else {"world": world.name})
    for number in range(-(-count // shard)):
        path = shard_path(folder, number)
        if path.exists():
            _check_shard(path, size, seed, shard, world)
        else:
            scenes = [sample_scene(scene_seed(seed, number * shard + k), mix) for k in range(shard)]
            parts = [_labelled(scenes[i : i + batch], size) for i in range(0, shard, batch)]
            tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            captions = [[sample_caption(s, s.seed * CAPTIONS + k) for k in range(CAPTIONS)] for s in scenes]
            write_checkpoint(path, tensors, {"captions": captions, **facts})
        yield (number + 1) * shard


def _check_shard(path: Path, size: int, seed: int, shard: int, world: World) -> None:
    with open_tensors(path) as file:
        facts = _facts(file, path)
    if (drawn := facts.get("world", SMALL.name)) != world.name:
        problem = f"{path} holds scenes of the {drawn} world, not of the {world.name} one"
        raise WeightsError(problem, hint="name another folder for another pool")
    found = facts["size"], facts["seed"], len(facts["captions"])
    if found != (size, seed, shard):
        raise WeightsError(
            "{} holds pictures of {} pixels, seed {}, {} a shard".format(path, *found)
            + f", not of {size}, {seed}, {shard}",
            hint="name another folder for another pool",
        )


def _facts(file: TensorFile, path: Path) -> dict[str, Any]:
    try:
        return json.loads((file.metadata() or {})[FACTS])
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path} is no shard of a pool", hint="delete it, and make it again") from error


def _labelled(scenes: list[Scene], size: int) -> dict[str, Tensor]:
    drawn = render(scenes, size)
    middle = slice(LABEL_STRIDE // 2, None, LABEL_STRIDE)
    labels = {
        "pixels": drawn.pixels,
        "kinds": drawn.kinds[:, middle, middle],
        "colours": drawn.colours[:, middle, middle],
        "setting": torch.tensor([SETTINGS.index(s.setting) for s in scenes]),
        "time": torch.tensor([TIMES.index(s.time) for s in scenes]),
    }
    if any(s.weather or s.style for s in scenes):  # a world without them has shards without them
        labels[TEXTURES] = drawn.textures[:, middle, middle]
        labels["weather"] = torch.tensor([WEATHERS.index(s.weather) for s in scenes])
        labels["style"] = torch.tensor([STYLES.index(s.style) for s in scenes])
    return labels


def open_pool(folder: Path, limit: int | None = None) -> Pool:
    """Map a pool's shards, whole ones up to at least `limit` scenes.  Raises: StorageError, WeightsError"""
    pixels: list[Tensor] = []
    rest: dict[str, list[Tensor]] = {name: [] for name in (*LABELS, *LOOKS)}
    textures: list[Tensor] = []
    captions: list[list[str]] = []
    for path in shards_in(folder):
        if limit is not None and len(captions) >= limit:
            break
        with open_tensors(path) as file:
            pixels.append(file.get_tensor("pixels"))
            for name in LABELS:
                rest[name].append(file.get_tensor(name))
            told = file.keys()
            for name in LOOKS:
                rest[name].append(
                    file.get_tensor(name) if name in told else torch.zeros_like(rest["time"][-1])
                )
            textures += [file.get_tensor(TEXTURES)] if TEXTURES in told else []
            captions += _facts(file, path)["captions"]
    if not pixels:
        raise StorageError(f"{folder} holds no pool", hint=f"make one: fromnoise train pool {folder.parent}")
    labels = {name: torch.cat(tensors) for name, tensors in rest.items()}
    return Pool(pixels, captions=captions, textures=torch.cat(textures) if textures else None, **labels)


def divided(count: int, held_out: int) -> tuple[int, Tensor]:
    """How many of `count` scenes to train on, and the places of the others.  Raises: RequestError"""
    if not 0 <= held_out < count:
        raise RequestError(
            {"pool": f"{held_out} of its {count} scenes are to be held out, so none is left to train on"},
            hint="make a larger pool: fromnoise train pool",
        )
    return count - held_out, torch.arange(count - held_out, count)


def batch_at(step: int, batch: int, count: int, seed: int) -> Tensor:
    """Which of `count` items the batch of a step holds: a new shuffle each epoch, but always the same one."""
    places = torch.arange(step * batch, (step + 1) * batch)
    index = torch.empty_like(places)
    for epoch in range(int(places[0]) // count, int(places[-1]) // count + 1):
        order = torch.randperm(count, generator=generator(seed, 1, epoch))
        here = torch.eq(places // count, epoch)
        index[here] = order[places[here] % count]
    return index
