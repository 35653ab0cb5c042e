"""Ways to damage bytes, pickles and JSON, all drawn from a generator, so that every case can be had again."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from struct import pack
from typing import Any

import torch
from forgery import named, numbers, pickled, storage, table, tensor, text

from fromnoise.weights.pickle_names import NAMES
from fromnoise.weights.pickles import INSTRUCTIONS

EDGES = [0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
CODES = [*INSTRUCTIONS, b".", b"\x80", b"i", b"o", b"P", b"I", b"\x82", b"\x8b", b"\x92", b"\x96", b"\x97"]
WORDS = [
    *(named(*name) for name in (*NAMES.make, *sorted(NAMES.inert)[:20], ("os", "system"))),
    *(storage(), storage(count=2**40), tensor(), tensor((2, 2), (2, 1)), tensor((0, 4), (4, 1))),
    *(
        numbers(2, 2),
        numbers(2**62, 4),
        numbers(-1),
        text("state_dict"),
        table(x=tensor()),
        b"h\0",
        b"j\0\0\0\0",
    ),
    *(b"q\0", b"}(", b"](", b"(t", b")R", b"\x85R", b"}b", b"(u", b"(e", b"Q", b"K\x04"),
]
VALUES: list[Any] = [
    *(-1, -(2**63), *EDGES, 1e9, 0.5, 1e308, float("nan"), float("inf"), True, None, [], {}, [[[]]]),
    *("", "..", "../x", "/etc/passwd", "x/../y", "a\0b", "\x1b[31m", "\u202e", "x" * 10_000),
    *("F32", "F64", "BF16", "I8", "F8_E4M3", "F8_E8M0", "F4", "BOOL", "float8_e4m3fn"),
    *([1], [2**40, 2**40], [-1], [1.5], ["1"], [[1]], [0, 2**63]),
]
Mutation = Callable[[Random, bytearray], None]


def flip(random: Random, data: bytearray) -> None:
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def overwrite(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data))
    edge = pack("<Q", random.choice(EDGES))[: random.choice([1, 2, 4, 8])]
    data[at : at + len(edge)] = edge


def remove(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data))
    del data[at : at + random.choice([1, 1, 2, 4, 40])]


def repeat(random: Random, data: bytearray) -> None:
    at, to = random.randrange(len(data)), random.randrange(len(data))
    data[to:to] = data[at : at + random.choice([1, 2, 8, 60])]


def insert(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data))
    data[at:at] = random.choice(CODES if random.random() < 0.5 else WORDS)


def cut(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data)) :]


ANYWHERE: tuple[Mutation, ...] = (flip, overwrite, remove, repeat, cut)
IN_FILES: tuple[Mutation, ...] = (*ANYWHERE, insert)
IN_PICKLES: tuple[Mutation, ...] = (flip, overwrite, remove, repeat, insert, insert, insert)


def mutated(random: Random, data: bytes, mutations: Sequence[Mutation]) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 3, 8])):
        random.choice(mutations)(random, changed)
        changed = changed or bytearray(b"\0")
    return bytes(changed)


def edited(random: Random, value: Any) -> Any:
    """A copy of a JSON value in which something, anywhere, is something else."""
    if random.random() < 0.2 or not isinstance(value, dict | list) or not value:
        return random.choice(VALUES)
    if isinstance(value, list):
        at = random.randrange(len(value))
        return [edited(random, inner) if index == at else inner for index, inner in enumerate(value)]
    key = random.choice(list(value))
    match random.randrange(8):
        case 0:
            return {name: inner for name, inner in value.items() if name != key}
        case 1:
            return value | {str(random.choice(VALUES))[:50]: value[key]}
        case _:
            return value | {key: edited(random, value[key])}


def as_json(random: Random, value: Any) -> bytes:
    """The value with one to three edits, or its text with damage, or nested without end."""
    if random.random() < 0.02:
        return b"[" * random.choice([100, 10_000, 200_000])
    for _ in range(random.choice([0, 1, 1, 2, 3])):
        value = edited(random, value)
    data = json.dumps(value).encode("utf-8", "surrogatepass")
    return mutated(random, data, ANYWHERE) if random.random() < 0.3 else data


def checkpoints(folder: Path) -> tuple[list[bytes], list[bytes]]:
    """Whole files as torch writes them, and pickles alone."""
    base = torch.arange(12.0)
    value = {
        "state_dict": {"a": base.view(3, 4), "b": base[2:6], "c": torch.nn.Parameter(torch.ones(2).half())},
        "epoch": 3,
        "callbacks": {"x": [1, 2, (3, None)], 5: {"y": True}},
    }
    files = list[bytes]()
    for is_zip in (True, False):
        torch.save(value, folder / "seed", _use_new_zipfile_serialization=is_zip)
        files.append((folder / "seed").read_bytes())
    (folder / "seed").unlink()
    state = table(a=tensor(), b=tensor((2, 2), (2, 1)), c=table(d=tensor((1,), offset=3)))
    return files, [pickled(state), pickled(table(state_dict=state, step=b"K\x05", rest=b"](K\1K\2e"))]
