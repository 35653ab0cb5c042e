"""Damaged files, thousands of them: each is read or refused, and never takes long."""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from struct import pack

import pytest
import torch
from forgery import legacy, named, numbers, pickled, storage, table, tensor, text, zipped

from fromnoise.errors import StorageError, WeightsError
from fromnoise.weights.checkpoint import open_checkpoint
from fromnoise.weights.pickle_names import NAMES
from fromnoise.weights.pickles import INSTRUCTIONS

LONG = 2.0  # seconds of work
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


def mutated(random: Random, data: bytes, mutations: list[Mutation]) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 3, 8])):
        random.choice(mutations)(random, changed)
        changed = changed or bytearray(b"\0")
    return bytes(changed)


def seeds(folder: Path) -> tuple[list[bytes], list[bytes]]:
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
    state = table(a=tensor(), b=tensor((2, 2), (2, 1)), c=table(d=tensor((1,), offset=3)))
    return files, [pickled(state), pickled(table(state_dict=state, step=b"K\x05", rest=b"](K\1K\2e"))]


def outcome(path: Path) -> str:
    """Why a file was refused, or nothing if it was read."""
    try:
        with open_checkpoint(path) as contents:
            contents.read_all()
    except (WeightsError, StorageError) as error:
        return error.message
    return ""


def fuzz(folder: Path, rounds: int, seed: int) -> tuple[int, int]:
    """How many mutated files were read, and how many refused."""
    random, path = Random(seed), folder / "x.ckpt"
    files, pickles = seeds(folder)
    everything: list[Mutation] = [flip, overwrite, remove, repeat, insert, cut]
    in_pickles: list[Mutation] = [flip, overwrite, remove, repeat, insert, insert, insert]
    read = 0
    for index in range(rounds):
        match index % 4:
            case 0 | 1:
                data = mutated(random, files[index % 2], everything)
            case 2:
                data = zipped(mutated(random, random.choice(pickles), in_pickles))
            case _:
                data = legacy(mutated(random, random.choice(pickles)[2:-1], in_pickles))
        path.unlink(missing_ok=True)  # truncating it would wait for the disk
        path.write_bytes(data)
        began = time.process_time()
        message = outcome(path)
        assert message.isprintable(), (seed, index)
        assert time.process_time() - began < LONG, (seed, index)
        read += not message
    return read, rounds - read


def test_ten_thousand_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    read, refused = fuzz(tmp_path, rounds=10_000, seed=0)
    assert read > 200
    assert refused > 5_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_a_hundred_thousand_damaged_files_are_read_or_refused(tmp_path: Path, seed: int) -> None:
    fuzz(tmp_path, rounds=10_000, seed=seed)
