"""Memory that is lent: never to two at once, and again when it is free."""

import torch

from fromnoise.weights.buffers import Buffers


def test_memory_comes_back_when_the_last_view_of_it_is_gone() -> None:
    buffers = Buffers(100)
    one, other = buffers.lend(100), buffers.lend(7)
    assert (len(one), len(other), len(buffers.free)) == (100, 7, 0)
    one[:] = bytes(range(100))
    part = one[10:20]
    numbers = torch.frombuffer(one[8:16], dtype=torch.int64)
    del one
    assert not buffers.free
    other[:] = bytes(7)
    assert (part[0], numbers.item()) == (10, int.from_bytes(bytes(range(8, 16)), "little"))
    del part
    assert not buffers.free
    del numbers
    assert len(buffers.free) == 1
    again = buffers.lend(50)
    assert (again[5], len(buffers.free)) == (5, 0)  # the same memory


def test_who_asks_for_more_gets_more() -> None:
    buffers = Buffers(10)
    del_me = buffers.lend(10)
    del del_me
    assert len(buffers.lend(1000)) == 1000
    assert len(buffers.lend(0)) == 0
