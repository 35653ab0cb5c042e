import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from fromnoise.cli import generate
from fromnoise.cli.app import app
from fromnoise.cli.naming import again, slug, target
from fromnoise.cli.options import Asked
from fromnoise.request import CHECKS, AdapterUse, GenerateRequest

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30).filter(
    lambda text: text != "-"  # which means stdin
)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a red lighthouse on an island at sunset", "red-lighthouse-on-an-island"),
        ("The END", "end"),
        ("a", "a"),
        ("", "picture"),
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\con | $(rm) 'x'", "c-con-rm-x"),
        ("ein Schloß im Schnee", "ein-schloß-im-schnee"),
        ("x" * 99, "x" * 48),
    ],
)
def test_slugs(prompt: str, name: str) -> None:
    assert slug(prompt) == name


@given(TEXTS)
def test_every_slug_is_a_name_within_its_folder(prompt: str) -> None:
    path = target(None, prompt)
    assert path.parent == Path()
    assert not path.name.startswith(".")
    assert len(path.name.encode()) < 255


def parsed(command: str) -> tuple[GenerateRequest, Asked]:
    """What `generate` would draw."""
    seen: list[tuple[Sequence[GenerateRequest], Asked]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "draw_all", lambda requests, asked, _: seen.append((requests, asked)))
        result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0, result.stderr
    ((request,), asked) = seen[0]
    return request, asked


@given(
    prompt=TEXTS,
    negative=TEXTS,
    guidance=st.none() | st.floats(0, 100),
    seed=st.integers(0, 2**64 - 1),
    interval=st.none() | st.tuples(st.floats(0, 1), st.floats(2, 9)),
)
@example(prompt="train", negative="--help", guidance=None, seed=0, interval=None)
@example(prompt="--help", negative="-", guidance=1e-300, seed=1, interval=None)
@example(prompt="", negative="", guidance=None, seed=1, interval=(0.0, 2.5))
def test_the_command_that_repeats_a_request_asks_for_exactly_that_request(
    prompt: str, negative: str, guidance: float | None, seed: int, interval: tuple[float, float] | None
) -> None:
    request = GenerateRequest(
        prompt=prompt, negative=negative, guidance=guidance, seeds=(seed,), guidance_interval=interval
    )
    _, asked = parsed("fromnoise 'a house' --model m.safetensors --enlarge 2")
    repeated, _ = parsed(again(prompt, asked.repeating(request, seed)))
    assert repeated == request


def test_every_field_of_a_request_can_be_repeated() -> None:
    other: dict[str, Any] = {
        **{"negative": "snow", "width": 64, "height": 80, "steps": 7, "guidance": 3.5, "strength": 0.5},
        **{"sampler": "ddim", "spacing": "leading", "guidance_rescale": 0.5, "guidance_interval": (0.5, 3.0)},
        **{"image_guidance": 1.25, "refine_from": 0.75, "original_size": (300, 200), "crop": (8, 0)},
        **{"aesthetic": (7.0, 2.0), "zero_negative": True, "merge": 0.5, "reuse": 3},
        **{"adapters": (AdapterUse("ink", 0.5), AdapterUse("b.pt", 1.0))},
    }
    request = GenerateRequest(prompt="a hill", seeds=(3,), **other)
    unchanged = GenerateRequest(prompt="")
    assert [name for name in CHECKS if getattr(request, name) == getattr(unchanged, name)] == []
    line = "fromnoise 'a hill' --mask m.png --image i.png --refiner r.safetensors --lora ink:0.5 --lora b.pt"
    repeated, asked = parsed(again("a hill", parsed(line)[1].repeating(request, 3)))
    assert repeated == request
    assert (asked.mask, asked.image, asked.refiner) == (Path("m.png"), Path("i.png"), "r.safetensors")
