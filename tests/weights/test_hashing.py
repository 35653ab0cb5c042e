"""Sums that another thread computes: of every byte, in order, whatever goes on beside."""

from collections.abc import Iterator
from hashlib import sha256

import pytest

from fromnoise.weights.hashing import BEHIND, Hash, Hasher

PIECES = [bytes([n]) * (1000 * n) for n in range(1, 5 * BEHIND)]


def views() -> list[memoryview]:
    return [memoryview(piece) for piece in PIECES]


def test_the_sum_is_that_of_all_bytes_in_order() -> None:
    with Hasher() as hasher:
        found = Hash(hasher)
        assert b"".join(found.along(views())) == b"".join(PIECES)
    assert found.hexdigest() == sha256(b"".join(PIECES)).hexdigest()


def test_two_sums_do_not_mix() -> None:
    with Hasher() as hasher:
        one, other = Hash(hasher), Hash(hasher)
        for _ in zip(one.along(views()), other.along(reversed(views())), strict=True):
            assert len(hasher.waiting) <= BEHIND
    assert one.hexdigest() == sha256(b"".join(PIECES)).hexdigest()
    assert other.hexdigest() == sha256(b"".join(reversed(PIECES))).hexdigest()


def test_who_stops_half_way_leaves_no_thread_behind() -> None:
    def stopped(pieces: Iterator[memoryview]) -> None:
        next(pieces)
        raise KeyboardInterrupt

    hasher = Hasher()
    with pytest.raises(KeyboardInterrupt), hasher:
        stopped(Hash(hasher).along(views()))
    assert not any(thread.is_alive() for thread in hasher.thread._threads)
