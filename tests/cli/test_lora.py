import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from conftest import FromNoise

from fromnoise.images.metadata import read_request
from fromnoise.nets.low_rank import with_low_rank
from fromnoise.specs import TINY, ModelSpec
from fromnoise.weights.adapter_terms import Terms
from fromnoise.weights.adapter_writer import save_adapter
from fromnoise.weights.adapters import Adapter, open_adapter
from fromnoise.weights.native import Parts

FAST = ("--steps", "2", "--size", "16x24", "--seed", "5")


@pytest.fixture(scope="session")
def webui(build: Callable[[ModelSpec], Parts], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two LoRAs where AUTOMATIC1111 keeps them."""
    root = tmp_path_factory.mktemp("webui")
    (root / "models" / "Lora").mkdir(parents=True)
    for seed, name in enumerate(("ink", "oil")):
        unet = build(TINY).unet
        for each in with_low_rank(unet, 2).values():
            torch.nn.init.normal_(each.up.weight, generator=torch.Generator().manual_seed(seed))
        adapter = Adapter.trained(name, {"unet": unet})
        save_adapter(adapter, root / "models" / "Lora" / f"{name}.safetensors", TINY)
    return root


def test_a_picture_with_loras_and_the_command_that_draws_it_again(
    fromnoise: FromNoise, model: Path, webui: Path
) -> None:
    start = ("a red house", "--model", model, *FAST)
    plain = fromnoise(*start)
    done = fromnoise(*start, "--lora", "ink:0.5", "--lora", "oil", "--models-dir", webui)
    assert (done.code, done.out) == (0, "red-house-5-2.png\n")
    uses = read_request("red-house-5-2.png").adapters or ()
    assert [(use.name, use.scale, len(use.hash)) for use in uses] == [("ink", 0.5, 10), ("oil", 1.0, 10)]
    assert str(webui) not in Path("red-house-5-2.png").read_bytes().decode("latin-1")  # nobody's folders
    assert f"ink:0.5  {uses[0].hash}" in fromnoise("info", "red-house-5-2.png").out
    (command,) = done.again
    again = fromnoise(*shlex.split(command)[1:])
    assert again.paths[0].read_bytes() == Path("red-house-5-2.png").read_bytes()
    assert plain.paths[0].read_bytes() != Path("red-house-5-2.png").read_bytes()


def test_a_replay_finds_the_same_file_or_says_so(
    fromnoise: FromNoise, model: Path, webui: Path, tmp_path: Path
) -> None:
    ink = webui / "models" / "Lora" / "ink.safetensors"
    fromnoise("a red house", "--model", model, *FAST, "--lora", f"{ink}:0.5")
    missing = fromnoise("replay", "red-house-5.png", "--model", model)
    assert (missing.code, "there is no adapter 'ink'" in missing.err) == (5, True)
    assert "or name its file: --lora FILE:SCALE" in missing.err
    found = fromnoise("replay", "red-house-5.png", "--model", model, "--models-dir", webui)
    assert found.paths[0].read_bytes() == Path("red-house-5.png").read_bytes()
    named = fromnoise("replay", "red-house-5.png", "--model", model, "--lora", f"{ink}:0.5")
    assert named.paths[0].read_bytes() == Path("red-house-5.png").read_bytes()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "ink.safetensors").write_bytes(ink.with_name("oil.safetensors").read_bytes())
    other = fromnoise("replay", "red-house-5.png", "--model", model, "--models-dir", tmp_path / "others")
    assert (other.code, "'ink' is another file now" in other.err) == (2, True)


def test_the_embedded_model_knows_its_turbo(
    fromnoise: FromNoise, embedded: Path, webui: Path, build: Callable[[ModelSpec], Parts]
) -> None:
    ink = open_adapter(webui / "models" / "Lora" / "ink.safetensors")
    digest = sha256(embedded.read_bytes()).hexdigest()
    turbo = replace(ink, metadata=Terms(made_for=digest, steps=3, guidance=1.0).metadata())
    save_adapter(turbo, embedded.with_name("model.turbo.safetensors"), TINY)
    for extra in ((), ("--models-dir", webui)):
        asked = json.loads(fromnoise("a red house", "--lora", "turbo", *extra, "--dry-run").out)
        assert (asked["steps"], asked["guidance"], asked["adapters"][0]["name"]) == (3, 1.0, "turbo")
    drawn = fromnoise(
        "a red house", "--lora", "turbo", "--size", "16x24", "--seed", "5", "--models-dir", webui
    )
    assert "--lora turbo:1 " in f"{drawn.again[0]} "
    again, replayed = fromnoise(*shlex.split(drawn.again[0])[1:]), fromnoise("replay", drawn.paths[0])
    pictures = {path.read_bytes() for path in (*drawn.paths, *again.paths, *replayed.paths)}
    assert len(pictures) == 1
    assert read_request(drawn.paths[0]).steps == 3


def test_settings_are_shown_without_drawing(fromnoise: FromNoise, model: Path, webui: Path) -> None:
    asked = ("--lora", "oil:-1", "--models-dir", webui, "--dry-run")
    shown = fromnoise("a red house", "--model", model, *FAST, *asked)
    (use,) = json.loads(shown.out)["adapters"]
    assert (use["name"], use["scale"], len(use["hash"])) == ("oil", -1.0, 10)


@pytest.mark.parametrize(
    ("lora", "code", "said"),
    [
        ("ink:1000", 2, "1000 is outside -100..100"),
        ("nothing", 5, "there is no adapter 'nothing'"),
        ("MODEL", 3, "it is no adapter"),
    ],
)
def test_what_is_no_adapter_is_one_line(
    fromnoise: FromNoise, model: Path, lora: str, code: int, said: str
) -> None:
    done = fromnoise("a house", "--model", model, *FAST, "--lora", lora.replace("MODEL", str(model)))
    assert (done.code, said in done.err, done.out) == (code, True, "")


def test_inspect_tells_of_a_lora(fromnoise: FromNoise, webui: Path) -> None:
    said = fromnoise("inspect", webui / "models" / "Lora" / "ink.safetensors").out
    assert "rank" in said
    assert "use it beside a model: `--lora FILE`" in said
