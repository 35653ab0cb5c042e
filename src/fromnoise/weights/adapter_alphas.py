"""How much of an adapter counts, where its file says so in words: PEFT's and diffusers' JSON.

In kohya's files each layer's alpha is a tensor beside its factors.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from math import sqrt
from pathlib import Path
from re import fullmatch
from reprlib import repr as brief
from sys import float_info
from typing import Any, Final, cast

from fromnoise.errors import WeightsError
from fromnoise.weights.adapter_algebra import Change
from fromnoise.weights.layouts import DIFFUSERS_TEXTS
from fromnoise.weights.wording import shown

SAID: Final = "lora_adapter_metadata"  # Source: diffusers/loaders/lora_base.py
BESIDE: Final = "adapter_config.json"  # Source: peft, in the folder of adapter_model.safetensors
BASE: Final = "base_model.model."
COMPONENTS: Final = ("unet", *DIFFUSERS_TEXTS)
PATTERNS: Final = "alpha_pattern"
NAME: Final = r"\^?[\w.-]+"  # other regular expressions may take a computer for years
LARGEST_CONFIG: Final = 1 << 20  # bytes


def said_in(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """PEFT's settings, by component where there are several; empty where there are none.

    Raises: WeightsError if they make no sense
    """
    beside = path.parent / BESIDE
    text = metadata.get(SAID, "")
    try:
        if not text and path.stem == "adapter_model" and beside.is_file():
            if beside.stat().st_size > LARGEST_CONFIG:
                raise WeightsError(f"{BESIDE} is far too long for one")
            text = beside.read_text(encoding="utf-8")
        settings: Any = json.loads(text or "{}")
    except (ValueError, OSError, RecursionError) as error:
        raise WeightsError(f"its settings ({SAID} or {BESIDE}) make no sense") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"its settings ({SAID} or {BESIDE}) make no sense")
    for name, said in cast(dict[str, Any], settings).items():
        if name.rpartition(".")[2] == PATTERNS:
            _check(said or {})
    return cast(dict[str, Any], settings)


def _check(patterns: Any) -> None:
    if not isinstance(patterns, dict):
        raise WeightsError(f"its settings have {brief(patterns)} as {PATTERNS}, where layers belong")
    if odd := [key for key in cast(dict[str, Any], patterns) if not fullmatch(NAME, key)]:
        problem = f"its settings give an alpha to all layers that fit {shown(odd[0])!r}; only names are read"
        raise WeightsError(problem, hint="save it with the name of each layer")


def with_alphas(changes: Mapping[str, Change], settings: Mapping[str, Any]) -> dict[str, Change]:
    """The same changes, each with the alpha that the settings give its layer, if it has none of its own."""
    return {layer: _with_alpha(layer, change, settings) for layer, change in changes.items()}


def _with_alpha(layer: str, change: Change, settings: Mapping[str, Any]) -> Change:
    component, _, inside = layer.partition(".")
    prefix = f"{component}." if component in COMPONENTS else ""
    inside = (inside if prefix else layer).removeprefix(BASE)
    mine = settings  # of one network, as PEFT has them; diffusers packs those of several
    if any(name.startswith(tuple(f"{each}." for each in COMPONENTS)) for name in settings):
        mine = {name.removeprefix(prefix): said for name, said in settings.items() if name.startswith(prefix)}
    alpha = _patterned(inside, mine.get(PATTERNS), mine.get("lora_alpha"))
    if alpha is None or change.alpha is not None or change.rank is None:
        return change
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) <= float_info.max:
        raise WeightsError(f"its settings give {shown(layer)!r} the alpha {brief(alpha)}")
    # rank-stabilised: alpha / sqrt(rank), written here as what alpha / rank must be. Source: arXiv:2312.03732
    factor = sqrt(change.rank) if mine.get("use_rslora") else 1.0
    return replace(change, alpha=alpha * factor)


def _patterned(layer: str, pattern: Any, usual: Any) -> Any:
    """A pattern is the end of a layer's name, or after "^", as diffusers writes it, the whole of it.

    Source: PEFT's get_pattern_key: the first that (.*\\.)?(PATTERN)$ matches from the start counts
    """
    for end, value in cast(dict[str, Any], pattern or {}).items():
        if layer == end.removeprefix("^") or layer.endswith(f".{end}"):
            return value
    return usual


def settings_for(changes: Mapping[str, Change]) -> dict[str, Any]:
    """What `with_alphas` reads back: of each component the usual rank and alpha, and the exceptions."""
    settings = dict[str, Any]()
    for component in COMPONENTS:
        own = {
            layer.removeprefix(f"{component}."): (
                change.rank,
                change.rank if change.alpha is None else change.alpha,
            )
            for layer, change in changes.items()
            if layer.startswith(f"{component}.")
        }
        if not own:
            continue
        usual = max(own.values(), key=list(own.values()).count)
        odd = {layer: pair for layer, pair in own.items() if pair != usual}
        settings |= {
            f"{component}.r": usual[0],
            f"{component}.lora_alpha": usual[1],
            f"{component}.rank_pattern": {
                layer: rank for layer, (rank, _) in odd.items() if rank != usual[0]
            },
            f"{component}.{PATTERNS}": {
                layer: alpha for layer, (_, alpha) in odd.items() if alpha != usual[1]
            },
            f"{component}.target_modules": sorted(own),
        }
    return settings
