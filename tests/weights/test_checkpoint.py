import os
import sys
import time
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from struct import pack
from typing import Any

import numpy as np
import pytest
import torch
from forgery import pickled, storage, table, tensor, write_large, zipped
from safetensors.torch import save_file
from torch import Tensor, nn

from fromnoise.errors import StorageError, WeightsError
from fromnoise.weights.checkpoint import Contents, open_checkpoint

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.uint8, torch.int16]
DTYPES += [torch.int32, torch.int64, torch.bool]
YOUNGER = [torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16]  # torch reads them from zip files only
FORMATS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "older"])


def save(value: object, path: Path, is_zip: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=is_zip)
    return path


def flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield ".".join(path), value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, (*path, key))


def bits(value: Tensor) -> bytes:
    row = torch.empty(value.numel(), dtype=value.dtype).copy_(value.detach().reshape(-1))
    return row.view(torch.uint8).numpy().tobytes()


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return list(ours) == list(theirs) and all(
        (a.dtype, a.shape, bits(a)) == (b.dtype, b.shape, bits(b))
        for a, b in zip(ours.values(), theirs.values(), strict=True)
    )


# --- what torch.load reads, we read ---


def some_tensor(random: Random, others: list[Tensor], dtypes: list[torch.dtype]) -> Tensor:
    shape = [random.choice([0, 1, 1, 2, 3, 5]) for _ in range(random.randrange(5))]
    generator = torch.Generator().manual_seed(random.randrange(2**32))
    made = torch.randint(0, 255, (*shape, 8), dtype=torch.uint8, generator=generator)
    dtype = random.choice(dtypes)
    made = made % 2 == 1 if dtype == torch.bool else made.view(dtype)
    match random.randrange(7):
        case 0:
            made = made.movedim(-1, 0)
        case 1:
            made = made[..., ::2]
        case 2:
            made = made[..., -1:].squeeze(-1)
        case 3 if others:
            made = random.choice(others)
        case 4 if others:
            made = random.choice(others)[None][..., :1]
        case 5 if dtype in DTYPES and made.is_floating_point():
            made = nn.Parameter(made, requires_grad=random.random() < 0.5)
        case _:
            pass
    others.append(made)
    return made


def some_dict(random: Random, dtypes: list[torch.dtype]) -> dict[str, Any]:
    others: list[Tensor] = []

    def some(depth: int) -> dict[str, Any]:
        made: dict[str, Any] = OrderedDict() if random.random() < 0.5 else {}
        for index in range(random.randrange(2, 7)):
            key = f"{random.choice(['weight', 'bias', 'blöck', '0'])}_{index}"
            is_deeper = depth < 3 and random.random() < 0.3
            made[key] = some(depth + 1) if is_deeper else some_tensor(random, others, dtypes)
        return made

    return some(0)


def compare(folder: Path, seed: int, is_zip: bool) -> None:
    value = some_dict(Random(seed), DTYPES + YOUNGER if is_zip else DTYPES)
    if seed % 2:
        value = {"state_dict": value, "epoch": seed, "lr": 0.5, "callbacks": {1: [seed, None, {"x"}]}}
    theirs = torch.load(save(value, folder / "x.pt", is_zip), weights_only=True)
    with open_checkpoint(folder / "x.pt") as contents:
        assert same(contents.read_all(), dict(flat(theirs["state_dict"] if seed % 2 else theirs))), seed
        for name, stored in contents.tensors.items():
            read = contents.read(name)
            assert (stored.shape, stored.dtype) == (tuple(read.shape), read.dtype)
        if seed % 2:
            assert (contents.facts, contents.dropped) == ({"epoch": seed, "lr": 0.5}, ("callbacks",))
            assert contents.unwrapped == ("state_dict",)


@FORMATS
def test_random_checkpoints_are_read_as_torch_reads_them(tmp_path: Path, is_zip: bool) -> None:
    for seed in range(250):
        compare(tmp_path, seed, is_zip)


@FORMATS
def test_a_network_comes_back_whole(tmp_path: Path, is_zip: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    with open_checkpoint(save(net.state_dict(), tmp_path / "net.pth", is_zip)) as contents:
        assert same(contents.read_all(), dict(net.state_dict()))
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)).load_state_dict(
            contents.read_all()
        )


@pytest.mark.parametrize("protocol", [2, 3, 4])
@FORMATS
def test_younger_pickles_are_read_too(tmp_path: Path, is_zip: bool, protocol: int) -> None:
    value = some_dict(Random(protocol), DTYPES + YOUNGER)
    how = {"_use_new_zipfile_serialization": is_zip, "pickle_protocol": protocol}
    torch.save(value, tmp_path / "x", **how)
    with open_checkpoint(tmp_path / "x") as contents:
        assert same(contents.read_all(), dict(flat(value)))


