"""Does a model repeat pictures that it was trained on?"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.world.scene import Scene

SIDE: Final = 32  # pixels: what two pictures are compared at
COPY: Final = 1 / 3  # of the distance to the second nearest; Source: Yoon et al. 2023 (ICML SPIGM workshop)
TWINS: Final = 4  # training scenes with the facts of a prompt, at most
CHUNK: Final = 256

Graph = tuple[object, ...]


def thumbnails(pixels: Tensor) -> Tensor:
    """Pictures, small and flat.  Shapes: (B, 3, H, W) -> (B, 3 * 32 * 32)"""
    return F.interpolate(pixels.float(), size=(SIDE, SIDE), mode="area").flatten(1)


def nearest_two(pictures: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """The distances to the two nearest pictures of a pool, and which those are.

    Shapes: (N, D), (M, D), M >= 2 -> both (N, 2)
    """
    chunks = (pictures[at : at + CHUNK] for at in range(0, len(pictures), CHUNK))
    parts = [torch.cdist(chunk, pool).topk(2, largest=False) for chunk in chunks]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def copied(pictures: Tensor, pool: Tensor) -> Tensor:
    """Is a picture more than three times nearer to one of the pool than to any other?  Shapes: -> (N,)"""
    distances, _ = nearest_two(pictures, pool)
    return distances[:, 0] <= COPY * distances[:, 1]


def graph(scene: Scene) -> Graph:
    """What a scene is about, without where exactly its things are and how they look."""
    things = tuple(sorted((thing.kind, thing.colour) for thing in scene.things))
    kinds = [thing.kind for thing in scene.things]
    relations = tuple((r.word, kinds[r.subject], kinds[r.object]) for r in scene.relations)
    return scene.setting, scene.time, scene.weather, scene.style, things, relations


def twins(wanted: Iterable[Scene], trained: Sequence[Scene]) -> list[Scene]:
    """The training scenes with the same facts as those wanted, a few of each."""
    left = dict.fromkeys(map(graph, wanted), TWINS)
    found: dict[Graph, list[Scene]] = defaultdict(list)
    for scene in trained:
        facts = graph(scene)
        if facts in left and len(found[facts]) < left[facts]:
            found[facts].append(scene)
    return [scene for several in found.values() for scene in several]
