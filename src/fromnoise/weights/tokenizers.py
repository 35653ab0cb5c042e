"""The vocabularies of a model's text encoders, as `Tokenizer.from_json` takes them."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, cast

from fromnoise.errors import WeightsError
from fromnoise.specs import ClipSpec, ModelSpec
from fromnoise.weights.containers import open_file
from fromnoise.weights.folders import contained, read_json
from fromnoise.weights.networks import find_networks, text_places
from fromnoise.weights.stored import Stored

Json = dict[str, Any]

VOCABULARY, MERGES, FAST = "vocab.json", "merges.txt", "tokenizer.json"
ADDED: Final = "added_tokens.json"  # words behind the vocabulary, such as those of textual inversion
START, END = "<|startoftext|>", "<|endoftext|>"
BYTES: Final = 2 * 256  # ids before those of the merges: every byte, and every byte that ends a word
LARGEST: Final = 16 << 20  # bytes of a file that is read; CLIP's are under 4 MB
# SHA-256 of CLIP's 48,894 merges, one a line, as text/clip_merges.txt.gz holds them
CLIP_MERGES: Final = "f61f2adf497e6f5357c347aeb4646fabe82f341e946de5bdec5d2858e41bef4a"


def clip_vocabulary(text: ClipSpec) -> Json:
    """The vocabulary that comes with fromnoise."""
    return {"vocabulary": "clip", "pad": text.pad, "context": text.context}


def read_tokenizers(stored: Stored, spec: ModelSpec) -> tuple[Json, ...]:
    """Of a folder, the vocabularies that lie in it; CLIP's for every text encoder without one.

    Raises: StorageError; WeightsError if one is damaged, or no vocabulary as CLIP's
    """
    if stored.container != "folder":
        return tuple(map(clip_vocabulary, spec.texts))
    places = text_places(find_networks(stored.shapes), spec)
    components = {turn: network.place for network, turn in places.items()}
    return tuple(_of(stored, components.get(turn, ""), text) for turn, text in enumerate(spec.texts))


def _of(stored: Stored, component: str, text: ClipSpec) -> Json:
    root, folder = stored.path, stored.path / component.replace("text_encoder", "tokenizer")
    try:
        if (folder / FAST).is_file() and not (folder / MERGES).is_file():
            ids, merges, added = _fast(root, folder)
        elif (folder / MERGES).is_file():
            ids, merges = _slow(root, folder)
            file = folder / ADDED
            added = read_json(root, file, LARGEST, check=False) if file.is_file() else {}
        else:
            return clip_vocabulary(text)
        rows = range(len(ids), text.vocab)  # of the text encoder, behind those of the vocabulary
        words = {word: number for word, number in added.items() if number in rows}
        beside = {"added": words} if words else {}
        if sha256("\n".join(merges).encode()).hexdigest() == CLIP_MERGES:
            return clip_vocabulary(text) | beside
        _check(ids, merges)
    except WeightsError as error:
        raise WeightsError(f"{stored.name}: {folder.name}: {error.message}", hint=error.hint) from error
    return {"size": len(ids), "pad": text.pad, "context": text.context, "merges": merges, **beside}


def _slow(root: Path, folder: Path) -> tuple[Json, list[str]]:
    """Two files: ids by symbol; and the merges, a line each below a comment."""
    ids = read_json(root, folder / VOCABULARY, LARGEST, check=False)
    file, size = open_file(contained(root, folder / MERGES))
    with file:
        if size > LARGEST:
            raise WeightsError(f"{MERGES} is {size:,} bytes long, more than the {LARGEST:,} that are read")
        try:
            first, *lines = file.read(LARGEST).decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise WeightsError(f"{MERGES} is not UTF-8") from error
    lines = lines if first.startswith("#version") else [first, *lines]
    return ids, lines[: len(ids) - BYTES - 2]  # OpenAI's file goes on with merges that CLIP does not use


def _fast(root: Path, folder: Path) -> tuple[Json, list[str], Json]:
    """One file, with everything in it."""
    whole = read_json(root, folder / FAST, LARGEST, check=False)
    match whole.get("model"):
        case {"vocab": dict() as ids, "merges": list() as merges}:  # pyright: ignore[reportUnknownVariableType]
            pairs = cast(Sequence[str | Sequence[str]], merges)
            lines = [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]
            return cast(Json, ids), lines, dict(_listed(whole.get("added_tokens")))
        case _:
            raise WeightsError(f"{FAST} holds no merges of byte pairs")


def _listed(entries: Any) -> Iterator[tuple[str, Any]]:
    """Words that were added, and their ids."""
    for entry in cast(list[Any], entries) if isinstance(entries, list) else ():
        match entry:
            case {"content": str(word), "id": int(number)}:
                yield word, number
            case _:
                pass


def _check(ids: Mapping[str, Any], merges: Sequence[str]) -> None:
    """Refuse ids in another order than `Tokenizer` counts them."""
    wanted = {merge.replace(" ", "", 1): BYTES + place for place, merge in enumerate(merges)}
    wanted |= {START: len(ids) - 2, END: len(ids) - 1}
    if odd := next((symbol for symbol, place in wanted.items() if ids.get(symbol) != place), None):
        problem = f"{odd!r} has the id {ids.get(odd)} where CLIP's order gives {wanted[odd]}"
        raise WeightsError(problem, hint="only vocabularies in the order of CLIP's are read")
