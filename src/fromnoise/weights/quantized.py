"""Weights as packed or whole numbers, which are called by name and not read.

float8, also with scales, and bytes with scales are read. Sources of the marks: the files of bitsandbytes,
optimum-quanto, AutoGPTQ, AutoAWQ, Nunchaku and ComfyUI
"""

from collections.abc import Iterable, Mapping
from typing import Final

from fromnoise.weights.stored import Stored
from fromnoise.weights.wording import shown

INSTEAD: Final = "get the model as float16, bfloat16 or float8"
# How a name ends -> what that is a part of; of two marks in one file, the first says more.
WAYS: Final[Mapping[str, str]] = {
    ".quant_state.bitsandbytes__nf4": "4-bit numbers of bitsandbytes (NF4)",
    ".quant_state.bitsandbytes__fp4": "4-bit numbers of bitsandbytes (FP4)",
    ".SCB": "8-bit integers of bitsandbytes",
    ".weight_scale_2": "4-bit floats (NVFP4)",
    ".wscales": "4-bit integers of Nunchaku",
    ".qweight": "packed integers (GPTQ or AWQ)",
    ".weight._data": "integers of quanto",
    ".comfy_quant": "quantized numbers of ComfyUI",
    ".scale_weight": "quantized numbers with scales of a shape that is not known",
    ".weight_scale": "quantized numbers with scales of a shape that is not known",
}


def find_quantized(stored: Stored, names: Iterable[str]) -> str:
    """What the weights among these names are, with a tensor that gives it away; "" if they are all floats."""
    for end, what in WAYS.items():
        if mark := next((name for name in stored.shapes if name.endswith(end)), ""):
            return f"its weights are {what}, which are not read ({shown(mark)})"
    for name in names:
        kind = str(stored.dtypes[name]).removeprefix("torch.")
        if name.endswith(".weight") and not stored.dtypes[name].is_floating_point:
            return f"its weights are integers ({kind}), which are not read ({shown(name)})"
    return ""
