"""Words that a tokenizer is taught beside its vocabulary: each becomes ids of its own (textual inversion)."""

import unicodedata
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final

import regex

from fromnoise.errors import RequestError
from fromnoise.text.tokenizer import END, MARK, START, Tokenizer

LETTER: Final = r"[\p{L}\p{N}]"  # a name within a longer word is not meant


class TaughtTokenizer(Tokenizer):
    """Another tokenizer, and beside its vocabulary words that are so many ids each, from `size` on.

    A word counts wherever it stands for itself, in whatever case; it may hold spaces and signs.
    Raises: RequestError for a name that cannot be a word
    """

    def __init__(self, base: Tokenizer, words: Mapping[str, int]) -> None:
        vars(self).update(vars(base))  # numbering 50,000 merges again would take a tenth of a second
        names = {_folded(word): count for word, count in words.items()}
        for word in words:
            if not word.strip() or word != word.strip() or MARK.search(word) or len(names) < len(words):
                raise RequestError({"embeddings": f"{word!r} cannot be a word of its own"}, hint="rename it")
        starts = accumulate(names.values(), initial=self.size)
        self.taught = {n: range(at, at + k) for (n, k), at in zip(names.items(), starts, strict=False)}
        known = "|".join(map(regex.escape, sorted(names, key=len, reverse=True)))
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
        for part in self._apart.split(text):
            name = _folded(part)
            words += [name] if name in self.taught else super().words(part)
        return words


def _folded(word: str) -> str:
    return unicodedata.normalize("NFC", word).lower()
