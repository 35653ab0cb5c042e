"""What adapters' files call a layer, and what they say of it: "lora_unet_mid_block_….lora_down.weight".

Underscored names cannot be taken apart again ("to_out_0" may be two words or three), so nobody tries: every
name that a layer of the model may go by is made, and looked up.
Source: the files of kohya's sd-scripts, LyCORIS, PEFT, diffusers, OneTrainer and ComfyUI
"""

from collections.abc import Collection, Iterator, Mapping
from re import compile as compile_regex
from typing import Final, Literal, NamedTuple

from fromnoise.specs import ModelSpec
from fromnoise.weights.adapter_algebra import LOHA, LOKR, LORA, MAGNITUDE
from fromnoise.weights.families import family_of
from fromnoise.weights.key_rules import diffusers_unet, hf_text, ldm_unet
from fromnoise.weights.layouts import DIFFUSERS_TEXTS
from fromnoise.weights.model_converter import Rule, flipped, plan

Layout = Literal["kohya", "peft"]  # that are written
KOHYA, PEFT, OLD_DIFFUSERS, OURS = "kohya", "peft", "diffusers", "ours"

ALPHA: Final = "alpha"
BY_OUTPUT: Final = ".lora_magnitude_vector"  # one length for each output, in whatever shape


class Word(NamedTuple):
    """What the end of a tensor's name says: whose way it is, the algebra, and the part of it."""

    layout: str
    kind: str
    part: str


SUFFIXES: Final[Mapping[str, Word]] = {
    ".lora_up.weight": Word(KOHYA, LORA, "up"),
    ".lora_down.weight": Word(KOHYA, LORA, "down"),
    ".lora_mid.weight": Word(KOHYA, LORA, "mid"),
    **{
        f".lora_{letter}{end}": Word(PEFT, LORA, part)
        for letter, part in (("A", "down"), ("B", "up"))
        for end in (".weight", ".default.weight", "")
    },
    **{
        f"{join}.{part}.weight": Word(OLD_DIFFUSERS, LORA, part)
        for join in (".lora", "_lora", ".lora_linear_layer")
        for part in ("up", "down")
    },
    **{
        f".hada_w{k}_{half}": Word(KOHYA, LOHA, f"w{k}_{half}") for k in (1, 2) for half in ("a", "b")
    },
    **{f".hada_t{k}": Word(KOHYA, LOHA, f"w{k}_core") for k in (1, 2)},
    **{
        f".lokr_w{k}{half}": Word(KOHYA, LOKR, f"w{k}{half}") for k in (1, 2) for half in ("", "_a", "_b")
    },
    ".lokr_t2": Word(KOHYA, LOKR, "w2_core"),
    ".alpha": Word(KOHYA, "", ALPHA),
    ".dora_scale": Word(KOHYA, "", MAGNITUDE),
    **{
        f"{BY_OUTPUT}{end}": Word(PEFT, "", MAGNITUDE)
        for end in (".weight", ".default.weight", "")
    },
}  # fmt: skip
NOT_BUILT: Final[Mapping[str, str]] = {  # what we know by name, and do not compute
    ".oft_blocks": "OFT",
    ".oft_diag": "OFT",
    ".rescale": "OFT",
    ".a1.weight": "GLoRA",
    ".a2.weight": "GLoRA",
    ".b1.weight": "GLoRA",
    ".b2.weight": "GLoRA",
    ".on_input": "IA3",
    ".diff": "whole differences",
    ".diff_b": "differences of biases",
    ".w_norm": "differences of norms",
    ".b_norm": "differences of norms",
    ".lora_B.bias": "LoRA with biases",
    ".set_weight": "replaced weights",
    ".reshape_weight": "weights of other shapes",
}
EMBEDDED: Final = "bundle_emb."  # an embedding packed into an adapter's file


def read_name(name: str) -> tuple[str, Word] | None:
    """The layer that a tensor's name is about, and what it says of it."""
    for suffix, word in SUFFIXES.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace(".processor.", "."), word
    return None


def reason_against(name: str) -> str:
    """Which known thing a tensor that we cannot use belongs to; "" if none."""
    if name.startswith(EMBEDDED):
        return "an embedding"
    return next((what for suffix, what in NOT_BUILT.items() if name.endswith(suffix)), "")