def test_a_tensor_that_was_read_is_ones_own(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    path = save({"a": shared, "b": shared.view(2, 3).t()}, tmp_path / "x")
    with open_checkpoint(path) as contents:
        a, b = contents.read("a"), contents.read("b")
        a.zero_()
        assert b.is_contiguous()
        assert torch.equal(b, shared.view(2, 3).t())
        assert torch.equal(contents.read("a"), shared)


# --- what people leave in their files ---


@FORMATS
def test_a_training_file_gives_its_weights_and_names_the_rest(
    tmp_path: Path, is_zip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback  # pyright: ignore[reportAttributeAccessIssue]
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    weights = {"model.diffusion_model.out.2.bias": torch.ones(4), "betas": torch.arange(3.0)}
    net = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(2)).sum().backward()
    optimizer.step()
    value = {
        "epoch": 6,
        "global_step": 470_000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": OrderedDict(weights),
        "callbacks": {callback: {"best": np.float32(0.5), "monitor": callback(), "path": Path("a")}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
    }
    path = save(value, tmp_path / "sd.ckpt", is_zip)
    monkeypatch.undo()
    with open_checkpoint(path) as contents:
        assert same(contents.read_all(), weights)
        assert contents.facts == {"epoch": 6, "global_step": 470_000, "pytorch-lightning_version": "1.4.2"}
        assert contents.dropped == ("callbacks", "optimizer_states", "lr_schedulers")
        assert "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint" in contents.globals
    assert module.__name__ not in sys.modules


@FORMATS
def test_an_embedding_is_read_from_either_kind_of_dictionary(tmp_path: Path, is_zip: bool) -> None:
    vector = torch.ones(2, 8)
    for inner in ({"*": vector}, nn.ParameterDict({"*": nn.Parameter(vector)})):
        value = {
            "string_to_token": {"*": 265},
            "string_to_param": inner,
            "name": "cat",
            "step": 500,
            "sd": None,
        }
        with open_checkpoint(save(value, tmp_path / "cat.pt", is_zip)) as contents:
            assert same(contents.read_all(), {"string_to_param.*": vector})
            assert contents.facts == {"name": "cat", "step": 500}
            assert contents.dropped == ("string_to_token.*",)


def test_dictionaries_around_the_tensors_are_taken_off(tmp_path: Path) -> None:
    weights = {"weight": torch.ones(1), "bias": torch.ones(1)}
    value = {"state_dict": {"model": {"state_dict": weights, "step": 3}}, "epoch": 2}
    with open_checkpoint(save(value, tmp_path / "x")) as contents:
        assert same(contents.read_all(), weights)
        assert contents.unwrapped == ("state_dict", "model", "state_dict")
        assert contents.facts == {"epoch": 2, "step": 3}


def test_texts_and_pairs_that_python_2_wrote_are_read(tmp_path: Path) -> None:
    pairs = b"](](U\x06weight" + tensor() + b"ee"
    value = b"ccollections\nOrderedDict\n" + pairs + b"\x85R"
    (tmp_path / "x").write_bytes(zipped(pickled(value)))
    with open_checkpoint(tmp_path / "x") as contents:
        assert contents.read("weight").tolist() == [0, 1, 2, 3]


# --- what is not a checkpoint ---


OTHERS = {
    "nothing": (b"", r"x\.ckpt is empty \(0 bytes\)"),
    "a git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
    "a web page": (b"\n\n<!DOCTYPE html><html><title>Sign in</title>", "web page"),
    "another web page": (b"<HTML><body>404", "web page"),
    "a message": (b'{"error": "not found"}', "JSON text"),
    "a tar archive": (b"storages".ljust(257, b"\0") + b"ustar\x0000" + bytes(248), "tar archive"),
    "a GGUF file": (b"GGUF\3\0\0\0", "GGUF"),
    "a gzip file": (b"\x1f\x8b\x08\0", r"compressed \(gzip\)"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "picture"),
    "a text": (b"hello", "no file of weights that we know: it begins with b'hello'"),
    "an empty archive": (b"PK\5\6" + bytes(18), "empty zip archive"),
    "half a safetensors file": (pack("<Q", 1000) + b'{"x":', "safetensors file that is cut short"),
    "a pickle": (b"\x80\x02}.", "a pickle, but not a PyTorch checkpoint"),
    "half a pickle": (b"\x80\x02}", "cut short"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_file_is_instead_is_said(tmp_path: Path, name: str) -> None:
    data, said = OTHERS[name]
    (tmp_path / "x.ckpt").write_bytes(data)
    with pytest.raises(WeightsError, match=said) as caught:
        open_checkpoint(tmp_path / "x.ckpt")
    assert "\n" not in caught.value.message


@FORMATS
def test_a_hypernetwork_is_called_by_name(tmp_path: Path, is_zip: bool) -> None:
    pair = ({"linear.0.weight": torch.ones(2, 2)},) * 2
    path = save({320: pair, 768: pair, "step": 3, "layer_structure": [1, 2, 1]}, tmp_path / "x.pt", is_zip)
    with pytest.raises(WeightsError, match=r"x.pt is a hypernetwork, which is not read"):
        open_checkpoint(path)


def test_names_say_nothing(tmp_path: Path) -> None:
    save_file({"x": torch.ones(4)}, tmp_path / "x.ckpt")
    with pytest.raises(WeightsError, match=r"x\.ckpt is a safetensors file under another name"):
        open_checkpoint(tmp_path / "x.ckpt")
    with open_checkpoint(save({"x": torch.ones(4)}, tmp_path / "x.safetensors")) as contents:
        assert list(contents.tensors) == ["x"]


def test_folders_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    began = time.perf_counter()
    for path, said in ((tmp_path, "is a folder"), (tmp_path / "pipe", "pipe"), ("/dev/zero", "device")):
        with pytest.raises(WeightsError, match=said):
            open_checkpoint(path)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("name", ["none", "x" * 4096, "nul\0", "b\udcff", "a/../../b"])
def test_a_name_that_cannot_be_opened_is_a_matter_of_storage(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_checkpoint(tmp_path / name)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_matter_of_storage(tmp_path: Path) -> None:
    save({"x": torch.ones(4)}, tmp_path / "x").chmod(0)
    with pytest.raises(StorageError, match="Permission denied"):
        open_checkpoint(tmp_path / "x")


@FORMATS
def test_no_prefix_of_a_checkpoint_is_one(tmp_path: Path, is_zip: bool) -> None:
    data = save({"x": torch.ones(4), "y": torch.ones(2)}, tmp_path / "x", is_zip).read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(WeightsError):
            open_checkpoint(tmp_path / "cut")


# --- a file that changes ---


@FORMATS
def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path: Path, is_zip: bool) -> None:
    path = save({"a": torch.ones(50_000), "b": torch.ones(50_000)}, tmp_path / "x", is_zip)
    with open_checkpoint(path) as contents:
        ends = sorted(contents.storages[stored.storage.key].end for stored in contents.tensors.values())
        os.truncate(path, ends[1] - 4)
        outcomes = [outcome(contents, name) for name in ("a", "b")]
    assert sorted(outcomes) == ["read", "x became shorter while it was read"]


def outcome(contents: Contents, name: str) -> str:
    try:
        return "read" if bool((contents.read(name) == 1).all()) else "wrong"
    except WeightsError as error:
        return error.message.removesuffix(f" ({name})")


def test_a_file_that_is_replaced_is_still_read_as_it_was(tmp_path: Path) -> None:
    path = save({"a": torch.ones(3)}, tmp_path / "x")
    with open_checkpoint(path) as contents:
        save({"a": torch.zeros(5)}, tmp_path / "y").replace(path)
        assert contents.read("a").tolist() == [1, 1, 1]


def test_only_the_part_that_is_asked_for_is_read(tmp_path: Path) -> None:
    whole = torch.arange(1_000_000, dtype=torch.int32)
    with open_checkpoint(save({"row": whole[5:9], "all": whole}, tmp_path / "x")) as contents:
        os.truncate(tmp_path / "x", contents.storages["0"].start + 9 * 4)
        assert contents.read("row").tolist() == [5, 6, 7, 8]


def test_what_lies_behind_four_gigabytes_is_found_without_reading_them(tmp_path: Path) -> None:
    count = 5 << 28  # numbers of four bytes
    last, behind = tensor((2,), offset=count - 2, held=storage("0", count)), tensor(held=storage("1"))
    sizes = {"data/0": 4 * count, "data/1": 16}
    starts = write_large(tmp_path / "x", pickled(table(last=last, behind=behind)), sizes)
    with (tmp_path / "x").open("r+b") as file:
        for end, numbers in ((starts["data/0"] + 4 * count, (5, 6)), (starts["data/1"] + 16, (1, 2, 3, 4))):
            file.seek(end - 4 * len(numbers))
            file.write(pack(f"<{len(numbers)}f", *numbers))
    with open_checkpoint(tmp_path / "x") as contents:
        assert contents.read("last").tolist() == [5, 6]
        assert contents.read("behind").tolist() == [1, 2, 3, 4]


def test_a_file_is_closed_whatever_happens(tmp_path: Path) -> None:
    with open_checkpoint(save({"x": torch.ones(4)}, tmp_path / "x")) as contents:
        pass
    assert contents.file.closed
    (tmp_path / "y").write_bytes(zipped(pickled(table(x=b"N"))))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(3):
        with pytest.raises(WeightsError):
            open_checkpoint(tmp_path / "y")
    assert before == (len(os.listdir("/proc/self/fd")) if before else 0)
