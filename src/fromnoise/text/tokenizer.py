"""Text to the integers that a CLIP text transformer reads, and back."""

import gzip
import json
import os
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self, cast

import regex

from fromnoise.durable import replacing
from fromnoise.errors import RequestError, SpecError, StorageError, WeightsError
from fromnoise.text.bpe import Pair, join, learn

CONTEXT: Final = 77  # tokens a text transformer reads at once; Radford et al. 2021, sec. 2.4
START, END = "<|startoftext|>", "<|endoftext|>"
MARKS: Final = 2
WORD_END: Final = "</w>"

CLIP_FILE: Final = "clip_merges.txt.gz"
CLIP_SIZE: Final = 49408

# Contractions, runs of letters, single digits, runs of other signs.
WORD: Final = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
MARK: Final = regex.compile(r"(<\|startoftext\|>|<\|endoftext\|>)")
# A mark in capitals is no mark, yet CLIP's pattern still sets it apart from the signs after it.
WORD_APART: Final = regex.compile(rf"<\|startoftext\|>|<\|endoftext\|>|{WORD.pattern}")

CACHED_WORDS: Final = 1 << 15
CACHED_LENGTH: Final = 64


def _byte_letters() -> dict[int, str]:
    """Every byte in vocabulary order, with the visible letter that stands for it in a merge table."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


LETTERS: Final = _byte_letters()
BYTES: Final = {letter: byte for byte, letter in LETTERS.items()}
BASE: Final = (*LETTERS.values(), *(letter + WORD_END for letter in LETTERS.values()))


def _clean(text: str) -> str:
    # CLIP's vocabulary lowers letter by letter: no special sigma at the end of a Greek word.
    return unicodedata.normalize("NFC", text).replace("Σ", "σ").lower()


def _spell(word: str) -> tuple[str, ...]:
    """One symbol per byte of UTF-8; the last one carries the end of the word."""
    try:
        letters = [LETTERS[byte] for byte in word.encode()]
    except UnicodeEncodeError as error:
        half = f"U+{ord(word[error.start]):04X}"
        raise RequestError(f"the text holds {half}, half a character", hint="write it as UTF-8") from error
    return (*letters[:-1], letters[-1] + WORD_END)


@dataclass(frozen=True, slots=True)
class Windows:
    """Texts made ready for a text transformer, and what did not fit."""

    ids: list[list[int]]  # per text: start, tokens, end, padding; all of the same length
    cut: list[list[int]]  # per text: the tokens left out at its end; `decode` says which words they were


class Tokenizer:
    """Byte-pair encoding as CLIP does it: any text becomes ids below `size`, and no word is unknown.

    Ids:     256 bytes, 256 bytes that end a word, one per merge, unused ones up to `size`, start, end.
             Behind them may be those of `added` words, which only `TaughtTokenizer` reads
    Raises:  WeightsError for merges that nothing can have learnt, SpecError for numbers that do not fit
    Source:  Radford et al. 2021, sec. 2.4 (arXiv:2103.00020)
    """

    def __init__(
        self,
        merges: Iterable[Pair],
        *,
        size: int | None = None,
        pad: int | None = None,
        context: int = CONTEXT,
    ) -> None:
        self.merges = tuple(merges)
        self._numbers, self._merged = _number(self.merges)
        self._symbols = tuple(self._numbers)
        self._cache: dict[str, list[int]] = {}
        needed = len(self._symbols) + MARKS
        self.size = needed if size is None else size
        self.start, self.end = self.size - 2, self.size - 1
        self.pad = self.end if pad is None else pad
        self.context = context
        self.added: Mapping[str, int] = {}
        if self.size < needed:
            raise SpecError(f"a vocabulary of {size} is too small: bytes, merges and marks take {needed}")
        if not 0 <= self.pad < self.size:
            raise SpecError(f"pad token {pad} is outside 0..{self.size - 1}")
        if context < MARKS:
            raise SpecError(f"a context of {context} has no room for the start and end tokens")

    @classmethod
    def train(cls, captions: Iterable[str], size: int, *, context: int = CONTEXT) -> Self:
        """Learn a vocabulary from captions. Ids stay unused if every word is one token before it is full.

        Raises: SpecError if `size` does not even hold the bytes
        """
        words = Counter(word for caption in captions for word in WORD.findall(_clean(caption)))
        spelled = {_spell(word): count for word, count in words.items()}
        return cls(learn(spelled, size - len(BASE) - MARKS), size=size, context=context)

    @classmethod
    def clip(cls, *, pad: int | None = None, context: int = CONTEXT) -> Self:
        """The vocabulary of CLIP. Stable Diffusion 1 pads with the end token, OpenCLIP models with 0.

        Raises: WeightsError if the data file is damaged
        """
        try:
            packed = files("fromnoise.text").joinpath(CLIP_FILE).read_bytes()
            merges = _parse(gzip.decompress(packed).decode().splitlines())
        except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
            raise WeightsError(f"{CLIP_FILE} is damaged: {error}", hint="install fromnoise again") from error
        if len(BASE) + len(merges) + MARKS != CLIP_SIZE:
            raise WeightsError(f"{CLIP_FILE} holds {len(merges)} merges", hint="install fromnoise again")
        return cls(merges, pad=pad, context=context)

    def __call__(
        self, texts: str | Iterable[str], *, context: int | None = None, pad: int | None = None
    ) -> Windows:
        """Bring each text to `context` tokens: start, the text, end, padding. What does not fit is in `cut`.

        Raises: RequestError for text that is not Unicode
        """
        room = (self.context if context is None else context) - MARKS
        assert room >= 0, f"a context of {context} has no room for the start and end tokens"
        pad = self.pad if pad is None else pad
        tokens = [self.encode(text) for text in ([texts] if isinstance(texts, str) else texts)]
        return Windows(
            ids=[[self.start, *t[:room], self.end, *[pad] * (room - len(t))] for t in tokens],
            cut=[t[room:] for t in tokens],
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without start and end; a mark written out in the text becomes its id.

        Raises: RequestError for text that is not Unicode
        """
        if "<|" not in text:
            return self._encode_unmarked(text)
        marks = {START: self.start, END: self.end}
        ids: list[int] = []
        for part in MARK.split(text):
            ids += [marks[part]] if part in marks else self._encode_unmarked(part)
        return ids

    def _encode_unmarked(self, text: str) -> list[int]:
        ids: list[int] = []
        cached = self._cache.get
        for word in WORD_APART.findall(_clean(text)):
            ids += cached(word) or self._encode_word(word)
        return ids

    def _encode_word(self, word: str) -> list[int]:
        ids: list[int] = []
        for part in WORD.findall(word):  # one part, but for a mark in capitals
            ids += join([self._numbers[symbol] for symbol in _spell(part)], self._merged)
        if len(word) <= CACHED_LENGTH:
            if len(self._cache) >= CACHED_WORDS:
                self._cache.clear()
            self._cache[word] = ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids: lower case, a space after every word, start and end left out.

        Raises: RequestError for an id that stands for nothing
        """
        text = "".join(self._symbol(number) for number in ids if number not in (self.start, self.end))
        words = (bytes(BYTES[letter] for letter in word) for word in text.split(WORD_END))
        return " ".join(word.decode(errors="replace") for word in words).removesuffix(" ")

    def _symbol(self, number: int) -> str:
        if not 0 <= number < len(self._symbols):
            raise RequestError(f"token {number} stands for nothing; symbols are 0..{len(self._symbols) - 1}")
        return self._symbols[number]

    def vocabulary(self) -> dict[str, int]:
        """Every symbol's id, start and end included; idle ids are called by number."""
        unused = {f"<|{number}|>": number for number in range(len(self._symbols), self.start)}
        return {**self._numbers, **unused, START: self.start, END: self.end}

    def words(self, text: str) -> list[str]:
        """What the encoder cuts a text into, cleaned: words, digits, runs of signs."""
        return WORD.findall(_clean(text))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a small JSON file that `load` reads back.  Raises: StorageError"""
        with replacing(Path(path)) as part:
            part.write_text(json.dumps(self.to_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.  Raises: StorageError if unreadable, WeightsError if damaged"""
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise WeightsError(f"{path} is not a vocabulary: {error}") from error
        except (SpecError, WeightsError) as error:
            raise WeightsError(f"{path} is not a vocabulary: {error.message}") from error

    def to_json(self) -> dict[str, Any]:
        """Plain lists, strings and numbers."""
        merges = [" ".join(pair) for pair in self.merges]
        plain = {"size": self.size, "pad": self.pad, "context": self.context, "merges": merges}
        return {**plain, "added": dict(self.added)} if self.added else plain

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Rebuild from `to_json`, or from the short form for CLIP's own vocabulary, whose merges we ship.

        Raises: WeightsError, SpecError
        """
        match data:
            case {"added": dict(words), **plain}:  # pyright: ignore[reportUnknownVariableType]
                tokenizer = cls.from_json(plain)
                tokenizer.added = _added(cast(dict[Any, Any], words), tokenizer.size)
                return tokenizer
            case {"vocabulary": "clip", "pad": int(pad), "context": int(context), **strange} if not strange:
                return cls.clip(pad=pad, context=context)
            case {"size": int(size), "pad": int(pad), "context": int(context), "merges": [*lines], **strange}:
                if strange:
                    raise WeightsError(f"it has a field we do not know, {min(strange)!r}")
                return cls(_parse(lines), size=size, pad=pad, context=context)
            case _:
                raise WeightsError("it needs the numbers size, pad and context, and the list merges")


def _added(words: Mapping[Any, Any], size: int) -> dict[str, int]:
    """Words and their ids behind a vocabulary of this size.  Raises: WeightsError"""
    for word, number in words.items():
        if not (isinstance(word, str) and isinstance(number, int) and number >= size):
            raise WeightsError(f"the added word {word!r} has the id {number!r}, which is none from {size} on")
    return dict(words)


def _parse(lines: Iterable[object]) -> list[Pair]:
    """Two symbols a line, a space between them.  Raises: WeightsError"""
    merges: list[Pair] = []
    for line in lines:
        match line.split(" ") if isinstance(line, str) else None:
            case [left, right]:
                merges.append((left, right))
            case _:
                raise WeightsError(f"merge {len(merges)} is {line!r}, not two symbols")
    return merges


def _number(merges: Iterable[Pair]) -> tuple[dict[str, int], dict[tuple[int, int], int]]:
    """Give every symbol its id; say which two ids make which third.  Raises: WeightsError"""
    numbers = {symbol: number for number, symbol in enumerate(BASE)}
    merged: dict[tuple[int, int], int] = {}
    for left, right in merges:
        for part in (left, right):
            if part not in numbers:
                raise WeightsError(f"merge {len(merged)} joins {part!r}, which no earlier merge makes")
        if left.endswith(WORD_END) or left + right in numbers:
            raise WeightsError(f"merge {len(merged)} makes {left + right!r}, which is no new symbol")
        merged[numbers[left], numbers[right]] = numbers[left + right] = len(numbers)
    return numbers, merged