# --- layers ---

# Old diffusers named a text encoder's attention as a U-Net's: q_proj is to_q, out_proj is to_out.
OLD_TEXT: Final = compile_regex(r"(?<=\.self_attn)\.(?:([qkv])|(out))_proj$")
COMFY_TEXTS: Final = {768: "clip_l", 1024: "clip_h", 1280: "clip_g"}


def known_names(spec: ModelSpec, layers: Collection[str]) -> dict[str, str]:
    """Every name that files may have for these layers of ours ("unet.mid.1.enter", …): theirs -> ours."""
    known = {ours: ours for ours in layers}
    for ours, theirs in _unet(layers, _diffusers(spec)):
        for name in (theirs, theirs.removesuffix(".0")) if theirs.endswith("to_out.0") else (theirs,):
            starts = ("", "unet.", "base_model.model.", "unet.base_model.model.")
            known |= {start + name: ours for start in starts}
        known |= {start + _low(theirs): ours for start in ("lora_unet_", "lycoris_")}
    for ours, theirs in _unet(layers, ldm_unet("")):
        known |= {f"diffusion_model.{theirs}": ours, f"lora_unet_{_low(theirs)}": ours}
    for place, text in enumerate(spec.texts):
        numbers = (f"lora_te{place + 1}_", "lora_te_") if len(spec.texts) == 1 else (f"lora_te{place + 1}_",)
        component = DIFFUSERS_TEXTS[place]
        starts = (f"{component}.", f"{component}.base_model.model.")
        comfy = f"text_encoders.{COMFY_TEXTS.get(text.width, '')}.transformer."
        for ours, theirs in _text(layers, place):
            old = OLD_TEXT.sub(r".to_\1\2", theirs)
            short = theirs.removeprefix("text_model.")  # which newer files leave out
            for name in (theirs, short, old):
                known |= {start + name: ours for start in (*starts, comfy)}
                known |= {start + _low(name): ours for start in numbers}
    return known


def written_names(spec: ModelSpec, layers: Collection[str], layout: Layout) -> dict[str, str]:
    """The one name of each layer that is written: ours -> theirs.

    kohya's program names the layers of SDXL as its checkpoints do, and those of the others as diffusers does.
    """
    as_ldm = layout == KOHYA and family_of(spec.unet) in ("sdxl", "refiner")
    unet = _unet(layers, ldm_unet("") if as_ldm else _diffusers(spec))
    texts = [(place, *names) for place in range(len(spec.texts)) for names in _text(layers, place)]
    if layout == PEFT:
        named = {ours: f"unet.{theirs}" for ours, theirs in unet}
        return named | {ours: f"{DIFFUSERS_TEXTS[place]}.{theirs}" for place, ours, theirs in texts}
    named = {ours: f"lora_unet_{_low(theirs)}" for ours, theirs in unet}
    number = {place: place + 1 for place in range(len(spec.texts))} if len(spec.texts) > 1 else {0: ""}
    return named | {ours: f"lora_te{number[place]}_{_low(theirs)}" for place, ours, theirs in texts}


def _diffusers(spec: ModelSpec) -> Iterator[Rule]:
    return diffusers_unet(spec.unet.down, spec.unet.up, "")


def _unet(layers: Collection[str], rules: Iterator[Rule]) -> list[tuple[str, str]]:
    return _named([name for name in layers if name.startswith("unet.")], rules)


def _text(layers: Collection[str], place: int) -> list[tuple[str, str]]:
    here = f"texts.{place}"
    return _named([name for name in layers if name.startswith(f"{here}.")], hf_text("", here))


def _named(layers: Collection[str], rules: Iterator[Rule]) -> list[tuple[str, str]]:
    """Ours and theirs of each layer, by one table."""
    recipes = plan([f"{name}.weight" for name in layers], flipped(rules), source="the model")
    return [
        (recipe.sources[0].removesuffix(".weight"), theirs.removesuffix(".weight"))
        for theirs, recipe in recipes.items()
    ]


def _low(name: str) -> str:
    return name.replace(".", "_")
