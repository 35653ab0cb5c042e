"""The command line in this process, in a folder of its own, and files to name on it."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner

from fromnoise.cli.app import app
from fromnoise.weights import model_loader
from fromnoise.weights.native import Parts, save_native


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def paths(self) -> list[Path]:
        """Standard output, read as a script would."""
        return [Path(line) for line in self.out.splitlines()]

    @property
    def again(self) -> list[str]:
        """The command lines that standard error offers."""
        return [line.partition("again: ")[2] for line in self.err.splitlines() if "again: " in line]


FromNoise = Callable[..., Outcome]


@pytest.fixture
def fromnoise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FromNoise:
    """Run a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path, stdin: bytes | None = None) -> Outcome:
        result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def model(tiny_parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TINY as a file."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_native(tiny_parts, path)
    return path


@pytest.fixture
def embedded(model: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TINY in the place of the embedded model; its file."""
    folder = tmp_path_factory.mktemp("embedded")
    data = model.read_bytes()
    (folder / model_loader.MODEL_FILE).write_bytes(data)
    (folder / model_loader.CHECKSUM_FILE).write_text(f"{sha256(data).hexdigest()}  model.safetensors\n")
    monkeypatch.setattr(model_loader, "FOLDER", folder)
    return folder / model_loader.MODEL_FILE
