import errno
import os
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from weakref import ref

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fromnoise import durable
from fromnoise.errors import StorageError, WeightsError
from fromnoise.train import state
from fromnoise.train.state import (
    DAMAGED,
    LATEST,
    PREVIOUS,
    keep,
    newest,
    prefixed,
    read_checkpoint,
    under,
    write_checkpoint,
)

TENSORS = {
    "weight": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "half": torch.ones(5).half(),
    "brain": torch.ones(5).bfloat16(),
    "bytes": torch.arange(6, dtype=torch.uint8).view(2, 3),
    "step": torch.tensor(7.0),
    "nothing": torch.zeros(0, 3),
    "turned": torch.arange(24.0).view(1, 2, 3, 4).to(memory_format=torch.channels_last),
}


def test_what_is_written_is_read_back_exactly(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "deep" / "x.safetensors", TENSORS, {"step": 3, "name": "é"})
    found = read_checkpoint(tmp_path / "deep" / "x.safetensors")
    assert found.facts == {"step": 3, "name": "é"}
    assert found.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.safetensors"]


def test_every_byte_of_every_tensor_is_guarded(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, {"a": torch.arange(4.0), "b": torch.arange(3, dtype=torch.uint8)}, {})
    good = path.read_bytes()
    for place in range(len(good) - 16 - 3, len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        with pytest.raises(WeightsError, match="its tensors are not those that were written"):
            read_checkpoint(path)


@pytest.mark.parametrize("length", [0, 5, 8, 60, -1])
def test_a_file_cut_short_is_damaged(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, TENSORS, {})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError, match=r"x\.safetensors is not a readable file of tensors"):
        read_checkpoint(path)


def test_someone_elses_tensors_are_no_checkpoint(tmp_path: Path) -> None:
    for header in ({}, {"facts": "{"}):
        save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", header)
        with pytest.raises(WeightsError, match="is no checkpoint"):
            read_checkpoint(tmp_path / "x.safetensors")


def test_checkpoints_from_before_there_were_checksums_are_read(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors", {"facts": '{"step": 2}'})
    assert read_checkpoint(tmp_path / "x.safetensors").facts == {"step": 2}


def test_the_one_before_the_newest_is_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        keep(tmp_path, TENSORS, {"step": step})
    assert read_checkpoint(tmp_path / LATEST).facts["step"] == 3
    assert read_checkpoint(tmp_path / PREVIOUS).facts["step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [LATEST, PREVIOUS]


def test_an_empty_folder_holds_no_checkpoint(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    assert newest(tmp_path / "missing") is None


def test_the_previous_one_is_found_where_a_kill_came_between_two_renames(tmp_path: Path) -> None:
    keep(tmp_path, TENSORS, {"step": 1})
    (tmp_path / LATEST).rename(tmp_path / PREVIOUS)
    found = newest(tmp_path)
    assert found is not None
    assert (found.checkpoint.facts["step"], found.path.name, found.damage) == (1, PREVIOUS, "")
    assert not (tmp_path / DAMAGED).exists()


class Faults:
    """A file system whose n-th operation fails, or cuts a file short and fails."""

    def __init__(self, patch: pytest.MonkeyPatch, code: int) -> None:
        self.fail_at, self.done, self.code = -1, count(), code
        self.log: list[str] = []
        real_write, real_sync, real_rename = state.write_tensors, os.fsync, Path.replace

        def write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
            self.step(f"write {path.name}", lambda: path.write_bytes(b"half a file"))
            real_write(path, tensors, metadata)

        def sync(handle: int) -> None:
            self.step(f"sync {os.path.basename(os.readlink(f'/proc/self/fd/{handle}'))}")
            real_sync(handle)

        def rename(path: Path, target: Path) -> Path:
            self.step(f"rename {path.name} {target.name}")
            return real_rename(path, target)

        patch.setattr(state, "write_tensors", write)
        patch.setattr(durable.os, "fsync", sync)
        patch.setattr(Path, "replace", rename)

    def step(self, what: str, half: Callable[[], object] = lambda: None) -> None:
        self.log.append(what)
        if next(self.done) == self.fail_at:
            half()
            raise OSError(self.code, os.strerror(self.code))


SAVING = [
    f"write {LATEST}.part",
    f"sync {LATEST}.part",
    f"rename {LATEST} {PREVIOUS}",
    f"rename {LATEST}.part {LATEST}",
    "sync {folder}",
]


def test_bytes_are_on_the_disk_before_they_get_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, TENSORS, {"step": 1})
    faults = Faults(monkeypatch, errno.EIO)
    keep(tmp_path, TENSORS, {"step": 2})
    assert faults.log == [step.format(folder=tmp_path.name) for step in SAVING]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("fail_at", range(len(SAVING)))
def test_whatever_fails_while_saving_a_whole_checkpoint_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int, code: int
) -> None:
    keep(tmp_path, TENSORS, {"step": 1})
    keep(tmp_path, TENSORS, {"step": 2})
    with monkeypatch.context() as patch:
        Faults(patch, code).fail_at = fail_at
        with pytest.raises(StorageError, match=rf"cannot write {tmp_path / LATEST}: {os.strerror(code)}"):
            keep(tmp_path, TENSORS, {"step": 3})
    found = newest(tmp_path)
    assert found is not None
    assert found.checkpoint.facts["step"] == (3 if fail_at == 4 else 2)
    assert found.damage == ""
    assert not (tmp_path / f"{LATEST}.part").exists()
    keep(tmp_path, TENSORS, {"step": 4})
    assert read_checkpoint(tmp_path / LATEST).facts["step"] == 4


def test_a_folder_that_cannot_be_made_is_a_matter_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot make .*file: File exists"):
        write_checkpoint(tmp_path / "file" / "x.safetensors", TENSORS, {})
    with pytest.raises(StorageError, match=r"cannot make .*file/deep: Not a directory"):
        write_checkpoint(tmp_path / "file" / "deep" / "x.safetensors", TENSORS, {})


def test_prefixes_are_put_on_and_taken_off() -> None:
    both = prefixed("a", TENSORS) | prefixed("ab", TENSORS)
    assert len(both) == 2 * len(TENSORS)
    assert under("a", both) == TENSORS


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "x.safetensors", TENSORS, {})
    assert load_file(tmp_path / "x.safetensors").keys() == TENSORS.keys()


def test_no_more_than_one_tensor_is_copied_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[Callable[[], Tensor | None]] = []
    most = 0
    real = Tensor.contiguous

    def contiguous(tensor: Tensor) -> Tensor:
        nonlocal most
        made = real(tensor)
        if made is not tensor:
            alive.append(ref(made))
            most = max(most, sum(each() is not None for each in alive))
        return made

    monkeypatch.setattr(Tensor, "contiguous", contiguous)
    turned = {f"{k}": TENSORS["turned"] for k in range(5)}
    write_checkpoint(tmp_path / "x.safetensors", turned, {})
    assert (len(alive), most) == (10, 1)  # once for the digest, once for the file


def test_facts_are_read_without_the_tensors(tmp_path: Path) -> None:
    keep(tmp_path, TENSORS, {"step": 1})
    found = newest(tmp_path, facts_only=True)
    assert found is not None
    assert (found.checkpoint.facts, found.checkpoint.tensors) == ({"step": 1}, {})
