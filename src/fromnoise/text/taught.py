"""Words that a tokenizer is taught beside its vocabulary: each becomes ids of its own (textual inversion)."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, count, takewhile
from typing import Final

import regex

from fromnoise.errors import RequestError
from fromnoise.text.tokenizer import END, MARK, START, Tokenizer

NOTHING: Final = "(?!)"  # a pattern that nothing fits
LETTER: Final = r"[\p{L}\p{N}]"  # a name within a longer word is not meant


class TaughtTokenizer(Tokenizer):
    """Another tokenizer with the words that were added to it, and beside these others, so many ids each.

    The others' ids begin at `first`, else where the vocabulary ends. A word counts wherever it stands for
    itself, in whatever case; it may hold spaces and signs.
    Raises: RequestError for a name that cannot be a word
    """

    def __init__(self, base: Tokenizer, words: Mapping[str, int], first: int | None = None) -> None:
        vars(self).update(vars(base))  # numbering 50,000 merges again would take a tenth of a second
        names = {_folded(word): count for word, count in words.items()}
        for word in words:
            if not _is_word(word) or len(names) < len(words):
                raise RequestError({"embeddings": f"{word!r} cannot be a word of its own"}, hint="rename it")
        starts = accumulate(names.values(), initial=self.size if first is None else first)
        more = {n: range(at, at + k) for (n, k), at in zip(names.items(), starts, strict=False)}
        self.taught: Mapping[str, Sequence[int]] = _whole(base.added) | more
        known = "|".join(map(regex.escape, sorted(self.taught, key=len, reverse=True))) or NOTHING
        alone = rf"(?<!{LETTER})(?i:{known})(?!{LETTER})"
        self._apart = regex.compile(rf"({MARK.pattern.strip('()')}|{alone})")

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without start and end; marks and taught words become theirs.

        Raises: RequestError for text that is not Unicode
        """
        ids: list[int] = []
        for part in self._apart.split(unicodedata.normalize("NFC", text)):
            if part in (START, END):
                ids.append(self.start if part == START else self.end)
            else:
                ids += self.taught.get(_folded(part)) or super().encode(part)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; a taught word is named by its first."""
        named = {numbers[0]: name for name, numbers in self.taught.items()}
        said, run = list[str](), list[int]()
        for number in ids:
            if number < self.size:
                run.append(number)
            elif number in named:
                said += [super().decode(run), named[number]]
                run = []
        return " ".join(filter(None, [*said, super().decode(run)]))

    def says(self, text: str) -> list[str]:
        """The taught words in a text, in its order."""
        return [word for word in self.words(text) if word in self.taught]

    def words(self, text: str) -> list[str]:
        """What the encoder cuts a text into; taught words are whole."""
        words: list[str] = []
        for part in self._apart.split(unicodedata.normalize("NFC", text)):
            name = _folded(part)
            words += [name] if name in self.taught else super().words(part)
        return words


def _is_word(word: str) -> bool:
    return word != "" and word == word.strip() and not MARK.search(word)


def _whole(added: Mapping[str, int]) -> dict[str, Sequence[int]]:
    """The words that a tokenizer was given, each with all of its ids; what can be no word is left out.

    A word of several vectors is added as "x", "x_1", "x_2" …, and written "x".
    Source: diffusers' textual inversion
    """
    whole, tails = dict[str, Sequence[int]](), set[str]()
    for word in filter(_is_word, added):
        tail = list(takewhile(added.__contains__, (f"{word}_{number}" for number in count(1))))
        whole[_folded(word)] = [added[each] for each in (word, *tail)]
        tails.update(map(_folded, tail))
    return {word: ids for word, ids in whole.items() if word not in tails}


def _folded(word: str) -> str:
    return unicodedata.normalize("NFC", word).lower()
