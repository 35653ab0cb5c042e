"""Whenever a run is killed, the old folder is there, or the new one, whole."""

from pathlib import Path

import pytest

from fromnoise.weights import folder_writer
from fromnoise.weights.folder_writer import replacing_folder


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "model").write_text(text)
    return path


def write(path: Path, text: str) -> None:
    with replacing_folder(path) as part:
        (part / "model").write_text(text)


def test_a_folder_takes_the_place_of_another_and_leaves_nothing_else(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write(tmp_path / "x", text)
        assert (tmp_path / "x" / "model").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_after_a_kill_between_the_renames_the_old_one_is_put_back_first(tmp_path: Path) -> None:
    folder(tmp_path / "x.replaced", "old")
    folder(tmp_path / "x.part", "new")
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "x"):
        raise RuntimeError("this run fails as well")
    assert (tmp_path / "x" / "model").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_was_there_is_deleted_once_the_new_name_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = folder(tmp_path / "x", "old"), list[tuple[str, bool]]()

    def flush(flushed: Path) -> None:
        seen.append((flushed.name, (tmp_path / "x.replaced" / "model").exists()))

    monkeypatch.setattr(folder_writer, "flush", flush)
    write(path, "new")
    assert seen == [("x.part", False), (tmp_path.name, True)]
    assert (path / "model").read_text() == "new"


def test_where_the_exchange_fails_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rename = folder(tmp_path / "x", "old"), Path.replace

    def fails(source: Path, target: Path) -> Path:
        if source.name == "x.part":
            raise KeyboardInterrupt
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(KeyboardInterrupt):
        write(path, "new")
    assert (path / "model").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
