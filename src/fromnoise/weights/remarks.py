"""What else is worth knowing of a model: where its parts are, and what it says of how to draw with it."""

from collections.abc import Iterator, Mapping, Sequence
from re import compile as compile_regex
from typing import Final

from fromnoise.specs import ModelSpec
from fromnoise.weights.identity import Finding
from fromnoise.weights.layouts import EMA
from fromnoise.weights.modelspec import PREFIX
from fromnoise.weights.networks import Network
from fromnoise.weights.stored import Stored
from fromnoise.weights.tokenizers import ADDED
from fromnoise.weights.wording import shown

MANY: Final = 100  # tensors; fewer are the bookkeeping of averages that are not there
TITLES: Final[Mapping[str, str]] = {"unet": "U-Net", "vae": "autoencoder", "text": "text encoder"}
CLIPS: Final[Mapping[int, str]] = {768: "CLIP-L", 1024: "OpenCLIP-H", 1280: "OpenCLIP-bigG"}
NAMELESS: Final = "a single file does not name them, so they are not used"
# Distilled to draw in few steps: words that say so in a title. The names of files are not believed.
FEW_STEPS: Final = compile_regex(r"(?i)(?<![a-z])(turbo|lightning|lcm|hyper|dmd2?)(?![a-z])")
SAYS_SO: Final = (f"{PREFIX}title", f"{PREFIX}architecture", f"{PREFIX}description")


def text_name(width: int) -> str:
    """What the text encoder of this width is called."""
    return CLIPS.get(width, f"{width} wide")


def remarks(stored: Stored, networks: Sequence[Network], spec: ModelSpec) -> Iterator[Finding]:
    """Everything that changes no picture by itself."""
    for network in networks:
        what = CLIPS.get(network.width, "of its own") if network.room == "text" else network.dialect
        place = f"its tensors are named {network.place}.…" if network.place else "its tensors have no prefix"
        yield Finding(TITLES[network.room], what, place)
    if count := sum(name.startswith(EMA) for name in stored.shapes):
        averages = f"{count} tensors" if count > MANY else "none"
        yield Finding("EMA", averages, f"names that begin with {EMA}")
    for count in (text.vocab - text.end - 1 for text in spec.texts):
        if count:
            named = f"its tokenizer's {ADDED} names them" if stored.container == "folder" else NAMELESS
            yield Finding("added words", str(count), f"rows behind the vocabulary; {named}")
    if spec.unet.guidance_width:
        width = f"an embedding of the guidance scale, {spec.unet.guidance_width} wide"
        yield Finding("few steps", "LCM", f"{width}: draw with about 4 steps and no negative prompt")
    for key in SAYS_SO:
        if found := FEW_STEPS.search(stored.metadata.get(key, "")):
            evidence = f"{key} says {shown(stored.metadata[key])!r}: try 1 to 8 steps and guidance 1"
            yield Finding("few steps", found.group(1).lower(), evidence)
    if stored.configs.get("scheduler", {}).get("_class_name") == "LCMScheduler":
        yield Finding("few steps", "LCM", "scheduler_config.json: LCMScheduler")
