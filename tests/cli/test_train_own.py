"""`fromnoise train unet|lora|embedding FOLDER`, and what may then be drawn."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import FromNoise
from PIL import Image

from fromnoise.cli.train_own import damaged, wished
from fromnoise.errors import RequestError
from fromnoise.train.pictures import Reason, Skip
from fromnoise.train.state import LATEST

SHORT = ("--steps", "2", "--batch", "2", "--size", "128", "--sample", "a hill", "--threads", "1")
FAST = ("--steps", "1", "--size", "16x16", "--seed", "5")


@pytest.fixture(autouse=True)
def as_before() -> object:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "My Embers"
    folder.mkdir()
    for k in range(2):
        Image.new("RGB", (40, 40), (200, 90 * k, 0)).save(folder / f"{k}.png")
        (folder / f"{k}.txt").write_text("an ember")
    (folder / "2.png").write_bytes(b"no picture")
    (folder / "2.txt").write_text("an ember")
    return folder


def test_a_lora_from_a_folder_and_a_picture_with_it(
    fromnoise: FromNoise, album: Path, embedded: Path
) -> None:
    done = fromnoise("train", "lora", album, *SHORT, "--rank", "2")
    assert (done.code, done.out) == (0, "My-Embers-lora/My-Embers.safetensors\n"), done.err
    said = done.err.splitlines()
    assert said[0] == f"lora: {album} is taken as a folder of pictures, for the embedded model"
    assert said[1] == f"{album}: 2 pictures to learn from, 1 left out"
    assert said[2].startswith("captions of 2: a file beside each picture (kohya), as 0.png + 0.txt")
    assert "lora of tiny: 2 steps of 2, learning rate 0.001" in done.err
    assert "s a step, at most" in done.err
    assert Path("My-Embers-lora/sheet-000002.png").is_file()
    again = fromnoise("train", "lora", album, *SHORT, "--rank", "2")
    assert "nothing left to train: 2 of 2 steps are done" in again.err
    drawn = fromnoise("an ember", *FAST, "--lora", done.paths[0])
    assert drawn.code == 0
    assert "never saw" not in drawn.err
    assert "never saw" in fromnoise("an ember", *FAST).err


def test_an_embedding_from_a_folder_and_a_picture_with_its_word(
    fromnoise: FromNoise, album: Path, embedded: Path
) -> None:
    done = fromnoise("train", "embedding", album, *SHORT, "--word", "glim", "--vectors", "2", "--lr", "0.1")
    assert (done.code, done.out) == (0, "My-Embers-embedding/glim.safetensors\n"), done.err
    assert "2 captions did not say 'glim'; it goes before them" in done.err
    plain = fromnoise("a glim", *FAST)
    drawn = fromnoise("a glim", *FAST, "--embedding", done.paths[0])
    assert "never saw" not in drawn.err
    assert drawn.paths[0].read_bytes() != plain.paths[0].read_bytes()
    (command,) = drawn.again
    assert fromnoise(*shlex.split(command)[1:]).paths[0].read_bytes() == drawn.paths[0].read_bytes()
    replayed = fromnoise("replay", drawn.paths[0])
    assert (replayed.code, "embedding: glim-5-2.png was drawn with one" in replayed.err) == (2, True)
    replayed = fromnoise("replay", drawn.paths[0], "--embedding", done.paths[0])
    assert replayed.paths[0].read_bytes() == drawn.paths[0].read_bytes()
    renamed = fromnoise("a spark", *FAST, "--embedding", f"spark={done.paths[0]}")
    assert (renamed.code, "never saw" in renamed.err) == (0, False)
    told = fromnoise("inspect", done.paths[0])
    assert "embedding" in told.out


def test_what_a_folder_holds_decides_and_options_of_the_other_kind_are_refused(
    fromnoise: FromNoise, album: Path, model: Path, tmp_path: Path
) -> None:
    done = fromnoise("train", "unet", album, *SHORT, "--model", model, "-o", "out")
    assert (done.code, done.out) == (0, "out/My-Embers.safetensors\n"), done.err
    assert f"is taken as a folder of pictures, for {model}" in done.err
    drawn = fromnoise("an ember", *FAST, "--model", done.paths[0])
    assert drawn.code == 0
    tiny = fromnoise("train", "unet", album, "--tiny")
    assert (tiny.code, "tiny:" in tiny.err, "is no run of our own model" in tiny.err) == (2, True, True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tokenizer.json").write_text("{}")
    stage = fromnoise("train", "unet", "run", "--tiny")
    assert "unet: run is taken as a run of our own model" in stage.err
    assert (stage.code, "train clip run" in stage.err or "holds no" in stage.err) == (5, True), stage.err
    wrong = fromnoise("train", "unet", "run", "--model", model)
    assert (wrong.code, "model: this folder is a run of our own model" in wrong.err) == (2, True)
    wrong = fromnoise("train", "unet", "run", "--held-out", "0")
    assert (wrong.code, "held-out: this folder is a run of our own model" in wrong.err) == (2, True)


def test_a_nought_is_an_answer() -> None:
    asked = wished("lora", {"dropout": 0.0, "held_out": 0, "rank": None, "no_ema": False, "sample": ()})
    assert (asked.dropout, asked.held_out, asked.rank, asked.ema, asked.samples) == (0, 0, 16, 0.1, ())
    with pytest.raises(RequestError) as raised:
        wished("lora", {"alpha": 0.0, "min_snr": 0.0})
    assert set(raised.value.problems) == {"alpha", "min_snr"}


def test_names_of_damaged_pictures_do_not_command_the_terminal() -> None:
    skipped = [Skip(f"{k}\x1b[2J.png", Reason.DAMAGED, "cut short") for k in range(5)]
    (told,) = damaged(SimpleNamespace(cache=SimpleNamespace(skipped=skipped)))  # type: ignore[arg-type]
    assert told.startswith("5 pictures cannot be decoded and are left out: 0?[2J.png (cut short), 1?[2J.png")
    assert told.endswith(" and 2 more")


def test_a_word_that_is_no_name_of_a_file(fromnoise: FromNoise, album: Path, embedded: Path) -> None:
    for word, name in (("a/b", "a-b"), ("latest", "latest-own")):
        file = Path(f"of-{name}", f"{name}.safetensors")
        command = ("train", "embedding", album, *SHORT, "--word", word, "--vectors", "1", "-o", file.parent)
        done = fromnoise(*command)
        assert (done.code, done.out) == (0, f"{file}\n"), done.err
        assert f"draw with --embedding {word}={file}" in done.err
        assert fromnoise(f"a {word}", *FAST, "--embedding", f"{word}={file}").code == 0
        assert "nothing left to train" in fromnoise(*command).err


def test_bad_input_is_one_line(fromnoise: FromNoise, album: Path, embedded: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words, code, problem in (
        (("lora", "empty"), 2, "pictures: empty holds none"),
        (("lora", "nowhere"), 5, "there is no folder nowhere"),
        (("lora", album, "-o", album / "run"), 2, "lies among the pictures"),
        (
            ("lora", album, "--format", "peff"),
            2,
            "format: 'peff' is none of a lora's; choose from kohya, peft",
        ),
        (("lora", album, "--layers", "some"), 2, "layers: 'some' is unknown"),
        (
            ("lora", album, "--prior", "2", "--size", "128"),
            2,
            "prior: tiny does not say which words it knows",
        ),
        (("lora", album, "--size", "64"), 2, "this U-Net needs 64"),
        (("lora", album, "--prior-prompt", "a hill"), 2, "say how many pictures: --prior N"),
        (("lora", album, "--min-snr", "nan"), 2, "min_snr: nan is not above 0"),
        (("unet", album, "--format", "ldm"), 2, "hint: --format ours"),
        (("embedding", album), 2, "--word"),
        (("embedding", album, "--word", " ", *SHORT), 2, "cannot be a word of its own"),
        (("lora", album, "--held-out", "9", "--size", "128"), 2, "9 of 2 are to be held out"),
        (("lora", album, "--model", "nothing"), 5, "there is no model 'nothing'"),
    ):
        done = fromnoise("train", *words)
        assert (done.code, problem in done.err) == (code, True), (words, done.err)
    assert not list(tmp_path.rglob(LATEST))
