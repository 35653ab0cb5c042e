"""What `fromnoise inspect` tells of an adapter: its algebra, its size, what it changes, and its words."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from fromnoise.weights.adapters import alpha_in, check, sorted_out
from fromnoise.weights.identity import Finding
from fromnoise.weights.stored import Stored
from fromnoise.weights.wording import shown

TAGS: Final = "ss_tag_frequency"  # Source: sd-scripts: {folder: {tag of a caption: how often}}
FEW: Final = 5
TEXTS: Final = ("lora_te", "text_encoder", "text_model")


def findings(stored: Stored) -> Iterator[Finding]:
    """Raises: WeightsError if it cannot be used, with the reason."""
    layout, layers = sorted_out(stored.shapes)
    sketches = {layer: check(stored, held) for layer, held in layers.items()}
    kinds = Counter(sketch.label for sketch in sketches.values())
    changed = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    yield Finding("layers", changed, f"names as in {layout}'s files")
    texts = [layer for layer in layers if layer.startswith(TEXTS)]
    convolutions = sum(
        len(shape) == 4 and set(shape[2:]) != {1} for shape in (sketch.shape for sketch in sketches.values())
    )
    parts = {
        "U-Net": len(layers) - len(texts),
        "text encoders": len(texts),
        "of them convolutions": convolutions,
    }
    yield Finding("changes", ", ".join(f"{n:,} {what}" for what, n in parts.items() if n), "names and shapes")
    ranks = Counter(sketch.rank for sketch in sketches.values())
    yield Finding("rank", _several(ranks), "shapes")
    alphas = Counter(alpha_in(stored, held) for held in layers.values())
    if set(alphas) != {None}:
        yield Finding("alpha", _several(alphas), "a number beside each layer")
    if words := _words(stored.metadata):
        yield Finding("trained on", words, TAGS)


def _several(counts: Mapping[Any, int]) -> str:
    """The most frequent first; None is what has none."""
    ordered = sorted(counts, key=lambda value: (-counts[value], value is None, value or 0))
    values = [f"{value:g}" if value is not None else "none" for value in ordered]
    return ", ".join(values[:FEW]) + (" …" if len(values) > FEW else "")


def _words(metadata: Mapping[str, str]) -> str:
    """The most frequent words of its captions, by which it is usually called."""
    try:
        folders = json.loads(metadata.get(TAGS, "{}"))
        counts = Counter[str]()
        for tags in cast(dict[str, dict[str, int]], folders).values():
            counts.update({str(tag).strip(): int(count) for tag, count in tags.items()})
    except (ValueError, TypeError, AttributeError, RecursionError):
        return ""  # nothing depends on it
    return ", ".join(shown(tag) for tag, _ in counts.most_common(FEW))
