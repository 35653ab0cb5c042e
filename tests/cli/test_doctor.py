import json
import sys
from pathlib import Path

import pytest
from conftest import FromNoise

import fromnoise as package
from fromnoise.weights import model_loader
from fromnoise.weights.catalogue import default_folders


def test_a_sound_installation_is_sound(fromnoise: FromNoise, embedded: Path) -> None:
    done = fromnoise("doctor")
    assert (done.code, done.err) == (0, "")
    assert all(line.startswith("ok  ") for line in done.out.splitlines())
    assert package.__version__ in done.out


def test_the_findings_are_there_for_programs_too(fromnoise: FromNoise, embedded: Path) -> None:
    found = json.loads(fromnoise("doctor", "--json").out)
    assert "torch" in found["packages"]["found"]
    assert "tiny" in found["embedded model"]["found"]
    assert "GiB" in found["memory"]["found"]
    assert str(default_folders()[0]) in found["models in"]["found"]
    assert int(found["processor"]["found"].split()[0]) >= 1
    assert found["this folder"]["problem"] == ""


@pytest.mark.parametrize("name", [model_loader.MODEL_FILE, model_loader.CHECKSUM_FILE])
def test_a_broken_model_is_found(name: str, fromnoise: FromNoise, embedded: Path) -> None:
    embedded.with_name(name).write_bytes(b"")
    done = fromnoise("doctor")
    assert done.code == 3
    assert "!!  embedded model" in done.out
    assert "hint: install fromnoise again" in done.err


def test_a_torch_that_cannot_be_imported_is_one_more_finding(
    fromnoise: FromNoise, embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    done = fromnoise("doctor")
    assert done.code == 1
    assert "!!  torch" in done.out
    assert "ok  models in" in done.out
    assert "torch: ModuleNotFoundError" in done.err
    assert "hint: install torch and fromnoise again" in done.err


def test_it_leaves_nothing_behind(
    fromnoise: FromNoise, embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert fromnoise("doctor").code == 0
    assert list(tmp_path.iterdir()) == []
