"""Every example runs as its reader would run it, on TINY instead of the embedded model."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

import fromnoise as fn
from fromnoise.weights.native import Parts, save_native

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
MOST_LINES = 40

# what each one leaves behind, and something that it says
LEAVES = {
    "01_text_to_image": ({"lighthouse-1.png", "lighthouse-2.png"}, "is the same: True"),
    "02_image_to_image": ({"boat-0.25.png", "boat-0.5.png", "boat-0.75.png"}, "strength 0.75: boat-0.75.png"),
    "03_watch_it_draw": ({"whale.gif"}, "step 4 of 4: noise 0 times"),
    "04_own_sampler": ({"own-sampler.png"}, "-> 0\n"),
    "05_closed_form": (set[str](), "\ndpmpp_2m"),
    "06_train_tokenizer": ({"vocabulary.json"}, "-> 'a red lighthouse at sunset'"),
    "07_look_inside": (set[str](), "context (1, 77, 32)"),
    "08_own_pictures": ({"pictures", "learned", "inked.png"}, "drawn with what it learned: inked.png"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_parts: Parts) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_native(tiny_parts, path)
    return path


@pytest.fixture
def run(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> "Runner":
    monkeypatch.chdir(tmp_path)
    return Runner(tmp_path, model, monkeypatch, capsys)


class Runner:
    """Runs an example in an empty folder."""

    def __init__(
        self,
        folder: Path,
        model: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.folder, self.model, self.monkeypatch, self.capsys = folder, model, monkeypatch, capsys

    def __call__(self, name: str, *more: str) -> str:
        path = next(path for path in EXAMPLES if path.stem == name)
        self.monkeypatch.setattr(sys, "argv", [str(path), str(self.model), *more])
        runpy.run_path(str(path), run_name="__main__")
        return self.capsys.readouterr().out

    def left(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


def test_every_example_is_tried() -> None:
    assert [path.stem for path in EXAMPLES] == list(LEAVES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", LEAVES)
def test_examples_run(run: Runner, name: str) -> None:
    files, words = LEAVES[name]
    assert words in run(name)
    assert run.left() == files


def test_the_second_example_takes_a_picture_of_your_own(run: Runner, tmp_path: Path) -> None:
    Image.new("RGB", (100, 50), "red").save(tmp_path / "mine.png")
    run("02_image_to_image", "mine.png")
    with Image.open("boat-0.25.png") as drawn:
        assert drawn.width > drawn.height


def test_watching_keeps_a_frame_for_every_step_and_the_picture(run: Runner) -> None:
    run("03_watch_it_draw")
    with Image.open("whale.gif") as film:
        # TINY's last preview is the finished picture itself, which a GIF keeps as one frame for twice as long
        assert (film.n_frames, film.size) == (4, (4 * 64, 4 * 64))
        film.seek(3)
        assert film.info["duration"] == 2 * 150


def test_the_closed_form_shows_the_orders(run: Runner) -> None:
    rows = dict(line.split(maxsplit=1) for line in run("05_closed_form").splitlines()[1:])
    orders = {name: float(row.split()[-1]) for name, row in rows.items()}
    assert orders == pytest.approx({"euler": 1, "ddim": 1, "heun": 2, "dpmpp_2m": 2}, abs=0.1)


def test_the_sampler_of_example_four_is_of_second_order(run: Runner, tmp_path: Path) -> None:
    run("04_own_sampler")
    own = runpy.run_path(str(EXAMPLES[3]))["dpmpp_2s"]
    closed = runpy.run_path(str(EXAMPLES[4]))

    def error(steps: int) -> float:
        sigmas = closed["karras"](steps + 1, closed["HIGH"], closed["LOW"])
        *_, last = own(closed["denoise"], closed["START"], sigmas, noise=closed["no_noise"])
        return abs(last.x - closed["exact"])

    assert error(40) / error(80) == pytest.approx(4, rel=0.1)


def test_attention_adds_up_to_one(run: Runner) -> None:
    shares = [
        float(line.split()[1])
        for line in run("07_look_inside").splitlines()
        if line.endswith("% of the attention")
    ]
    assert 0 < sum(shares) < 100


def test_pictures_of_example_one_say_what_they_show(run: Runner) -> None:
    run("01_text_to_image")
    assert fn.read_request("lighthouse-2.png").seeds == (2,)
