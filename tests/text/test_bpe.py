from collections import Counter
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fromnoise.text.bpe import Pair, join, learn, replace

steady = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
spellings = st.text("abc", min_size=1, max_size=9).map(tuple)
corpora = st.dictionaries(spellings, st.integers(1, 9), max_size=8)


def learn_slowly(words: dict[tuple[str, ...], int], limit: int) -> list[Pair]:
    """Algorithm 1 of Sennrich et al. 2016 to the letter: count every pair again after every merge."""
    merges: list[Pair] = []
    while len(merges) < limit:
        counts: Counter[Pair] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        recounted: Counter[tuple[str, ...]] = Counter()
        for word, count in words.items():
            recounted[tuple(replace(word, best))] += count
        words = recounted
    return merges


def test_the_example_of_the_paper_gives_its_merges() -> None:
    words = {"low.": 5, "lower.": 2, "newest.": 6, "widest.": 3}
    merges = learn({tuple(word): count for word, count in words.items()}, 4)
    assert merges == [("e", "s"), ("es", "t"), ("est", "."), ("l", "o")]


@steady
@given(corpora, st.integers(0, 30))
def test_counting_only_what_changed_learns_the_same_as_counting_everything(
    words: dict[tuple[str, ...], int], limit: int
) -> None:
    assert learn(words, limit) == learn_slowly(words, limit)


@steady
@given(corpora)
def test_no_symbol_is_ever_made_twice(words: dict[tuple[str, ...], int]) -> None:
    made = ["".join(pair) for pair in learn(words, 99)]
    assert len(set(made)) == len(made)


@steady
@given(corpora)
def test_with_room_enough_every_word_becomes_one_symbol(words: dict[tuple[str, ...], int]) -> None:
    made = {*"abc", *("".join(pair) for pair in learn(words, 999))}
    assert {"".join(word) for word in words} <= made


def test_replacing_works_from_the_left_and_never_overlaps() -> None:
    assert replace(list("aaaab"), ("a", "a")) == ["aa", "aa", "b"]
    assert replace(list("aaab"), ("a", "a")) == ["aa", "a", "b"]


@steady
@given(corpora, spellings)
def test_joining_by_queue_equals_replaying_every_merge(
    words: dict[tuple[str, ...], int], word: tuple[str, ...]
) -> None:
    merges = learn(words, 20)
    numbers = {symbol: number for number, symbol in enumerate(["a", "b", "c", *map("".join, merges)])}
    merged = {(numbers[a], numbers[b]): numbers[a + b] for a, b in merges}
    replayed = list(word)
    for pair in merges:
        replayed = replace(replayed, pair)
    assert join([numbers[letter] for letter in word], merged) == [numbers[symbol] for symbol in replayed]


def test_a_word_of_a_hundred_thousand_letters_does_not_take_quadratic_time() -> None:
    doubling = {(n, n): n + 1 for n in range(17)}
    assert join([0] * 2**17, doubling) == [17]
