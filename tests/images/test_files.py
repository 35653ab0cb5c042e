import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fromnoise.errors import StorageError
from fromnoise.images.files import place, replace


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    names = [place(tmp_path / "out.png", bytes([k])).name for k in range(3)]
    assert names == ["out.png", "out-2.png", "out-3.png"]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"\x00", b"\x01", b"\x02"]
    assert len(list(tmp_path.iterdir())) == 3


def test_many_writers_never_get_the_same_name(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda k: place(tmp_path / "out.png", str(k).encode()), range(40)))
    assert len(set(paths)) == 40
    assert sorted(int(path.read_bytes()) for path in paths) == list(range(40))


def test_without_hard_links_nothing_is_overwritten_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert [place(tmp_path / "out.png", b"x").name for _ in range(2)] == ["out.png", "out-2.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-2.png", "out.png"]
    assert (tmp_path / "out-2.png").read_bytes() == b"x"


def test_replacing_keeps_the_name(tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"old")
    assert replace(tmp_path / "out.png", b"new").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_missing_or_closed_is_named_and_left_clean(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="mkdir -p"):
        place(tmp_path / "no" / "out.png", b"x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"):
        place(tmp_path / "file" / "out.png", b"x")


@pytest.mark.parametrize("write", [place, replace])
@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_disk_that_fails_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object, call: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    monkeypatch.setattr(os, "open", fail)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StorageError, match="No space left on device"):
        write(tmp_path / "out.png", b"x")  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_files_have_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    mode = (tmp_path / "plain").stat().st_mode
    assert place(tmp_path / "out.png", b"x").stat().st_mode == mode
