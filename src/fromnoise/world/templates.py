"""Which caption templates training uses, and which are kept for tests (H6)."""

import re
from functools import cache
from typing import Final

from fromnoise.world.phrases import TEMPLATES
from fromnoise.world.phrases_full import STYLE_TEMPLATES
from fromnoise.world.splits import held_out_templates
from fromnoise.world.worlds import World

SLOT: Final = re.compile(r"\{\w+\}|[, ]+")
SLOTS: Final = ("place", "things", "time")  # in the order of the alphabet


@cache
def bare_templates(slots: tuple[str, ...]) -> tuple[str, ...]:
    """The templates of training with exactly these slots, no words of their own, and the things first."""
    return tuple(t for t in templates_for(slots, False) if t[:8] == "{things}" and not SLOT.sub("", t))


@cache
def style_templates(held_out: bool) -> tuple[str, ...]:
    """The templates round a styled scene that training uses, or that only tests use."""
    reserved = held_out_templates(STYLE_TEMPLATES[1:])
    return tuple(t for t in STYLE_TEMPLATES if (t in reserved) == held_out)


@cache
def templates_for(slots: tuple[str, ...], held_out: bool) -> tuple[str, ...]:
    """The templates with exactly these slots that training uses, or that only tests use."""
    fitting = [template for template in TEMPLATES if slots_of(template) == slots]
    reserved = held_out_templates(tuple(fitting[1:]))
    return tuple(t for t in fitting if (t in reserved) == held_out)


def slots_of(template: str) -> tuple[str, ...]:
    """The slots in a template."""
    return tuple(slot for slot in SLOTS if "{" + slot + "}" in template)


def kept_templates(world: World) -> list[str]:
    """All templates that only tests use."""
    slots = dict.fromkeys(map(slots_of, TEMPLATES))
    kept = [template for named in slots for template in templates_for(named, True)]
    return kept + [*style_templates(True)] * world.has_looks
