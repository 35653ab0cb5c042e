"""Files that hold no model that can draw: strangers, and parts that are used beside one."""

from collections.abc import Sequence
from typing import Final

from fromnoise.errors import WeightsError
from fromnoise.weights.adapter_findings import findings
from fromnoise.weights.adapter_names import read_name
from fromnoise.weights.embeddings import may_be_word, vectors_in
from fromnoise.weights.families import UPSCALER
from fromnoise.weights.identity import DIFFUSERS, Finding, Identity
from fromnoise.weights.networks import Network
from fromnoise.weights.remarks import CLIPS, text_name
from fromnoise.weights.stored import Stored
from fromnoise.weights.strangers import (
    BESIDE,
    FOREIGN,
    PARTS,
    SUPPORTED,
    WHOLE,
    Names,
    find_lora,
    find_stranger,
    version_of,
)
from fromnoise.weights.structure import read_vae
from fromnoise.weights.wording import shown

EXITS: Final = {"ldm": "out.2.weight", "diffusers": "conv_out.weight"}  # what a ControlNet's half lacks
EMBEDDING_MARKS: Final = ("string_to_param", "emb_params", "clip_l", "clip_g")
VOWELS: Final = "AEIOaeio"
NAME_IT: Final = "use it beside a model: `--embedding FILE`, and its name in the prompt"
USE_BESIDE: Final = "use it beside a model: `--lora FILE`, or `--lora FILE:SCALE`"
# What networks of use have with them: CLIP's text half the other half, an autoencoder counters of averages.
BESIDE_NETWORKS: Final = ("image encoder", "EMA")
MOST_EMBEDDINGS, FIRST = 8, 3  # tensors in a file of embeddings; names that are shown
READ_BY: Final = {768: "sd1", 1024: "sd2", 2048: "sdxl"}  # width of the texts that a U-Net reads


def identify_stranger(stored: Stored, networks: Sequence[Network]) -> Identity | None:
    """A model of another kind, or half a network: looked for before anything else."""
    names = Names.of(stored.shapes)
    found = find_stranger(Names.of(name for name in stored.shapes if not read_name(name)), FOREIGN)
    unets = [network for network in networks if network.room == "unet"]
    if not found and not any(_is_whole(stored, unet) for unet in unets):
        if way := find_lora(names):
            return _lora(stored, names, way)
        found = find_stranger(names, PARTS)
        if found and found[0].kind in BESIDE_NETWORKS and networks:
            found = None
    if not found and any(_channels(stored, unet) == UPSCALER for unet in unets):
        obstacle = "it enlarges pictures fourfold: its U-Net is shown a small picture beside the noise"
        return Identity("x4 upscaler", "", "", "", None, obstacle=obstacle, hint=SUPPORTED)
    if not found:
        return None
    stranger, mark = found
    version = version_of(stranger.kind, names, stored.shapes)
    called = _with_article(stranger.kind) if stranger in PARTS else f"{stranger.kind} {version}".strip()
    obstacle = f"it is {called}: {stranger.what}"
    proof = (Finding("kind", stranger.kind, f"the tensor {mark!r}"),)
    return Identity(stranger.kind, "", version, "", None, proof, obstacle, stranger.hint)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in VOWELS else 'a'} {noun}"


def _is_whole(stored: Stored, unet: Network) -> bool:
    exit_ = EXITS[unet.dialect]
    return (f"{unet.place}.{exit_}" if unet.place else exit_) in stored.shapes


def _channels(stored: Stored, unet: Network) -> int:
    entrance = "conv_in.weight" if unet.dialect == DIFFUSERS else "input_blocks.0.0.weight"
    shape = stored.shapes.get(f"{unet.place}.{entrance}" if unet.place else entrance, ())
    return shape[1] if len(shape) > 1 else 0


