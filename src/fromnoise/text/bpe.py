"""Byte-pair encoding: learn which neighbouring symbols to join, then join them.

Source: Sennrich et al. 2016, alg. 1 (arXiv:1508.07909)
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Final

Pair = tuple[str, str]

GONE: Final = -1  # the place of a symbol that its left neighbour has swallowed


def learn(words: Mapping[tuple[str, ...], int], limit: int) -> list[Pair]:
    """Find up to `limit` merges, the most frequent pair first; fewer once every word is a single symbol.

    Ties go to the pair that sorts first, so the same counts always give the same merges.
    """
    spellings, frequency = [list(word) for word in words], list(words.values())
    counts: Counter[Pair] = Counter()
    homes: defaultdict[Pair, set[int]] = defaultdict(set)  # a superset of the words that hold the pair
    for home, spelling in enumerate(spellings):
        for pair in pairwise(spelling):
            counts[pair] += frequency[home]
            homes[pair].add(home)

    merges: list[Pair] = []
    queue = [(-count, pair) for pair, count in counts.items()]
    heapify(queue)
    while queue and len(merges) < limit:
        count, pair = heappop(queue)
        if -count != counts[pair]:  # out of date
            continue
        merges.append(pair)
        changes: Counter[Pair] = Counter()
        for home in homes[pair]:
            for neighbours in pairwise(spellings[home]):
                changes[neighbours] -= frequency[home]
            spellings[home] = replace(spellings[home], pair)
            for neighbours in pairwise(spellings[home]):
                changes[neighbours] += frequency[home]
                homes[neighbours].add(home)
        for changed, change in changes.items():
            counts[changed] += change
            if change and counts[changed]:
                heappush(queue, (-counts[changed], changed))
    return merges


def replace(spelling: Sequence[str], pair: Pair) -> list[str]:
    """Join every occurrence of the pair, from the left."""
    new: list[str] = []
    for symbol in spelling:
        if new and (new[-1], symbol) == pair:
            new[-1] += symbol
        else:
            new.append(symbol)
    return new


def join(symbols: Iterable[int], merged: Mapping[tuple[int, int], int]) -> list[int]:
    """Apply the merges in the order they were learnt (a smaller id is an earlier one), each from the left.

    A queue of pairs over a linked list: n log n steps even for one endless word.
    """
    ids = list(symbols)
    before, after = list(range(-1, len(ids))), list(range(1, len(ids) + 1))
    queue = [(merged[pair], place) for place, pair in enumerate(pairwise(ids)) if pair in merged]
    heapify(queue)
    while queue:
        made, left = heappop(queue)
        right = after[left]
        if right == len(ids) or merged.get((ids[left], ids[right])) != made:  # a neighbour changed meanwhile
            continue
        ids[left], ids[right] = made, GONE
        after[left] = after[right]
        before[after[left]] = left
        for place in (before[left], left):
            if place >= 0 and after[place] < len(ids):
                pair = ids[place], ids[after[place]]
                if pair in merged:
                    heappush(queue, (merged[pair], place))
    return [symbol for symbol in ids if symbol != GONE]
