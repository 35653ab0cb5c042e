"""What else people keep in such files: recognised by a tensor that only it has, and sent where it belongs.

Source of the marks: the published files, as ComfyUI, diffusers and A1111's web UI tell them apart
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fromnoise.weights.wording import shown

Shapes = Mapping[str, tuple[int, ...]]
SUPPORTED: Final = "give a model of Stable Diffusion 1.x, 2.x or SDXL"
BESIDE: Final = "give the model that it was made for"
WHOLE: Final = "give the whole model that it is a part of"


@dataclass(frozen=True, slots=True)
class Stranger:
    """Something that is not a model we can draw with."""

    kind: str
    marks: tuple[str, ...]  # words of names, all of which must be there: "joint_blocks.0"
    what: str = "another kind of network"
    hint: str = SUPPORTED


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a file as one text, in which runs of whole words are found quickly."""

    text: str

    @classmethod
    def of(cls, names: Iterable[str]) -> "Names":
        """One line for each name, dots around every word."""
        return cls("".join(f".{name}.\n" for name in names))

    def line(self, mark: str) -> str:
        """The first name with these words in it, or ""."""
        at = self.text.find(f".{mark}.")
        return self.text[self.text.rfind("\n", 0, at) + 2 : self.text.find("\n", at) - 1] if at >= 0 else ""


DIFFUSION, VIDEO = "a diffusion transformer, not a U-Net", "a model of video"
OTHER_UNET: Final = "a U-Net of another design"

# Whole models. The first that fits is taken, so what shares a mark with another stands before it.
FOREIGN: Final = (
    Stranger("Stable Diffusion 3", ("joint_blocks.0.context_block.attn.qkv",), DIFFUSION),
    Stranger("Stable Diffusion 3", ("transformer_blocks.0.attn.add_q_proj", "pos_embed.proj"), DIFFUSION),
    Stranger("Flux.2", ("double_stream_modulation_img.lin",), DIFFUSION),
    Stranger("Flux.2", ("double_stream_modulation_img.linear",), DIFFUSION),
    Stranger("Chroma", ("distilled_guidance_layer",), DIFFUSION),
    Stranger("HunyuanVideo", ("txt_in.individual_token_refiner",), VIDEO),
    Stranger("Flux.1", ("double_blocks.0.img_attn",), DIFFUSION),
    Stranger("Flux.1", ("single_transformer_blocks.0.attn.norm_k",), DIFFUSION),
    Stranger("Qwen-Image", ("txt_norm", "transformer_blocks.0.img_mod.1"), DIFFUSION),
    Stranger("Lumina 2 or Z-Image", ("cap_embedder.0",), DIFFUSION),
    Stranger("AuraFlow", ("double_layers.0.attn.w1q",), DIFFUSION),
    Stranger("AuraFlow", ("joint_transformer_blocks.0.attn.add_q_proj",), DIFFUSION),
    Stranger("Hunyuan-DiT", ("mlp_t5.0",), DIFFUSION),
    Stranger("Stable Cascade", ("clf.1",), OTHER_UNET),
    Stranger("Stable Cascade", ("clip_txt_mapper",), OTHER_UNET),
    Stranger("Stable Audio", ("transformer.rotary_pos_emb",), "a model of sound"),
    Stranger("Mochi", ("t5_yproj",), VIDEO),
    Stranger("Wan", ("head.modulation", "blocks.0.self_attn.norm_q"), VIDEO),
    Stranger("LTX-Video", ("adaln_single.emb.timestep_embedder.linear_1", "patchify_proj"), VIDEO),
    Stranger("PixArt", ("adaln_single", "pos_embed.proj"), DIFFUSION),
    Stranger("PixArt", ("t_block.1", "y_embedder.y_proj.fc1"), DIFFUSION),
    Stranger("Stable Video Diffusion", ("time_stack",), VIDEO),
    Stranger("Stable Video Diffusion", ("time_mixer.mix_factor",), VIDEO),
    Stranger("Stable Video Diffusion", ("temporal_transformer_blocks",), VIDEO),
    Stranger("AnimateDiff", ("motion_modules",), VIDEO),
    Stranger("ModelScope video", ("temp_convs",), VIDEO),
    Stranger("ModelScope video", ("temopral_conv",), VIDEO),  # spelt so
    Stranger("Kandinsky 2", ("encoder_hid_proj.image_embeds",), OTHER_UNET),
    Stranger("Kandinsky 2", ("add_embedding.image_proj",), OTHER_UNET),
    Stranger("DeepFloyd IF", ("add_embedding.pool",), OTHER_UNET),
    Stranger("Zero-1-to-3", ("cc_projection",), "a model that turns photographed things round"),
    Stranger("latent diffusion of 2021", ("cond_stage_model.transformer.token_emb",), "from before CLIP"),
    Stranger("latent diffusion of 2021", ("first_stage_model.quantize.embedding",), "from before CLIP"),
)

