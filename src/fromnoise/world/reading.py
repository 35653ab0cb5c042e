"""From words back to facts: what a prompt says of a scene, and which of its words the world does not know."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Final, Literal

from fromnoise.world.captions import plural, size_word
from fromnoise.world.geometry import box_of, holds
from fromnoise.world.phrases import AND, BESIDE, NUMERALS, TEMPLATES
from fromnoise.world.phrases_full import STYLE_TEMPLATES
from fromnoise.world.phrasing import phrasing_of
from fromnoise.world.scene import Relation, Scene
from fromnoise.world.vocabulary import COUNTS, THINGS
from fromnoise.world.worlds import SMALL, WORLDS, World

LITTLE_WORDS: Final = ("the", "of", "in", "on", "at", "by", "is", "are", "to", "some", "very")
WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*")  # of any script


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
    weather: str = ""
    style: str = ""


def parse(text: str, world: World = SMALL) -> Atoms:
    """The facts in a caption or prompt. Words outside the world's grammar say nothing."""
    things: list[Naming] = []
    relations: list[Relation] = []
    said: dict[str, str] = {}  # of the noun that is still to come
    where: dict[str, str] = {}
    for role, word in _tokens(text, world):
        match role:
            case "setting" | "time" | "weather" | "style":
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
    return Atoms(tuple(things), tuple(relations), **where)


def contradictions(atoms: Atoms, scene: Scene) -> list[str]:
    """What the atoms say that is not so in the scene; empty where every fact holds."""
    wrong = [f"{role}: {said} is {so}" for role, said, so in _facts(atoms, scene) if said not in ("", so)]
    for naming in atoms.things:
        for thing in scene.things:
            if (
                thing.kind == naming.kind
                and not naming.colour
                and thing.colour
                and thing.colour not in THINGS[thing.kind].usual
            ):
                wrong.append(f"unsaid colour: {thing.colour} {thing.kind}")
    if scene.style and not atoms.style:
        wrong.append(f"unsaid style: {scene.style}")
    return wrong + [f"{r.word}: {r}" for r in atoms.relations if not _related(r, atoms, scene)]


def unknown_words(
    text: str, world: World = SMALL, learnt: Collection[str] = ()
) -> list[tuple[str, list[str]]]:
    """The words that the world does not know, in order, each with the nearest that it knows (best first).

    `learnt`: words that a model knows beside
    """
    plain = _plain(text)
    for word in learnt:
        plain = re.sub(rf"(?<!\w){re.escape(word.lower())}(?!\w)", " ", plain)
    more = _more_than_counted(world)
    rest = _lexicon_pattern(world).sub(lambda found: found[0] if found[0] in more else " ", plain)
    strangers = dict.fromkeys(word for word in WORD.findall(rest) if word not in _small_words())
    return [(word, [more[word]] if word in more else _nearest(word, world)) for word in strangers]


def _more_than_counted(world: World) -> dict[str, str]:
    """Numerals above the world's counts, in letters and digits, each with the largest that it has."""
    above = COUNTS[max(world.counts) :]
    return {numeral: COUNTS[max(world.counts) - 1] for word in above for numeral in (word, NUMERALS[word])}


def _facts(atoms: Atoms, scene: Scene) -> Iterator[tuple[str, str, str]]:
    yield "setting", atoms.setting, scene.setting
    yield "time", atoms.time, scene.time
    yield "weather", atoms.weather, scene.weather
    yield "style", atoms.style, scene.style
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
        case word:
            return holds(word, boxes[a], boxes[b])


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _tokens(text: str, world: World) -> Iterator[tuple[str, str]]:
    lexicon = _lexicon(world)
    for found in _lexicon_pattern(world).finditer(_plain(text)):
        yield lexicon[found[0]]


def words_for(role: Literal["kind", "colour"]) -> dict[str, str]:
    """Every phrase that names a thing (or a colour) in any world, and the word it stands for."""
    entries = (entry for world in WORLDS.values() for entry in _lexicon(world).items())
    return {phrase: word for phrase, (its_role, word) in entries if its_role == role}


@cache
def _lexicon(world: World) -> dict[str, tuple[str, str]]:
    """Phrase -> (role, the word of the vocabulary it stands for)."""
    said = phrasing_of(world)
    styles = {style: (*said.style_nouns[style], *said.style_remarks[style]) for style in said.style_nouns}
    tables = {
        "setting": said.settings,
        "time": said.times,
        "weather": said.weathers,
        "style": styles,
        "relation": {**said.relations, "beside": BESIDE},
        "size": said.sizes,
        "texture": said.textures,
        "kind": {kind: (kind, *said.kinds.get(kind, ())) for kind in world.things},
        "count": {word: (word, digit) for word, digit in NUMERALS.items()},
        "colour": {colour: (colour,) for colour in world.colours},
    }
    lexicon = {"and": ("break", ""), "with": ("break", ""), ",": ("break", "")}
    lexicon |= {word: ("setting", word) for word in world.settings}
    lexicon |= {word: ("time", word) for word in world.times}
    lexicon |= {word: ("weather", word) for word in said.weathers}
    lexicon |= {word: ("style", word) for word in said.style_nouns}
    for role, table in tables.items():
        for word, phrases in table.items():
            lexicon |= {phrase: (role, word) for phrase in phrases}
            if role == "kind":
                lexicon |= {plural(phrase, world): (role, word) for phrase in phrases}
    return lexicon


@cache
def _lexicon_pattern(world: World) -> re.Pattern[str]:
    longest_first = sorted(_lexicon(world), key=len, reverse=True)
    return re.compile("|".join(rf"\b{re.escape(p)}\b" if p != "," else "," for p in longest_first))


@cache
def _small_words() -> frozenset[str]:
    """Words that say nothing of the picture."""
    texts = (*TEMPLATES, *STYLE_TEMPLATES, *LITTLE_WORDS, *AND)
    return frozenset(WORD.findall(re.sub(r"\{\w+\}", "", " ".join(texts))))


def _nearest(word: str, world: World) -> list[str]:
    lexicon, table = _lexicon(world), phrasing_of(world).near
    near = {stranger: ours for ours, strangers in table.items() for stranger in strangers.split()}
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in near:
            return [near[form]]
        if form in lexicon:
            return [form]
    concepts = [phrase for phrase, (role, _) in lexicon.items() if role != "break" and phrase.isalpha()]
    return get_close_matches(word, concepts, n=3, cutoff=0.7)