def _lora(stored: Stored, names: Names, way: str) -> Identity:
    widths = (
        shape[1]
        for name, shape in stored.shapes.items()
        if "attn2" in name and "to_k" in name and len(shape) == 2
    )
    family = next((READ_BY[width] for width in widths if width in READ_BY), "")
    first = next(iter(stored.shapes))
    proof = [Finding("kind", "LoRA", f"{way}, such as {shown(first)!r}")]
    if base := stored.metadata.get("ss_base_model_version"):
        proof.append(Finding("made for", shown(base), "ss_base_model_version"))
    obstacle, hint = "it is a LoRA: changes to a model's weights, not a model", USE_BESIDE
    if foreign := find_stranger(names, FOREIGN):
        stranger, mark = foreign
        proof.append(Finding("names", f"as in {stranger.kind}", f"the tensor {mark!r}"))
        obstacle, hint = f"{obstacle}; its layers are named as those of {stranger.kind}", SUPPORTED
    try:
        proof += findings(stored)
    except WeightsError as error:
        obstacle, hint = f"{obstacle}; and it cannot be used: {error.message}", error.hint or BESIDE
    return Identity("LoRA", family, way, "", None, tuple(proof), obstacle, hint)


def identify_part(stored: Stored, networks: Sequence[Network]) -> Identity:
    """A file without a U-Net: an autoencoder, text encoders, embeddings, or something unknown."""
    layout = DIFFUSERS if any(network.dialect in (DIFFUSERS, "hf") for network in networks) else ""
    vae = next((network for network in networks if network.room == "vae"), None)
    texts = [network for network in networks if network.room == "text"]
    if vae and not texts:
        return _autoencoder(stored, vae, layout)
    if texts:
        which = " and ".join(text_name(text.width) for text in texts)
        proof = tuple(
            Finding("text encoder", CLIPS.get(t.width, ""), f"{t.place or 'top'}: {t.width} wide")
            for t in texts
        )
        kind = "text encoder" if vae is None else "text encoder and autoencoder"
        obstacle = f"it holds no U-Net, only {which}{' and an autoencoder' if vae else ''}"
        return Identity(kind, "", which, layout, None, proof, obstacle, WHOLE)
    return _embedding(stored) or _unknown(stored)


def _autoencoder(stored: Stored, vae: Network, layout: str) -> Identity:
    try:
        spec = read_vae(stored.shapes, vae.place)
    except WeightsError as error:  # of another family: no quant_conv, 16 channels
        obstacle = f"it is an autoencoder of another family: {error.message}"
        return Identity("autoencoder", "", "", layout, None, (), obstacle, SUPPORTED)
    channels = f"{spec.latent_channels} channels"
    proof = (Finding("latents", channels, "half of what leaves quant_conv"),)
    obstacle = "it is an autoencoder alone, without a U-Net"
    hint = "use it beside a model: `--vae FILE`"
    return Identity("autoencoder", "", channels, layout, None, proof, obstacle, hint)


def _embedding(stored: Stored) -> Identity | None:
    """Textual inversion: a few vectors as wide as the words of a text encoder."""
    names = vectors_in(stored)
    shapes = [stored.shapes[name] for name in names]
    widths = {shape[-1] if shape else 0 for shape in shapes}
    flat = all(len(shape) in (1, 2) for shape in shapes)
    plain = all(may_be_word(stored, name) for name in names)
    marked = plain and any(name.startswith(EMBEDDING_MARKS) for name in names)
    if (
        not 1 <= len(names) <= MOST_EMBEDDINGS
        or not flat
        or not plain
        or not (marked or widths <= CLIPS.keys())
    ):
        return None
    which = " and ".join(CLIPS.get(width, f"a text encoder {width} wide") for width in sorted(widths))
    proof = (Finding("kind", "embedding", f"{shown(names[0])!r} is as wide as {which}"),)
    obstacle = f"it is an embedding (textual inversion): new words for {which}"
    return Identity("embedding", "", which, "", None, proof, obstacle, NAME_IT)


def _unknown(stored: Stored) -> Identity:
    first = ", ".join(repr(shown(name)) for name in list(stored.shapes)[:FIRST])
    count = "1 tensor" if len(stored.shapes) == 1 else f"{len(stored.shapes):,} tensors"
    obstacle = f"it is nothing that is known here: {count}, first {first}"
    return Identity("unknown", "", "", "", None, obstacle=obstacle, hint=SUPPORTED)
