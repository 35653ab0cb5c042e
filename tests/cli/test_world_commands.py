import json
from pathlib import Path

from conftest import FromNoise
from PIL import Image

from fromnoise.world import FULL, Naming, parse, sample_scene, scene_seed, unknown_words


def test_a_preview_is_a_sheet_of_the_scenes(fromnoise: FromNoise) -> None:
    done = fromnoise("world", "preview", "--count", "5", "--columns", "3", "--size", "16", "--seed", "4")
    assert (done.code, done.out) == (0, "world.png\n")
    with Image.open("world.png") as sheet:
        assert sheet.size == (3 * 16 + 2 * 2, 2 * 16 + 2)
        assert len(sheet.getcolors(10_000) or []) > 50


def test_previews_are_numbered_unless_forced(fromnoise: FromNoise) -> None:
    ask = ("world", "preview", "-n", "2", "--size", "16")
    assert fromnoise(*ask).out == "world.png\n"
    assert fromnoise(*ask, "--seed", "1").out == "world-2.png\n"
    assert Path("world.png").read_bytes() != Path("world-2.png").read_bytes()
    assert fromnoise(*ask, "--seed", "1", "--force").out == "world.png\n"
    assert Path("world.png").read_bytes() == Path("world-2.png").read_bytes()


def test_captions_are_true_of_their_scenes(fromnoise: FromNoise) -> None:
    done = fromnoise("world", "caption", "-n", "5", "--seed", "3", "--json")
    for index, line in enumerate(done.out.splitlines()):
        data, scene = json.loads(line), sample_scene(scene_seed(3, index))
        assert data["scene"]["setting"] == scene.setting
        said = parse(data["captions"]["full"]).things
        assert {naming.kind for naming in said} == {thing.kind for thing in scene.things}
        assert all(isinstance(naming, Naming) for naming in said)


def test_captions_are_a_line_each(fromnoise: FromNoise) -> None:
    plain = fromnoise("world", "caption", "-n", "9").out.splitlines()
    other = fromnoise("world", "caption", "-n", "9", "--held-out").out.splitlines()
    assert len(plain) == len(other) == 9
    assert plain != other


def test_the_full_world_is_previewed_and_captioned_by_name(fromnoise: FromNoise) -> None:
    ask = ("world", "preview", "-n", "2", "--size", "16", "--force")
    assert fromnoise(*ask).out == fromnoise(*ask, "--world", "full").out == "world.png\n"
    for line in fromnoise("world", "caption", "-n", "3", "--world", "full", "--json").out.splitlines():
        data = json.loads(line)
        assert data["scene"]["world"] == "full"
        assert unknown_words(data["captions"]["full"], FULL) == []
    assert fromnoise("world", "preview", "--world", "large").code == 2
