"""Every complaint is one line and a hint, has an exit code by kind, and leaves no file."""

import re
from pathlib import Path

import pytest
from conftest import FromNoise
from PIL import Image

from fromnoise.cli import drawing

HOUSE = "a red house"

TABLE = [
    # what somebody types                                        exit  what they read
    ([HOUSE, "--sampler", "eular"], 2, "sampler: 'eular' is unknown; did you mean 'euler'?"),
    ([HOUSE, "--spacing", "karas"], 2, "spacing: 'karas' is unknown; did you mean 'karras'?"),
    ([HOUSE, "--size", "513x512"], 2, "width: 513 is not a multiple of 8; try 512"),
    ([HOUSE, "-H", "9000"], 2, "height: 9000 is outside 8..4096"),
    ([HOUSE, "--size", "big"], 2, "--size: 'big' is not WIDTHxHEIGHT, such as 128x96"),
    ([HOUSE, "--size", "64x64", "-W", "32"], 2, "size: give --size, or --width and --height, not both"),
    ([HOUSE, "--steps", "0"], 2, "steps: 0 is outside 1..1000"),
    ([HOUSE, "--steps", "many"], 2, "--steps: 'many' is not a valid integer"),
    ([HOUSE, "--strength", "-0.5"], 2, "strength: -0.5 is outside 0..1"),
    ([HOUSE, "--guidance", "nan"], 2, "guidance: nan is outside 0..100"),
    ([HOUSE, "--seed", "-1"], 2, "seeds: -1 is outside 0..18446744073709551615"),
    ([HOUSE, "--seed", "1,x"], 2, "--seed: '1,x' is not a whole number"),
    ([HOUSE, "--seed", "1,2", "-n", "3"], 2, "count: 2 seeds make as many pictures already; leave out -n"),
    ([HOUSE, "-n", "0"], 2, "--count: 0 is not in the range 1<=x<=1024"),
    ([HOUSE, "--enlarge", "99"], 2, "--enlarge: 99 is not in the range 1<=x<=16"),
    ([HOUSE, "--stesp", "4"], 2, "there is no option --stesp; did you mean --steps?"),
    ([HOUSE, "--steps"], 2, "option '--steps' requires an argument"),
    (["red", "house"], 2, 'hint: one picture: fromnoise "red house"'),
    (["traim", "vae", "run"], 2, "hint: fromnoise train vae run"),
    (["generate"], 2, "PROMPT is missing"),
    (["-"], 2, "prompt: stdin holds no text"),
    ([HOUSE, "-o", "x.jpg"], 2, "out: 'x.jpg' does not end in .png"),
    ([HOUSE, "-o", "album/"], 2, "hint: try album.png; for a folder of that name: mkdir -p album"),
    ([HOUSE, "-o", ".png"], 2, "out: '.png' is an ending without a name"),
    ([HOUSE, "-o", "x" * 300 + ".png"], 5, "x.png: File name too long"),
    ([HOUSE, "-o", "x" * 240 + "{seed}.png", "--seed", str(2**60)], 5, "6976.png: File name too long"),
    ([HOUSE, "-o", "nowhere/x.png"], 5, "cannot write into nowhere: No such file or directory"),
    ([HOUSE, "-o", "nowhere/x.png"], 5, "hint: mkdir -p nowhere"),
    ([HOUSE, "-o", "text.txt/x.png"], 5, "cannot write into text.txt: Not a directory"),
    ([HOUSE, "-i", "none.png"], 5, "cannot read none.png: No such file or directory"),
    ([HOUSE, "-i", "text.txt"], 2, "picture: text.txt is not a PNG, JPEG or WebP file"),
    ([HOUSE, "-i", "huge.png"], 2, "picture: huge.png is 9000x9000, more than 64 megapixels"),
    ([HOUSE, "-i", "cut.png"], 2, "picture: cut.png is damaged"),
    ([HOUSE, "--model", "none.safetensors"], 5, "there is no model 'none.safetensors'"),
    ([HOUSE, "--model", "text.txt"], 3, "text.txt is no file of weights that we know"),
    ([HOUSE, "--model", "cut.safetensors"], 3, "cut.safetensors is cut short"),
    ([HOUSE, "--model", "MODEL", "--device", "warp"], 2, "device: 'warp' cannot be used"),
    ([HOUSE, "--model", "MODEL", "--dtype", "float23"], 2, "dtype: 'float23' is unknown; did you mean"),
    ([HOUSE, "--model", "MODEL", "--strength", "0.5"], 2, "there is no picture to start from"),
    (["replay"], 2, "PNG is missing"),
    (["replay", "none.png"], 5, "cannot read none.png: No such file or directory"),
    (["replay", "plain.png"], 2, "picture: plain.png does not say how it was made"),
    (["info", "plain.png"], 2, "picture: plain.png does not say how it was made"),
    (["info", "plain.png", "more"], 2, "got unexpected extra argument (more)"),
    (["world"], 2, "missing command"),
    (["world", "previeuw"], 2, "no command 'previeuw'; did you mean 'preview'?"),
    (["world", "preview", "--size", "8"], 2, "--size: 8 is not in the range 16<=x<=1024"),
    (["world", "preview", "-o", "nowhere/w.png"], 5, "cannot write into nowhere"),
    (["train", "unett", "run"], 2, "no command 'unett'; did you mean 'unet'?"),
    (["train", "vae"], 2, "RUN_FOLDER is missing"),
    (["train", "vae", "run", "--lr", "nan"], 2, "--lr: 'nan' is not a number above 0"),
    (["train", "vae", "run", "--steps", "0"], 2, "--steps: 0 is not in the range x>=1"),
    (["train", "oracle", "run", "--tiny"], 5, "fromnoise train pool"),
    (["score", "--tier", "three"], 2, "--tier: 'three' is not one of"),
    (["score", "-o", "nowhere/r.json"], 5, "cannot write into nowhere"),
    (["score", "-o", "."], 5, ". is a folder"),
    (["score", "--labels", "x", "--json"], 2, "json: --labels has no use for it"),
    (["score", "--labels", "x", "--device", "cpu"], 2, "hint: leave out --device"),
    (["score", "--labels", "x", "--sheet-for-labels", "y"], 2, "sheet-for-labels: --labels has no use for"),
    (["score", "--sheet-for-labels", "x", "-o", "r.json"], 2, "out: --sheet-for-labels has no use for it"),
    (["completion", "tcsh"], 2, "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
]  # fmt: skip


@pytest.fixture(scope="session")
def litter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that nobody can use."""
    folder = tmp_path_factory.mktemp("litter")
    (folder / "text.txt").write_text("hello")
    Image.new("RGB", (8, 8)).save(folder / "plain.png")
    whole = (folder / "plain.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) * 2 // 3])
    Image.new("1", (9000, 9000)).save(folder / "huge.png")
    data = model.read_bytes()
    (folder / "cut.safetensors").write_bytes(data[: len(data) // 2])
    return folder


@pytest.mark.parametrize(
    ("words", "code", "text"), TABLE, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_complaints(
    words: list[str], code: int, text: str, fromnoise: FromNoise, model: Path, litter: Path, tmp_path: Path
) -> None:  # fmt: skip
    for file in litter.iterdir():
        (tmp_path / file.name).symlink_to(file)
    before = set(tmp_path.iterdir())
    done = fromnoise(*(model if word == "MODEL" else word for word in words), stdin=b"\n")
    assert text in done.err
    assert (done.code, done.out) == (code, "")
    assert set(tmp_path.iterdir()) == before
    complaint = [line for line in done.err.splitlines() if "·" not in line]
    assert len(complaint) <= 2
    assert complaint[0].startswith("error: ")
    assert all(line.startswith("  hint: ") for line in complaint[1:])


def test_a_damaged_embedded_model_is_told_from_its_checksum(fromnoise: FromNoise, embedded: Path) -> None:
    data = bytearray(embedded.read_bytes())
    data[-100] ^= 1
    embedded.write_bytes(data)
    done = fromnoise("a red house")
    assert (done.code, done.out) == (3, "")
    assert re.search(r"^error: the embedded model cannot be used: .* is damaged: its SHA-256 is", done.err)
    assert "hint: install fromnoise again" in done.err


@pytest.mark.parametrize("debug", [False, True])
def test_our_own_mistakes_ask_for_a_report(
    debug: bool, fromnoise: FromNoise, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr(drawing.Run, "draw", fail)
    done = fromnoise("a red house", "--model", model, *(["--debug"] if debug else []))
    assert done.code == 1
    assert "error: ZeroDivisionError: one two\n  hint: this is our mistake: please report it" in done.err
    assert ("Traceback" in done.err) == debug


def test_a_disk_that_fills_up_while_drawing_leaves_no_part(
    fromnoise: FromNoise, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fromnoise.images.files.os.fsync", full)
    done = fromnoise("a hill", "--model", model, "--steps", "1", "--size", "8x8", "-o", "x.png")
    assert (done.code, done.out) == (5, "")
    assert "error: cannot write x.png: No space left on device" in done.err
    assert list(tmp_path.iterdir()) == []
