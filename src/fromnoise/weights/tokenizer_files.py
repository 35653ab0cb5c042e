"""The tokenizer of a diffusers folder: the files that transformers reads, so that it need not ask anybody.

Source: transformers' CLIPTokenizer, and the files of the published models
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fromnoise.specs import ClipSpec
from fromnoise.weights.tokenizers import ADDED, FAST, MERGES, VOCABULARY

Json = Mapping[str, Any]
# what `Tokenizer.from_json` takes -> the id of every symbol, start and end included, and the merges
Spell = Callable[[Json], tuple[Mapping[str, int], Sequence[tuple[str, str]]]]

CONFIG, MARKS = "tokenizer_config.json", "special_tokens_map.json"
FILES: Final = (VOCABULARY, MERGES, ADDED, CONFIG, MARKS, FAST)
HEAD: Final = "#version: 0.2"  # of merges.txt; transformers skips the first line


def tokenizer_files(tokenizer: Json, text: ClipSpec, spell: Spell) -> dict[str, str]:
    """The files by name.  Raises: WeightsError, SpecError if `tokenizer` is none"""
    symbols, merges = spell(tokenizer)
    words = {number: symbol for symbol, number in symbols.items()}
    end = len(symbols) - 1
    marks = {
        "bos_token": words[end - 1],
        "eos_token": words[end],
        "pad_token": words[text.pad],
        "unk_token": words[end],
    }
    about = {
        **marks,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": text.context,
        "tokenizer_class": "CLIPTokenizer",
    }
    return {
        VOCABULARY: json.dumps(dict(symbols), ensure_ascii=False),
        MERGES: "\n".join([HEAD, *(" ".join(pair) for pair in merges), ""]),
        CONFIG: as_json(about),
        MARKS: as_json(marks),
        **({ADDED: as_json(tokenizer["added"])} if "added" in tokenizer else {}),
    }


def as_json(data: Json) -> str:
    """As diffusers writes its files."""
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