# What belongs beside a model: looked for where there is no whole U-Net.
PARTS: Final = (
    Stranger("ControlNet", ("control_model",), "a network that steers a model", BESIDE),
    Stranger("ControlNet", ("input_hint_block",), "a network that steers a model", BESIDE),
    Stranger("ControlNet", ("zero_convs",), "a network that steers a model", BESIDE),
    Stranger("ControlNet", ("controlnet_cond_embedding",), "a network that steers a model", BESIDE),
    Stranger("ControlNet", ("controlnet_down_blocks",), "a network that steers a model", BESIDE),
    Stranger("ControlNet", ("controlnet_blocks",), "a network that steers a model", BESIDE),
    Stranger("ControlNet", ("lora_controlnet",), "a network that steers a model", BESIDE),
    Stranger("T2I adapter", ("body.0.in_conv",), "a network that steers a model", BESIDE),
    Stranger("T2I adapter", ("body.0.resnets.0.block1",), "a network that steers a model", BESIDE),
    Stranger("IP adapter", ("ip_adapter",), "a network that shows pictures to a model", BESIDE),
    Stranger("TAESD", ("taesd_decoder",), "a small autoencoder for previews"),
    Stranger("TAESD", ("encoder.layers.0", "decoder.layers.1"), "a small autoencoder for previews"),
    Stranger("T5", ("encoder.block.0.layer.0.SelfAttention",), "a text encoder of other families"),
    Stranger("T5", ("enc.blk.0.attn_q",), "a text encoder of other families"),
    Stranger("language model", ("layers.0.self_attn.q_proj", "embed_tokens"), "a reader and writer of text"),
    Stranger("image encoder", ("vision_model",), "the half of CLIP that sees"),
    Stranger("image encoder", ("visual.transformer",), "the half of CLIP that sees"),
    Stranger("ESRGAN", ("body.0.rdb1",), "a network that enlarges pictures"),
    Stranger("ESRGAN", ("RRDB_trunk.0",), "a network that enlarges pictures"),
    Stranger("ESRGAN", ("model.1.sub.0",), "a network that enlarges pictures"),
    Stranger("EMA", ("model_ema",), "the running averages of a model, without the model", WHOLE),
    Stranger("TAESD", ("3.conv.0", "3.conv.2", "3.conv.4"), "a small autoencoder for previews"),
)

LORA_WAYS: Final[Mapping[str, tuple[str, ...]]] = {  # parts of names, anywhere
    "LoHa": (".hada_w1_a.", ".hada_w1_b."),
    "LoKr": (".lokr_w1.", ".lokr_w1_a.", ".lokr_w2.", ".lokr_w2_a."),
    "OFT": (".oft_blocks.",),
    "GLoRA": (".a1.weight.", ".b1.weight."),
    "DoRA": (".dora_scale.", "lora_magnitude_vector"),
    "kohya's names": (".lora_down.",),
    "PEFT's names": (".lora_A.", ".lora_B."),
    "diffusers' names": (".lora.down.", "_lora.down.", ".lora_linear_layer.down."),
    "IA3": (".on_input.",),
    "differences": (".diff.", ".diff_b."),
}


def find_stranger(names: Names, among: Iterable[Stranger]) -> tuple[Stranger, str] | None:
    """The first that fits, and the tensor that gives it away."""
    for stranger in among:
        if all(names.line(mark) for mark in stranger.marks):
            return stranger, shown(names.line(stranger.marks[0]))
    return None


def find_lora(names: Names) -> str:
    """Which way of storing changes of weights these names are; "" if none."""
    return next(
        (way for way, parts in LORA_WAYS.items() if any(part in names.text for part in parts)),
        "",
    )


# --- which one of its family ---

SD3_DEPTHS: Final = {24: "medium", 38: "3.5 large"}
FLUX_CHANNELS: Final = {384: "fill", 128: "control", 196: "flex 2"}  # that enter; 64 in the plain ones


def version_of(kind: str, names: Names, shapes: Shapes) -> str:
    """Which one of several of a kind, as far as shapes tell; else ""."""
    if kind == "Stable Diffusion 3":
        depth = _shape(names, shapes, "x_embedder.proj.weight", 0) // 64
        normed = names.line("joint_blocks.0.context_block.attn.ln_q")
        return "3.5 medium" if normed and depth == 24 else SD3_DEPTHS.get(depth, "")
    if kind == "Flux.1":
        way = FLUX_CHANNELS.get(_shape(names, shapes, "img_in.weight", 1))
        return way or ("dev" if names.line("guidance_in.in_layer") else "schnell")
    return ""


def _shape(names: Names, shapes: Shapes, mark: str, axis: int) -> int:
    shape = shapes.get(names.line(mark), ())
    return shape[axis] if axis < len(shape) else 0
