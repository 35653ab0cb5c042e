"""Drawing by looking up: of a pool of training scenes, the one whose caption has most words of the prompt.

What a score is worth shows beside what a memory without any understanding gets.
"""

import re
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from fromnoise.world.captions import caption
from fromnoise.world.scene import Scene

WORD: Final = re.compile(r"[a-z]+")


def looked_up(prompts: Sequence[str], pool: Sequence[Scene], captions: Sequence[str]) -> list[Scene]:
    """For each prompt the scene of the best caption: most words in common, of all in either; first of equals.

    Source: the Jaccard index
    """
    words = [set(WORD.findall(text.lower())) for text in captions]
    wanted = [set(WORD.findall(text.lower())) for text in prompts]
    numbers = {word: n for n, word in enumerate(sorted(set[str]().union(*words, *wanted)))}
    bags, asked = _bags(words, numbers), _bags(wanted, numbers)
    common = asked @ bags.T
    likeness = common / (asked.sum(1)[:, None] + bags.sum(1)[None] - common).clamp_min(1)
    return [pool[int(n)] for n in likeness.argmax(1)]


def captioned(pool: Sequence[Scene]) -> list[str]:
    """A full caption of each scene."""
    return [caption(scene, 0) for scene in pool]


def _bags(texts: Sequence[set[str]], numbers: dict[str, int]) -> Tensor:
    """Which words a text has.  Shapes: -> (texts, words)"""
    bags = torch.zeros(len(texts), len(numbers))
    for row, text in zip(bags, texts, strict=True):
        row[[numbers[word] for word in text]] = 1
    return bags
