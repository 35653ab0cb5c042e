import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from struct import pack
from typing import Any

import pytest
import torch
from forgery import attacks, zipped
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fromnoise.errors import FromNoiseError, RequestError, StorageError, WeightsError
from fromnoise.weights.mapped import LARGEST_HEADER, TYPES
from fromnoise.weights.native import Parts, save_native
from fromnoise.weights.stored import open_weights

STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "a.bias": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "scalar": torch.tensor(7),
    "none": torch.empty(0, 4),
    "mask": torch.tensor([True, False]),
    "small": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn),
}


def saved(path: Path, **metadata: str) -> Path:
    save_file(STATE, path, metadata or None)
    return path


def forged(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """A safetensors file whose header is what is given, as JSON or as it is."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(kind: str = "F32", shape: tuple[int, ...] = (1,), at: tuple[int, int] = (0, 4)) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": at}


def open_files() -> set[str]:
    links = Path("/proc/self/fd")
    if not links.is_dir():
        pytest.skip("this system does not list a process's files")
    return {os.readlink(link) for link in links.iterdir() if link.is_symlink()}


@pytest.fixture(autouse=True)
def _nothing_stays_open(tmp_path: Path) -> Iterator[None]:
    yield
    if sys.platform == "linux":
        assert not [name for name in open_files() if name.startswith(str(tmp_path))]


# --- what is read ---


def test_a_safetensors_file_tells_what_it_holds_and_gives_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.safetensors", author="me")
    with open_weights(path) as stored:
        assert (stored.name, stored.container, stored.files) == ("x.safetensors", "safetensors", (path,))
        assert stored.shapes == {name: tuple(tensor.shape) for name, tensor in STATE.items()}
        assert stored.dtypes == {name: tensor.dtype for name, tensor in STATE.items()}
        assert (stored.metadata, stored.configs, stored.globals) == ({"author": "me"}, {}, ())
        for name, tensor in STATE.items():
            assert_same(stored.read(name), tensor)


def assert_same(found: Tensor, wanted: Tensor) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert (
        found.contiguous()
        .view(torch.uint8 if found.dim() else found.dtype)
        .equal(wanted.contiguous().view(torch.uint8 if wanted.dim() else wanted.dtype))
    )


def test_a_safetensors_file_is_read_without_a_copy(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.safetensors")
    with open_weights(path) as stored:
        once, again = stored.read("a.weight"), stored.read("a.weight")
        assert once.data_ptr() == again.data_ptr()
    assert once.equal(STATE["a.weight"]), "what was read stays after the file is closed"


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "older"])
def test_a_checkpoint_tells_what_it_holds_and_gives_it(tmp_path: Path, is_zip: bool) -> None:
    path = tmp_path / "x.safetensors"  # its name says nothing
    state = {name: tensor for name, tensor in STATE.items() if name != "small"}  # torch.save's older form
    torch.save(
        {"state_dict": state, "global_step": 840000, "optimizer": {"lr": 0.1}},
        path,
        _use_new_zipfile_serialization=is_zip,
    )
    with open_weights(path) as stored:
        assert (stored.container, stored.metadata) == (
            "zip" if is_zip else "pickle",
            {"global_step": "840000"},
        )
        assert stored.shapes == {name: tuple(tensor.shape) for name, tensor in state.items()}
        assert stored.dtypes == {name: tensor.dtype for name, tensor in state.items()}
        assert stored.dropped == ("optimizer",)
        assert "torch._utils._rebuild_tensor_v2" in stored.globals
        for name, tensor in state.items():
            assert_same(stored.read(name), tensor)


def test_our_own_models_open(tmp_path: Path, tiny_parts: Parts) -> None:
    save_native(tiny_parts, tmp_path / "m", dtype=torch.float32)
    with open_weights(tmp_path / "m") as stored:
        assert json.loads(stored.metadata["fromnoise"])["spec"]["name"] == "tiny"
        assert stored.shapes == {name: tuple(tensor.shape) for name, tensor in tiny_parts.state().items()}
        assert stored.read("unet.leave.bias").equal(tiny_parts.state()["unet.leave.bias"])


def test_every_type_that_torch_can_hold_is_known(tmp_path: Path) -> None:
    for kind, dtype in TYPES.items():
        path = forged(
            tmp_path / kind,
            {"x": entry(kind, (2,), (0, 2 * dtype.itemsize))},
            bytes(16)[: 2 * dtype.itemsize],
        )
        with open_weights(path) as stored, safe_open(path, framework="pt") as library:
            assert stored.dtypes["x"] == stored.read("x").dtype == library.get_tensor("x").dtype == dtype


def test_a_tensor_that_is_not_there_is_a_key_error(tmp_path: Path) -> None:
    with open_weights(saved(tmp_path / "x")) as stored, pytest.raises(KeyError):
        stored.read("b")


def test_a_file_that_shrinks_is_noticed_before_its_memory_is_touched(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.safetensors")
    with open_weights(path) as stored:
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(
            WeightsError, match=r"x\.safetensors became shorter while it was read \(a\.bias\)"
        ):
            stored.read("a.bias")


# --- what is refused ---

ONE = entry()
TWICE = f'{{"a": {json.dumps(ONE)}, "a": {json.dumps(ONE)}}}'.encode()
TWICE_SAID = f'{{"__metadata__": {{"k": "1", "k": "2"}}, "a": {json.dumps(ONE)}}}'.encode()
DAMAGED = {
    "cut in its tensors": ({"a": entry(shape=(2,), at=(0, 8))}, b"0000", "short: 73 of 77 bytes are there"),
    "longer than its tensors": ({"a": ONE}, b"00000000", "4 bytes follow its last tensor"),
    "overlapping tensors": ({"a": ONE, "b": ONE}, b"0000", "overlap"),
    "a gap": ({"a": ONE, "b": entry(at=(8, 12))}, bytes(12), "gap"),
    "a size that is not its shape's": ({"a": entry(shape=(2,))}, b"0000", "another size than its shape"),
    "a shape beyond all numbers": ({"a": entry(shape=(2**62, 2**62))}, b"0000", "impossible size"),
    "a negative shape": ({"a": entry(shape=(-1,))}, b"0000", "makes no sense"),
    "metadata that are numbers": ({"a": ONE, "__metadata__": {"x": 1}}, b"0000", "not all text"),
    "a name twice": (TWICE, b"0000", "a stands twice"),
    "metadata twice": (TWICE_SAID, b"0000", "k stands twice"),
    "no JSON": (b'{"a":}', b"", "makes no sense"),
    "JSON without end": (b'{"a":' + b"[" * 100_000, b"", "makes no sense"),
    "no UTF-8": (b'{"\xff":1}', b"", "not UTF-8"),
    "no tensors": ({}, b"", "holds no tensors"),
    "only metadata": ({"__metadata__": {"format": "pt"}}, b"", "holds no tensors"),
    "half bytes": ({"a": entry("F4", (8,))}, b"0000", "a as F4, which PyTorch cannot compute with"),
    "six bits": ({"a": entry("F6_E2M3", (4,), (0, 3))}, b"000", "a as F6_E2M3, which"),
    "an unknown type": ({"a": entry("F5")}, b"0000", "a type that is not known here"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_safetensors_file_is_refused_with_the_reason(tmp_path: Path, what: str) -> None:
    header, data, said = DAMAGED[what]
    assert_refused(forged(tmp_path / "x.safetensors", header, data), said)


def assert_refused(
    path: Path | str, said: str, kind: type[FromNoiseError] = WeightsError, **more: Any
) -> None:
    """One line that names the file and says what is the matter."""
    with pytest.raises(FromNoiseError, match=said) as caught:
        open_weights(path, **more)
    assert type(caught.value) is kind
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 250


def test_headers_of_impossible_length_are_refused_unread(tmp_path: Path) -> None:
    assert_refused(forged(tmp_path / "x", {"a": ONE}, b"0000", length=2**63), "cut short")
    path = forged(tmp_path / "y", {"a": ONE}, length=LARGEST_HEADER + 1)
    os.truncate(path, LARGEST_HEADER + 100)
    assert_refused(path, "a header of 33,554,433 bytes")


def test_every_shortening_of_a_file_is_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole").read_bytes()
    path = tmp_path / "x.safetensors"
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        assert_refused(path, "^x.safetensors (is|begins)")


STRANGERS = {
    "a git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
    "a web page": (b"<!DOCTYPE html><html><body>Access denied</body></html>", "web page"),
    "a configuration": (b'{"model_type": "clip"}', "a JSON text"),
    "a tar archive": (b"x" * 257 + b"ustar\0" + b"0" * 300, "tar archive"),
    "GGUF": (b"GGUF\3\0\0\0", "GGUF"),
    "zeros": (bytes(4096), "no file of weights"),
    "nothing": (b"", r"is empty \(0 bytes\)"),
}  # fmt: skip


@pytest.mark.parametrize("what", STRANGERS)
def test_strangers_are_called_by_name(tmp_path: Path, what: str) -> None:
    content, said = STRANGERS[what]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert_refused(path, said)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert_refused(tmp_path / "pipe", "a pipe or a device")
    assert_refused("/dev/zero", "a pipe or a device")
    assert_refused(tmp_path, r"there is no model_index\.json or config\.json in this folder")
    assert_refused(tmp_path / "none", "cannot read none: No such file", StorageError)
    assert_refused(tmp_path / ("n" * 4096), "cannot read n+…: File name too long", StorageError)
    assert_refused("a\0b", "no file can have that name", StorageError)


def test_a_file_comes_in_no_variants(tmp_path: Path) -> None:
    said = "variant: x.safetensors is one file"
    assert_refused(saved(tmp_path / "x.safetensors"), said, RequestError, variant="fp16")
    assert_refused(tmp_path / "none", "No such file", StorageError, variant="fp16")
    assert_refused(tmp_path / ("n" * 4096), "File name too long", StorageError, variant="fp16")


def test_a_name_that_is_not_text_is_shown_safely(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[31m.ckpt")
    torch.save({"a": STATE["a.weight"]}, path)
    with open_weights(path) as stored:
        assert stored.name == "??[31m.ckpt"
    saved(tmp_path / "x").rename(path)
    assert_refused(path, r"\?\?\[31m.ckpt has a name that is not UTF-8")


def test_a_file_that_may_not_be_read_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path / "x")
    monkeypatch.setattr(os, "open", denied)  # root may read everything
    assert_refused(path, "cannot read x: Permission denied", StorageError)


def test_an_attack_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    path = tmp_path / "model.safetensors"
    for attack in attacks(sentinel).values():
        path.write_bytes(zipped(b"\x80\x02" + attack + b"."))
        assert_refused(path, r"^model\.safetensors ")
    assert not sentinel.exists()
