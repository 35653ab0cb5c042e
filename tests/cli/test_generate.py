import json
import shlex
from pathlib import Path

import pytest
from conftest import FromNoise
from PIL import Image

from fromnoise.cli import drawing
from fromnoise.images.metadata import read_request
from fromnoise.images.pixels import from_image

FAST = ("--steps", "2", "--size", "16x24")
PROMPT = "a red house on a hill"


def same_pixels(a: Path, b: Path) -> bool:
    with Image.open(a) as first, Image.open(b) as second:
        return from_image(first) == from_image(second)


def test_paths_are_alone_on_stdout(fromnoise: FromNoise, model: Path, tmp_path: Path) -> None:
    done = fromnoise(PROMPT, "--model", model, "-n", "2", "--seed", "7", *FAST)
    assert (done.code, done.out) == (0, "red-house-on-a-hill-7.png\nred-house-on-a-hill-8.png\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == done.out.split()
    request = read_request(done.paths[1])
    assert (request.prompt, request.seeds, request.steps) == (PROMPT, (8,), 2)
    assert (request.width, request.height) == (16, 24)


def test_the_printed_command_draws_the_same_file_again(fromnoise: FromNoise, model: Path) -> None:
    how = "--cfg-scale 2.5 --sampler k_euler_a --enlarge 2 --guidance-rescale 0.25 --guidance-interval 0.5 9"
    first = fromnoise('it\'s "red"', "--model", model, "--negative", "a hill", *FAST, *how.split())
    name, *words = shlex.split(first.again[0])
    again = fromnoise(*words, "-o", "again.png")
    assert (name, first.code, again.code) == ("fromnoise", 0, 0)
    assert first.paths[0].read_bytes() == Path("again.png").read_bytes()


def test_a_negative_prompt_that_changes_nothing_is_told(fromnoise: FromNoise, model: Path) -> None:
    asked = (PROMPT, "--model", model, "--negative", "snow", *FAST)
    told = ["the negative prompt changes nothing" in fromnoise(*asked, "--guidance", g).err for g in "12"]
    assert told == [True, False]


def test_a_seed_is_chosen_and_told_where_none_is_given(fromnoise: FromNoise, model: Path) -> None:
    done = [fromnoise(PROMPT, "--model", model, *FAST) for _ in range(2)]
    seeds = [read_request(run.paths[0]).seeds[0] for run in done]
    assert seeds[0] != seeds[1]
    assert all(f"seed {seed} " in run.err for seed, run in zip(seeds, done, strict=True))


def test_several_prompts_and_seeds_make_every_pair(fromnoise: FromNoise, model: Path) -> None:
    done = fromnoise("a red house", "a blue boat", "--model", model, "--seed", "1,2", "--seed", "5", *FAST)
    names = [f"{slug}-{seed}.png" for slug in ("red-house", "blue-boat") for seed in (1, 2, 5)]
    assert done.out.split() == names
    assert same_pixels(Path("red-house-2.png"), Path("red-house-2.png"))
    assert not same_pixels(Path("red-house-2.png"), Path("red-house-5.png"))


def test_a_dash_reads_prompts_from_stdin(fromnoise: FromNoise, model: Path) -> None:
    lines = "a red house\n\n a blue bōat \n".encode()
    done = fromnoise("-", "--model", model, "--seed", "1", *FAST, stdin=lines)
    assert done.out.split() == ["red-house-1.png", "blue-bōat-1.png"]


def test_json_is_one_object_a_picture(fromnoise: FromNoise, model: Path) -> None:
    done = fromnoise(PROMPT, "--model", model, "--seed", "3,4", "--json", *FAST)
    first, second = map(json.loads, done.out.splitlines())
    assert (first["seed"], second["seed"], second["request"]["seeds"]) == (3, 4, [4])
    assert read_request(first["path"]).to_json() == first["request"]
    assert first["model"] == "tiny"
    assert first["seconds"] > 0


def test_quiet_says_nothing_but_the_path(fromnoise: FromNoise, model: Path) -> None:
    done = fromnoise(PROMPT, "--model", model, "--seed", "3", "--quiet", *FAST)
    assert (done.out, done.err) == ("red-house-on-a-hill-3.png\n", "")


def test_a_name_that_is_taken_gets_a_number_unless_forced(fromnoise: FromNoise, model: Path) -> None:
    Path("x.png").write_bytes(b"mine")
    ask = (PROMPT, "--model", model, "-o", "x.png", *FAST)
    assert fromnoise(*ask).out == "x-2.png\n"
    assert Path("x.png").read_bytes() == b"mine"
    assert fromnoise(*ask, "--force", "-n", "2").out == "x.png\nx-3.png\n"
    assert Path("x.png").read_bytes() != b"mine"


def test_out_may_be_a_folder_or_hold_the_seed(fromnoise: FromNoise, model: Path) -> None:
    Path("album").mkdir()
    assert (
        fromnoise("a hill", "--model", model, "--seed", "4", "-o", "album", *FAST).out == "album/hill-4.png\n"
    )
    assert (
        fromnoise("a hill", "--model", model, "--seed", "4", "-o", "a-{seed}.png", *FAST).out == "a-4.png\n"
    )


def test_a_picture_can_be_where_it_starts(fromnoise: FromNoise, model: Path) -> None:
    Image.new("RGB", (32, 32), "red").save("red.png")
    done = fromnoise("a hill", "--model", model, "-i", "red.png", "--strength", "0", "-o", "kept.png")
    assert done.code == 0
    with Image.open("kept.png") as kept:
        assert kept.getpixel((5, 5)) == (255, 0, 0)
    done = fromnoise("a hill", "--model", model, "--init-image", "red.png", "--steps", "2", "--seed", "1")
    _, *words = shlex.split(done.again[0])
    assert fromnoise(*words).code == 0
    assert same_pixels(Path("hill-1.png"), Path("hill-1-2.png"))


def test_a_mask_says_where_to_draw(fromnoise: FromNoise, model: Path) -> None:
    Image.new("RGB", (32, 32), "red").save("red.png")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    mask.save("right.png")
    start = ("--model", model, "-i", "red.png", "--mask", "right.png", "--seed", "1", "--size", "32x32")
    done = fromnoise("a hill", *start, "--steps", "2")
    assert done.code == 0
    with Image.open("hill-1.png") as drawn:
        assert drawn.crop((0, 0, 15, 32)).getcolors() == [(15 * 32, (255, 0, 0))]
        assert len(drawn.crop((17, 0, 32, 32)).getcolors(9999) or ()) > 50
    _, *words = shlex.split(done.again[0])
    assert fromnoise(*words).code == 0
    assert same_pixels(Path("hill-1.png"), Path("hill-1-2.png"))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--mask", "black.png"), "there is no picture for it to lie on"),
        (("--mask", "black.png", "-i", "black.png"), "nothing in it is white"),
        (("--mask", "lost.png", "-i", "black.png"), "lost.png"),
        (("--refine-from", "0.5"), "there is no refiner"),
        (("--refiner", "lost.safetensors"), "lost.safetensors"),
        (("--crop", "0", "8"), "not told about sizes"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    fromnoise: FromNoise, model: Path, words: tuple[str, ...], problem: str
) -> None:
    Image.new("RGB", (16, 16)).save("black.png")
    done = fromnoise("a hill", "--model", model, *words, *FAST)
    assert done.code in (2, 3, 5)
    assert problem in done.err
    assert done.out == ""


def test_a_refiner_does_the_last_steps_and_is_named_in_the_file(fromnoise: FromNoise, model: Path) -> None:
    done = fromnoise("a hill", "--model", model, "--refiner", model, "--seed", "1", *FAST)
    assert done.code == 0
    with Image.open("hill-1.png") as image:
        assert "Refiner: tiny [" in image.info["parameters"]
        assert "Refiner switch at: 0.8" in image.info["parameters"]
    assert read_request("hill-1.png").refine_from == 0.8
    assert "refiner" in fromnoise("info", "hill-1.png").out


def test_a_dry_run_shows_what_is_filled_in_and_draws_nothing(
    fromnoise: FromNoise, model: Path, tmp_path: Path
) -> None:
    done = fromnoise(PROMPT, "--model", model, "--dry-run", "--seed", "9")
    settled = json.loads(done.out)
    assert (settled["sampler"], settled["steps"], settled["width"]) == ("dpmpp_2m", 4, 64)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_needs_no_folder_to_write_into(fromnoise: FromNoise, model: Path) -> None:
    done = fromnoise(PROMPT, "--model", model, "--dry-run", "-o", "nowhere/x.png")
    assert (done.code, len(done.out.splitlines())) == (0, 1)


def test_the_names_of_other_programs_mean_the_same(fromnoise: FromNoise, model: Path) -> None:
    theirs = ("--num-inference-steps", "3", "--scheduler", "Simple", "--sampling-method", "k_euler")
    done = fromnoise(
        "a hill", "--model", model, "--dry-run", *theirs, "--cfg", "2", "--negative-prompt", "snow"
    )
    settled = json.loads(done.out)
    assert (settled["steps"], settled["spacing"], settled["sampler"]) == (3, "trailing", "euler")
    assert (settled["guidance"], settled["negative"]) == (2.0, "snow")


def test_words_the_embedded_model_never_saw_are_named(fromnoise: FromNoise, embedded: Path) -> None:
    done = fromnoise("a red dragonfly in a forrest", "--steps", "1", "--size", "8x8")
    assert done.code == 0
    assert len(done.paths) == 1
    assert "never saw" in done.err
    assert "dragonfly" in done.err
    assert "forrest (nearest: forest" in done.err


def test_what_does_not_fit_is_quoted(fromnoise: FromNoise, model: Path) -> None:
    done = fromnoise("a red house " * 60 + "zebra", "--model", model, "--steps", "1", "--size", "8x8")
    assert done.code == 0
    assert "warning: the end of the prompt is left out" in done.err
    assert "zebra" in done.err


def test_a_word_close_to_a_command_is_drawn_and_wondered_at(fromnoise: FromNoise, embedded: Path) -> None:
    done = fromnoise("traim", "--steps", "1", "--size", "8x8", "--seed", "1")
    assert done.out == "traim-1.png\n"
    assert "fromnoise train" in done.err


def test_stopping_keeps_what_is_finished(
    fromnoise: FromNoise, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = drawing.Run.tell

    def stop_after_the_second(self: drawing.Run, saved: Path, *rest: object) -> None:
        tell(self, saved, *rest)  # type: ignore[arg-type]
        if len(self.written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(drawing.Run, "tell", stop_after_the_second)
    done = fromnoise("a hill", "--model", model, "--seed", "1,2,3", *FAST)
    assert (done.code, done.out) == (130, "hill-1.png\nhill-2.png\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hill-1.png", "hill-2.png"]
    assert done.err.endswith("stopped\n")
