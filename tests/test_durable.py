import os
from pathlib import Path

import pytest

from fromnoise import durable


def test_windows_flushes_files_that_may_be_written_and_opens_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    really = os.open

    def opens(path: Path, flags: int) -> int:
        asked.append((path.name, flags))
        return really(path, flags)

    monkeypatch.setattr(durable, "ON_WINDOWS", True)
    monkeypatch.setattr(durable.os, "open", opens)
    with durable.replacing(tmp_path / "x.json") as part:
        part.write_text("{}")
    assert asked == [("x.json.part", os.O_RDWR)]
    assert (tmp_path / "x.json").read_text() == "{}"
