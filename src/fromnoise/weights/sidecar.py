"""The two facts that the .yaml file beside a checkpoint may hold, read line by line."""

from collections.abc import Iterator
from pathlib import Path
from re import Pattern
from re import compile as compile_regex
from typing import Final

from fromnoise.specs import Prediction

MOST: Final = 1 << 16  # bytes that are read
ENDINGS: Final = (".yaml", ".yml")

# `model.params.parameterization` of latent-diffusion
PARAMETERIZATION: Final = compile_regex(r"""\s+parameterization:\s*(['"]?)(eps|v|x0)\1\s*(?:#.*)?""")
# `….denoiser_config.params.scaling_config.target` of sgm
SCALING: Final = compile_regex(r"\s+scaling_config:\s*(?:#.*)?")
TARGET: Final = compile_regex(r"""\s+target:\s*(['"]?)[\w.]*\.(EpsScaling|VScaling)\1\s*(?:#.*)?""")
SCALINGS: Final[dict[str, Prediction]] = {"EpsScaling": "eps", "VScaling": "v"}


def read_sidecar(checkpoint: Path) -> tuple[Path, Prediction] | None:
    """The file beside this one, and what it says the network predicts; None if it does not say one thing."""
    for ending in ENDINGS:
        path = checkpoint.with_suffix(ending)
        try:
            with path.open("rb") as file:
                text = file.read(MOST).decode("utf-8", "replace")
        except (OSError, ValueError):
            continue
        said = set(_said(text.splitlines()))
        return (path, said.pop()) if len(said) == 1 else None
    return None


def _said(lines: list[str]) -> Iterator[Prediction]:
    for number, line in enumerate(lines):
        if found := PARAMETERIZATION.fullmatch(line):
            yield _prediction(found.group(2))
        if SCALING.fullmatch(line) and (found := _first(TARGET, lines[number + 1 : number + 2])):
            yield SCALINGS[found]


def _first(pattern: Pattern[str], lines: list[str]) -> str:
    match = pattern.fullmatch(lines[0]) if lines else None
    return match.group(2) if match else ""


def _prediction(word: str) -> Prediction:
    return "eps" if word == "eps" else "v" if word == "v" else "x0"
