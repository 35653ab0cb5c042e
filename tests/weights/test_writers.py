"""Files written one tensor at a time, read by the safetensors library, by torch, and by our own reader."""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.weights.checkpoint import open_checkpoint
from fromnoise.weights.checkpoint_writer import write_checkpoint
from fromnoise.weights.storages import DTYPES
from fromnoise.weights.writers import NAMES, Slot, write_safetensors

Tensors = Mapping[str, Tensor]
BYTE = st.integers(0, 255)


def filled(dtype: torch.dtype, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Any bytes at all: also numbers that are not finite, and NaNs of every kind."""
    count = dtype.itemsize * torch.Size(shape).numel()
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randint(
        0, 2 if dtype == torch.bool else 256, (count,), dtype=torch.uint8, generator=generator
    )
    return raw.view(dtype).reshape(shape)


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def same(a: Tensors, b: Tensors) -> bool:
    return a.keys() == b.keys() and all(
        (a[name].dtype, a[name].shape, bits(a[name])) == (b[name].dtype, b[name].shape, bits(b[name]))
        for name in a
    )


# `load` knows fewer types than the library's own files may hold
READ = sorted(NAMES.keys() - {torch.float8_e8m0fnu}, key=str)
MIXED: Tensors = {
    "odd.bytes": filled(torch.int8, (3,)),
    "half.weight": filled(torch.float16, (5, 3)),
    "number": filled(torch.int64, ()),
    "v_pred": torch.zeros(0),
    "kernel": filled(torch.float32, (2, 3, 1, 1)),
    "Größe «1»": filled(torch.bfloat16, (2, 2)),
    "eighth": filled(torch.float8_e4m3fn, (7,)),
    "flags": filled(torch.bool, (5,)),
    "nothing": filled(torch.float16, (0, 4)),
}


def slots(tensors: Tensors) -> list[Slot]:
    return [Slot(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]


def pieces(tensors: Tensors, length: int = 5):
    """Handed over a few bytes at a time."""

    def numbers(slot: Slot) -> Iterable[bytes]:
        data = bits(tensors[slot.name])
        return (data[at : at + length] for at in range(0, len(data), length))

    return numbers


def safetensors_of(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    file = io.BytesIO()
    write_safetensors(file, slots(tensors), metadata or {}, pieces(tensors))
    return file.getvalue()


def checkpoint_at(path: Path, tensors: Tensors, facts: Mapping[str, str | int] | None = None) -> Path:
    with path.open("wb") as file:
        write_checkpoint(file, slots(tensors), facts or {}, pieces(tensors))
    return path


# --- safetensors ---


def test_the_library_reads_every_tensor_as_it_was() -> None:
    assert same(load(safetensors_of(MIXED)), MIXED)


def test_a_file_of_one_type_is_the_librarys_own_byte_for_byte() -> None:
    halves = {name: filled(torch.float16, (n, 2), n) for n, name in enumerate("abcdef", start=1)}
    data = safetensors_of(halves, {"b": "2", "a": "1"})
    ours, theirs = (json.loads(d[8 : 8 + int.from_bytes(d[:8], "little")]) for d in (data, save(halves)))
    assert ours.pop("__metadata__") == {"a": "1", "b": "2", "format": "pt"}
    assert ours == theirs
    assert data.endswith(b"".join(map(bits, halves.values())))


def test_metadata_arrive_and_every_number_lies_evenly(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    data = safetensors_of(MIXED, {"modelspec.title": "Müller «2»", "format": "tf"})
    path.write_bytes(data)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"modelspec.title": "Müller «2»", "format": "pt"}
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    table = json.loads(data[8 : 8 + length])
    assert all(table[name]["data_offsets"][0] % t.dtype.itemsize == 0 for name, t in MIXED.items())


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])).filter("__metadata__".__ne__),
        st.tuples(st.sampled_from(READ), st.lists(st.integers(0, 3), max_size=3)),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_is_written_is_read(kinds: dict[str, tuple[torch.dtype, list[int]]]) -> None:
    tensors = {name: filled(dtype, tuple(shape)) for name, (dtype, shape) in kinds.items()}
    assert same(load(safetensors_of(tensors)), tensors)


def test_a_type_that_the_format_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(WeightsError, match=r"'wave' is of the type torch.complex128, which safetensors") as e:
        safetensors_of({"wave": torch.zeros(2, dtype=torch.complex128)})
    assert "--dtype" in e.value.hint


@pytest.mark.parametrize("length", [3, 5])
def test_a_tensor_that_is_longer_or_shorter_than_said_is_refused(length: int) -> None:
    with pytest.raises(WeightsError, match=f"'a' has {length} bytes instead of 4"):
        write_safetensors(io.BytesIO(), [Slot("a", torch.int8, (4,))], {}, lambda _: [bytes(length)])


# --- .ckpt ---


def test_torch_reads_every_tensor_as_it_was(tmp_path: Path) -> None:
    facts = {"global_step": 875_000, "modelspec.title": "Müller", "far": 2**40, "back": -1}
    path = checkpoint_at(tmp_path / "a.ckpt", MIXED, facts)
    for mapped in (False, True):
        found = torch.load(path, weights_only=True, mmap=mapped)
        assert same(found.pop("state_dict"), MIXED)
        assert found == facts


def test_our_reader_reads_every_tensor_as_it_was(tmp_path: Path) -> None:
    with open_checkpoint(checkpoint_at(tmp_path / "a.ckpt", MIXED, {"global_step": 7})) as contents:
        assert same(contents.read_all(), MIXED)
        assert contents.facts == {"global_step": 7}
        assert contents.unwrapped == ("state_dict",)
        assert contents.dropped == ()


def test_the_archive_is_sound_and_every_storage_can_be_mapped(tmp_path: Path) -> None:
    path = checkpoint_at(tmp_path / "a.ckpt", MIXED)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        for info in archive.infolist():
            if "/data/" in info.filename:
                with archive.open(info) as entry:
                    assert entry._orig_compress_start % 64 == 0  # type: ignore[attr-defined]


def test_the_same_tensors_make_the_same_file(tmp_path: Path) -> None:
    a, b = (checkpoint_at(tmp_path / name, MIXED).read_bytes() for name in "ab")
    assert a == b
    assert safetensors_of(MIXED) == safetensors_of(MIXED)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_type_that_is_read_is_written(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {"a": filled(dtype, (3, 2))}
    path = checkpoint_at(tmp_path / "a.ckpt", tensors)
    with open_checkpoint(path) as contents:
        assert same(contents.read_all(), tensors)
    assert same(torch.load(path, weights_only=True)["state_dict"], tensors)


def test_a_type_that_torch_does_not_store_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"'wave' is of the type torch.complex128, which .ckpt files"):
        checkpoint_at(tmp_path / "a.ckpt", {"wave": torch.zeros(2, dtype=torch.complex128)})


@pytest.mark.slow
def test_a_checkpoint_of_more_than_four_gigabytes_is_read(tmp_path: Path) -> None:
    large, last = (2200 << 20,), filled(torch.float16, (5,))  # in two tensors; the last one lies beyond
    heads = [Slot(name, torch.uint8, large) for name in "ab"] + [Slot("c", last.dtype, (5,))]
    zeros = bytes(1 << 20)

    def numbers(slot: Slot) -> Iterable[bytes]:
        return [bits(last)] if slot.name == "c" else (zeros for _ in range(large[0] >> 20))

    path = tmp_path / "a.ckpt"
    with path.open("wb") as file:
        write_checkpoint(file, heads, {}, numbers)
    try:
        with open_checkpoint(path) as contents:
            assert contents.tensors["b"].shape == large
            assert bits(contents.read("c")) == bits(last)
        found = torch.load(path, weights_only=True, mmap=True)["state_dict"]
        assert bits(found["c"]) == bits(last)
        assert found["b"].shape == large
    finally:
        path.unlink()
