"""From words back to facts: what a prompt says of a scene, and which of its words the world does not know."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Final

from fromnoise.world.captions import plural, size_word
from fromnoise.world.geometry import box_of, holds
from fromnoise.world.phrases import (
    AND,
    BESIDE,
    KIND_PHRASES,
    NEAR,
    NUMERALS,
    RELATION_PHRASES,
    SETTING_PHRASES,
    SIZE_PHRASES,
    TEMPLATES,
    TEXTURE_PHRASES,
    TIME_PHRASES,
)
from fromnoise.world.scene import Relation, Scene
from fromnoise.world.vocabulary import COLOURS, COUNTS, SETTINGS, THINGS, TIMES

LITTLE_WORDS: Final = ("the", "of", "in", "on", "at", "by", "is", "are", "to", "some", "very")
WORD: Final = re.compile(r"[a-z0-9']+")


@dataclass(frozen=True, slots=True)
class Naming:
    """What a text says of the things of one kind; "" is unsaid."""

    kind: str
    count: int = 1
    colour: str = ""
    texture: str = ""
    size: str = ""


@dataclass(frozen=True, slots=True)
class Atoms:
    """The facts a text states, each of which can be checked alone.

    Relations number the namings, and may also be "behind" or "beside"
    """

    things: tuple[Naming, ...]
    relations: tuple[Relation, ...] = ()
    setting: str = ""
    time: str = ""


def parse(text: str) -> Atoms:
    """The facts in a caption or prompt. Words outside the world's grammar say nothing."""
    things: list[Naming] = []
    relations: list[Relation] = []
    said: dict[str, str] = {}  # of the noun that is still to come
    where: dict[str, str] = {}
    for role, word in _tokens(text):
        match role:
            case "setting" | "time":
                where.setdefault(role, word)
            case "kind":
                count = COUNTS.index(said.get("count", "one")) + 1
                named = {part: said.get(part, "") for part in ("colour", "texture", "size")}
                things.append(Naming(word, count, **named))
                if "relation" in said and len(things) > 1:
                    relations.append(Relation(said["relation"], len(things) - 2, len(things) - 1))
                said = {}
            case "break":
                said = {}
            case _:
                said[role] = word
    return Atoms(tuple(things), tuple(relations), where.get("setting", ""), where.get("time", ""))


def contradictions(atoms: Atoms, scene: Scene) -> list[str]:
    """What the atoms say that is not so in the scene; empty where every fact holds."""
    wrong = [f"{role}: {said} is {so}" for role, said, so in _facts(atoms, scene) if said not in ("", so)]
    for naming in atoms.things:
        for thing in scene.things:
            if (
                thing.kind == naming.kind
                and not naming.colour
                and thing.colour not in THINGS[thing.kind].usual
            ):
                wrong.append(f"unsaid colour: {thing.colour} {thing.kind}")
    return wrong + [f"{r.word}: {r}" for r in atoms.relations if not _related(r, atoms, scene)]


def unknown_words(text: str) -> list[tuple[str, list[str]]]:
    """The words that the world does not know, in order, each with the nearest that it knows (best first)."""
    rest = _lexicon_pattern().sub(" ", _plain(text))
    strangers = dict.fromkeys(word for word in WORD.findall(rest) if word not in _small_words())
    return [(word, _nearest(word)) for word in strangers]


def _facts(atoms: Atoms, scene: Scene) -> Iterator[tuple[str, str, str]]:
    yield "setting", atoms.setting, scene.setting
    yield "time", atoms.time, scene.time
    for naming in atoms.things:
        found = [thing for thing in scene.things if thing.kind == naming.kind]
        yield f"number of {naming.kind}", str(naming.count), str(len(found))
        for thing in found:
            yield f"colour of {thing.kind}", naming.colour, thing.colour
            yield f"texture of {thing.kind}", naming.texture, thing.texture
            yield f"size of {thing.kind}", naming.size, size_word(scene, thing)


def _related(relation: Relation, atoms: Atoms, scene: Scene) -> bool:
    boxes = {thing.kind: box_of(thing) for thing in scene.things}
    a, b = (atoms.things[i].kind for i in (relation.subject, relation.object))
    if a not in boxes or b not in boxes:
        return False
    match relation.word:
        case "beside":
            return any(holds(word, boxes[a], boxes[b]) for word in ("left of", "right of"))
        case "behind":
            return holds("in front of", boxes[b], boxes[a])
        case word:
            return holds(word, boxes[a], boxes[b])


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    lexicon = _lexicon()
    for found in _lexicon_pattern().finditer(_plain(text)):
        yield lexicon[found[0]]


@cache
def _lexicon() -> dict[str, tuple[str, str]]:
    """Phrase -> (role, the word of the vocabulary it stands for)."""
    tables = {
        "setting": SETTING_PHRASES,
        "time": TIME_PHRASES,
        "relation": RELATION_PHRASES | {"beside": BESIDE},
        "size": SIZE_PHRASES,
        "texture": TEXTURE_PHRASES,
        "kind": {kind: (kind, *KIND_PHRASES.get(kind, ())) for kind in THINGS},
        "count": {word: (word, digit) for word, digit in NUMERALS.items()},
        "colour": {colour: (colour,) for colour in COLOURS},
    }
    lexicon = {"and": ("break", ""), "with": ("break", ""), ",": ("break", "")}
    lexicon |= {word: ("setting", word) for word in SETTINGS} | {word: ("time", word) for word in TIMES}
    for role, table in tables.items():
        for word, phrases in table.items():
            lexicon |= {phrase: (role, word) for phrase in phrases}
            if role == "kind":
                lexicon |= {plural(phrase): (role, word) for phrase in phrases}
    return lexicon


@cache
def _lexicon_pattern() -> re.Pattern[str]:
    longest_first = sorted(_lexicon(), key=len, reverse=True)
    return re.compile("|".join(rf"\b{re.escape(p)}\b" if p != "," else "," for p in longest_first))


@cache
def _small_words() -> frozenset[str]:
    """Words that say nothing of the picture."""
    return frozenset(WORD.findall(re.sub(r"\{\w+\}", "", " ".join((*TEMPLATES, *LITTLE_WORDS, *AND)))))


def _nearest(word: str) -> list[str]:
    lexicon = _lexicon()
    near = {stranger: ours for ours, strangers in NEAR.items() for stranger in strangers.split()}
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in near:
            return [near[form]]
        if form in lexicon:
            return [form]
    concepts = [phrase for phrase, (role, _) in lexicon.items() if role != "break" and phrase.isalpha()]
    return get_close_matches(word, concepts, n=3, cutoff=0.7)
