"""Every family in every layout at full size, without memory; strangers by name; nothing guessed."""

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from families import FOLDERS, MODELS, UNETS, meta_parts, meta_state, stored_of, tiny_config, tiny_model
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.specs import OPENCLIP_BIGG, REFINER, SD15, SD21, SDXL, TINY, ClipSpec, ModelSpec, UNetSpec
from fromnoise.weights.detect import detect
from fromnoise.weights.key_rules import (
    diffusers_unet,
    diffusers_vae,
    hf_text,
    ldm_unet,
    ldm_vae,
    openclip_text,
)
from fromnoise.weights.layouts import (
    DIFFUSERS_TEXTS,
    LAYOUTS,
    checkpoint_rules,
    ema_name,
    folder_rules,
    folder_spec,
)
from fromnoise.weights.model_converter import Rule, flipped, translate
from fromnoise.weights.native import HEADER
from fromnoise.weights.planning import left_out, plan_for

State = dict[str, Tensor]


@cache
def ours(spec: ModelSpec) -> State:
    return meta_parts(spec)


@cache
def unet_of(spec: UNetSpec) -> State:
    return translate(meta_state(spec), flipped(ldm_unet()), source="ours")


def written(spec: ModelSpec, rules: Iterable[Rule], rooms: tuple[str, ...] = ("",)) -> State:
    state = {name: tensor for name, tensor in ours(spec).items() if name.startswith(rooms)}
    return translate(state, flipped(rules), source="ours")


@cache
def checkpoint(spec: ModelSpec, layout: str) -> State:
    return written(spec, checkpoint_rules(spec.vae, layout))


def folder(spec: ModelSpec, layout: str) -> State:
    spec = folder_spec(spec)
    return written(spec, folder_rules(spec, FOLDERS.get(layout, DIFFUSERS_TEXTS)))


def structure(spec: ModelSpec | None) -> tuple[object, ...]:
    assert spec is not None
    return spec.unet, spec.vae, spec.texts


# --- models ---


@pytest.mark.parametrize("layout", MODELS)
def test_a_checkpoint_is_recognised_and_planned_whole(layout: str) -> None:
    spec = MODELS[layout]
    stored = stored_of(checkpoint(spec, layout))
    found = detect(stored)
    assert (found.kind, found.family, found.variant, found.layout) == (
        "model",
        layout,
        "base",
        f"ldm:{layout}",
    )
    assert structure(found.spec) == structure(spec)
    assert found.obstacle == ""
    assert plan_for(stored, found).keys() == ours(spec).keys()
    assert left_out(stored, found) == {}


@pytest.mark.parametrize("layout", MODELS)
def test_a_folder_is_recognised_and_planned_whole(layout: str) -> None:
    spec = folder_spec(MODELS[layout])
    stored = stored_of(folder(MODELS[layout], layout))
    found = detect(stored)
    assert (found.kind, found.family, found.variant, found.layout) == ("model", layout, "base", "diffusers")
    assert structure(found.spec) == structure(spec)
    assert found.obstacle == ""
    assert plan_for(stored, found).keys() == ours(spec).keys()


VARIANTS = {
    "sd1": ("sd1", "base"),
    "sd1 inpaint": ("sd1", "inpaint"),
    "instruct-pix2pix": ("sd1", "instruct-pix2pix"),
    "sd1 squeezed": ("sd1", "base"),
    "lcm": ("sd1", "lcm"),
    "sd2": ("sd2", "base"),
    "sd2 inpaint": ("sd2", "inpaint"),
    "sd2 depth": ("sd2", "depth"),
    "sd2 unclip": ("sd2", "unclip"),
    "sdxl": ("sdxl", "base"),
    "sdxl inpaint": ("sdxl", "inpaint"),
    "sdxl edit": ("sdxl", "instruct-pix2pix"),
    "sdxl lcm": ("sdxl", "lcm"),
    "refiner": ("refiner", "base"),
    "bk-sdm base": ("sd1", "BK-SDM base"),
    "bk-sdm small": ("sd1", "BK-SDM small"),
    "bk-sdm tiny": ("sd1", "BK-SDM tiny"),
    "bk-sdm tiny 2": ("sd2", "BK-SDM tiny"),
    "sdxs": ("sd2", "SDXS"),
    "ssd-1b": ("sdxl", "SSD-1B"),
    "vega": ("sdxl", "Segmind Vega"),
    "koala 700m": ("sdxl", "KOALA 700M"),
    "koala 1b": ("sdxl", "KOALA 1B"),
    "ssd-1b lcm": ("sdxl", "SSD-1B lcm"),
    "somebody's": ("sd1", "pruned"),
    "marigold": ("sd2", "8 channels"),
}
MORE: dict[str, UNetSpec] = {
    "bk-sdm tiny 2": replace(
        UNETS["sd2"], multipliers=(1, 2, 4), down=((1,),) * 3, mid=None, up=((1, 1),) * 3
    ),
    "ssd-1b lcm": replace(UNETS["ssd-1b"], guidance_width=256),
    "somebody's": replace(UNETS["sd1"], mid=None),
    "marigold": replace(UNETS["sd2"], in_channels=8),
}
OBSTACLES = {
    "sd2 depth": "map of depths",
    "sd2 unclip": "embedding of a picture",
    "marigold": "shown 8 channels, and what 4 of them mean is not known",
}


def test_every_unet_has_a_variant() -> None:
    assert VARIANTS.keys() == {**UNETS, **MORE}.keys()


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_told_apart_by_their_unets(name: str) -> None:
    unet = {**UNETS, **MORE}[name]
    family, variant = VARIANTS[name]
    spec = replace(MODELS[family], unet=unet)
    state = unet_of(unet) | {
        name: tensor
        for name, tensor in checkpoint(MODELS[family], family).items()
        if not name.startswith("model.diffusion_model.")
    }
    found = detect(stored_of(state))
    assert (found.kind, found.family, found.variant) == ("model", family, variant)
    assert structure(found.spec) == structure(spec)
    assert OBSTACLES.get(name, "") in found.obstacle
    assert bool(found.obstacle) == (name in OBSTACLES)


def test_names_say_what_a_model_is() -> None:
    def name(family: str, **changes: Any) -> str:
        unet = replace(MODELS[family].unet, **changes)
        found = detect(stored_of(unet_of(unet)), prediction="eps")
        assert found.spec
        return found.spec.name

    assert name("sd1") == "sd15"
    assert name("sd2") == "sd21-base"
    assert name("sd2", in_channels=9) == "sd21-base-inpaint"
    assert name("sdxl", guidance_width=256) == "sdxl-lcm"


def test_sd2_written_by_the_code_of_sdxl_is_sd2() -> None:
    found = detect(stored_of(checkpoint(SD21, "refiner")))
    assert (found.family, found.layout) == ("sd2", "ldm:refiner")
    assert structure(found.spec) == structure(SD21)


@pytest.mark.parametrize("prefix", ["unet", "net", "model.model", "model.diffusion_model", ""])
@pytest.mark.parametrize("name", ["sd1", "sdxl", "koala 700m"])
def test_a_unet_alone_is_found_under_any_prefix_in_both_names(name: str, prefix: str) -> None:
    spec = replace(MODELS[VARIANTS[name][0]], unet=UNETS[name])
    for rules in (ldm_unet(prefix), diffusers_unet(spec.unet.down, spec.unet.up, prefix)):
        stored = stored_of(written(spec, rules, ("unet.",)))
        found = detect(stored)
        assert (found.kind, found.family, found.variant) == ("U-Net", *VARIANTS[name])
        assert found.spec
        assert found.spec.unet == spec.unet
        assert "lacks a text encoder" in found.obstacle
        assert "an autoencoder" in found.obstacle
        assert plan_for(stored, found).keys() == {n for n in ours(spec) if n.startswith("unet.")}


def test_what_is_missing_of_a_model_is_named() -> None:
    state = checkpoint(SDXL, "sdxl")
    without = {name: t for name, t in state.items() if not name.startswith("conditioner.embedders.1")}
    stored = stored_of(without)
    found = detect(stored)
    assert (found.kind, found.obstacle) == ("model", "it lacks a text encoder (OpenCLIP-bigG)")
    assert structure(found.spec) == structure(SDXL)
    assert {n.split(".")[1] for n in plan_for(stored, found) if n.startswith("texts")} == {"0"}
    without = {name: t for name, t in state.items() if not name.startswith("conditioner.embedders.0")}
    stored = stored_of(without)
    assert detect(stored).obstacle == "it lacks a text encoder (CLIP-L)"
    assert {n.split(".")[1] for n in plan_for(stored, detect(stored)) if n.startswith("texts")} == {"1"}
    without = {name: t for name, t in state.items() if not name.startswith("first_stage_model")}
    assert detect(stored_of(without)).obstacle == "it lacks an autoencoder"


def test_an_incomplete_unet_says_what_it_lacks() -> None:
    state = checkpoint(SD15, "sd1")
    cut = {name: t for name, t in state.items() if ".time_embed." not in name}
    found = detect(stored_of(cut))
    assert (found.kind, found.family, found.spec) == ("model", "sd1", None)
    assert "the U-Net lacks 'time.0.weight'" in found.obstacle
    with pytest.raises(WeightsError):
        plan_for(
            stored_of(cut | {"model.diffusion_model.odd.weight": state["model.diffusion_model.out.2.bias"]}),
            found,
        )


def test_a_unet_of_an_unknown_family_is_not_taken_for_a_known_one() -> None:
    found = detect(stored_of(unet_of(replace(SD15.unet, context_width=4096))))
    assert found.spec is None
    assert found.obstacle == "its U-Net is of no known family: it reads texts 4096 wide"
    odd = unet_of(replace(SDXL.unet, pooled_width=1000))
    assert "a vector of 1000" in detect(stored_of(odd)).obstacle


def test_two_of_a_kind_are_not_chosen_between() -> None:
    twice = checkpoint(SD15, "sd1") | written(SD15, ldm_unet("unet"), ("unet.",))
    assert "it holds 2 U-Nets and 1 autoencoders" in detect(stored_of(twice)).obstacle


def test_our_own_file_tells_its_spec() -> None:
    header = {HEADER: json.dumps({"spec": TINY.to_json()})}
    stored = stored_of({"unet.leave.weight": (4, 16, 3, 3)}, metadata=header)
    found = detect(stored)
    assert (found.kind, found.layout, found.spec) == ("model", "ours", TINY)
    assert plan_for(stored, found)["unet.leave.weight"].sources == ("unet.leave.weight",)
    wished = detect(stored, prediction="v").spec
    assert wished
    assert wished.prediction == "v"
    damaged = detect(stored_of({}, metadata={HEADER: "{"}))
    assert damaged.spec is None
    assert "header" in damaged.obstacle


# --- what is in files beside the networks ---


def test_what_is_no_networks_is_left_out_with_a_reason() -> None:
    junk = {
        "cond_stage_model.transformer.text_model.embeddings.position_ids": (1, 77),
        "model_ema.decay": (),
        "betas": (1000,),
        "control_model.zero_convs.0.0.weight": (320, 320, 1, 1),
        "bundle_emb.cat.string_to_param.*": (1, 768),
        "text_encoders.t5.encoder.block.0.layer.0.SelfAttention.q.weight": (64, 64),
        "cond_stage_model2.transformer.resblocks.0.ln_1.weight": (1024,),
    }
    stored = stored_of(checkpoint(SD15, "sd1") | {n: torch.empty(s, device="meta") for n, s in junk.items()})
    found = detect(stored)
    assert (found.family, found.obstacle) == ("sd1", "")
    assert plan_for(stored, found).keys() == ours(SD15).keys()
    left = left_out(stored, found)
    assert left.keys() == junk.keys()
    assert left["control_model.zero_convs.0.0.weight"] == "a ControlNet"
    assert left["bundle_emb.cat.string_to_param.*"] == "is in no network that draws"


def test_a_stray_tensor_inside_a_network_is_refused() -> None:
    stored = stored_of(checkpoint(SD15, "sd1") | {"first_stage_model.odd.weight": torch.empty(1)})
    with pytest.raises(WeightsError, match=r"first_stage_model\.odd\.weight"):
        plan_for(stored, detect(stored))


def test_averages_are_planned_when_asked_for_and_all_there() -> None:
    state = checkpoint(SD15, "sd1")
    names = [name for name in state if name.startswith("model.diffusion_model.")]
    averages = {ema_name(name): state[name] for name in names}
    stored = stored_of(state | averages)
    found = detect(stored)
    ema = found.finding("EMA")
    assert ema
    assert ema.value == "686 tensors"
    leave = plan_for(stored, found, ema=True)["unet.leave.weight"]
    assert leave.sources == ("model_ema.diffusion_modelout2weight",)
    assert plan_for(stored, found)["unet.leave.weight"].sources == ("model.diffusion_model.out.2.weight",)
    averages.popitem()
    with pytest.raises(WeightsError, match=r"no running average .* of 1 of 686 tensors"):
        plan_for(stored_of(state | averages), found, ema=True)
    with pytest.raises(WeightsError, match=r"no running average .* of the tensors"):
        plan_for(stored_of(state), found, ema=True)


LAYER = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q"
QUANTIZED: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "NF4": ({f"{LAYER}.weight.quant_state.bitsandbytes__nf4": (99,)}, "4-bit numbers of bitsandbytes (NF4)"),
    "FP4": ({f"{LAYER}.weight.quant_state.bitsandbytes__fp4": (99,)}, "4-bit numbers of bitsandbytes (FP4)"),
    "int8": ({f"{LAYER}.SCB": (320,)}, "8-bit integers of bitsandbytes"),
    "GPTQ": ({f"{LAYER}.qweight": (40, 320), f"{LAYER}.scales": (3, 320)}, "GPTQ"),
    "Nunchaku": ({f"{LAYER}.qweight": (320, 160), f"{LAYER}.wscales": (5, 320)}, "Nunchaku"),
    "quanto": ({f"{LAYER}.weight._data": (320, 320), f"{LAYER}.weight._scale": (320, 1)}, "quanto"),
    "NVFP4": ({f"{LAYER}.weight_scale": (320, 20), f"{LAYER}.weight_scale_2": ()}, "NVFP4"),
    "rotated": ({f"{LAYER}.comfy_quant": (60,), f"{LAYER}.weight_scale": ()}, "numbers of ComfyUI"),
    "in blocks": ({f"{LAYER}.scale_weight": (3, 3)}, "scales of a shape that is not known"),
}


@pytest.mark.parametrize("way", QUANTIZED)
def test_quantized_weights_are_called_by_name(way: str) -> None:
    more, words = QUANTIZED[way]
    state = checkpoint(SD15, "sd1") | {name: torch.empty(shape) for name, shape in more.items()}
    found = detect(stored_of(state))
    assert (found.kind, found.spec) == ("model", None)
    assert found.obstacle.startswith("its weights are ")
    assert words in found.obstacle
    assert found.hint == "get the model as float16, bfloat16 or float8"


def test_integers_are_not_taken_for_weights() -> None:
    state = checkpoint(SD15, "sd1") | {
        f"{LAYER}.weight": torch.empty(320, 320, dtype=torch.int8, device="meta")
    }
    assert (
        detect(stored_of(state)).obstacle
        == f"its weights are integers (int8), which are not read ({LAYER}.weight)"
    )


# --- folders of other sizes ---


@pytest.mark.parametrize(
    ("layout", "pipeline"),
    [
        ("sd1", "StableDiffusionPipeline"),
        ("sd2", "StableDiffusionPipeline"),
        ("sdxl", "StableDiffusionXLPipeline"),
    ],
)
def test_a_folder_of_other_sizes_is_read_by_its_configurations(layout: str, pipeline: str) -> None:
    spec = folder_spec(tiny_model(MODELS[layout]))
    configs: dict[str, dict[str, Any]] = {
        "model_index": {"_class_name": pipeline},
        "unet": tiny_config(layout),
        "vae": {"norm_num_groups": 2},
    }
    for place, text in zip(DIFFUSERS_TEXTS, spec.texts, strict=False):
        configs[place] = {
            "hidden_act": text.activation,
            "num_attention_heads": text.heads,
            "num_hidden_layers": text.layers,
            "vocab_size": text.vocab,
            "pad_token_id": text.pad,
        }
    found = detect(stored_of(written(spec, folder_rules(spec)), configs=configs))
    assert (found.family, found.variant, found.obstacle) == (layout, "base", "")
    usual = MODELS[layout].texts  # CLIP-L is filled up with its end; configurations name other ids
    texts = [
        replace(text, pad=text.end) if own.pad == own.end else text
        for text, own in zip(spec.texts, usual, strict=True)
    ]
    assert structure(found.spec) == structure(replace(spec, texts=tuple(texts)))


# --- parts of models ---


@pytest.mark.parametrize("prefix", ["first_stage_model", "vae", ""])
def test_an_autoencoder_alone(prefix: str) -> None:
    for rules in (ldm_vae(SD15.vae, prefix), diffusers_vae(SD15.vae, prefix)):
        counters = {"model_ema.decay": torch.ones(()), "model_ema.num_updates": torch.tensor(7)}
        stored = stored_of(written(SD15, rules, ("encoder.", "decoder.")) | counters)
        found = detect(stored)
        assert (found.kind, found.variant, found.spec) == ("autoencoder", "4 channels", None)
        assert "autoencoder alone" in found.obstacle
        assert plan_for(stored, found).keys() == {n for n in ours(SD15) if n.startswith(("enc", "dec"))}


def test_an_autoencoder_of_another_family() -> None:
    state = written(SD15, ldm_vae(SD15.vae, ""), ("encoder.", "decoder."))
    state = {name: tensor for name, tensor in state.items() if "quant_conv" not in name}
    found = detect(stored_of(state))
    assert found.kind == "autoencoder"
    assert "of another family: the autoencoder lacks 'quant_conv.weight'" in found.obstacle


@pytest.mark.parametrize(
    ("text", "name"),
    [(SD15.texts[0], "CLIP-L"), (SD21.texts[0], "OpenCLIP-H"), (OPENCLIP_BIGG, "OpenCLIP-bigG")],
)
def test_a_text_encoder_alone(text: ClipSpec, name: str) -> None:
    spec = replace(REFINER, texts=(text,))
    for rules in (hf_text("", "texts.0"), openclip_text("cond_stage_model.model", "texts.0")):
        stored = stored_of(written(spec, rules, ("texts.",)))
        found = detect(stored)
        assert (found.kind, found.variant) == ("text encoder", name)
        assert name in found.obstacle
        assert plan_for(stored, found).keys() == {n for n in ours(spec) if n.startswith("texts.")}


# --- strangers ---

P = "model.diffusion_model."
DIT = "a diffusion transformer, not a U-Net"
STRANGERS: list[tuple[dict[str, tuple[int, ...]], str, str]] = [
    (
        {
            f"{P}joint_blocks.0.context_block.attn.qkv.weight": (4608, 1536),
            f"{P}x_embedder.proj.weight": (1536, 16, 2, 2),
        },
        "Stable Diffusion 3",
        f"it is Stable Diffusion 3 medium: {DIT}",
    ),
    (
        {
            "joint_blocks.0.context_block.attn.qkv.weight": (4608, 1536),
            "joint_blocks.0.context_block.attn.ln_q.weight": (64,),
            "x_embedder.proj.weight": (1536, 16, 2, 2),
        },
        "Stable Diffusion 3",
        "3.5 medium",
    ),
    (
        {
            f"{P}joint_blocks.0.context_block.attn.qkv.weight": (1, 1),
            f"{P}x_embedder.proj.weight": (2432, 16, 2, 2),
        },
        "Stable Diffusion 3",
        "3.5 large",
    ),
    (
        {"transformer_blocks.0.attn.add_q_proj.weight": (1, 1), "pos_embed.proj.weight": (1536, 16, 2, 2)},
        "Stable Diffusion 3",
        DIT,
    ),
    (
        {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, 64)},
        "Flux.1",
        "Flux.1 schnell",
    ),
    (
        {
            f"{P}double_blocks.0.img_attn.norm.key_norm.scale": (128,),
            f"{P}img_in.weight": (3072, 64),
            f"{P}guidance_in.in_layer.weight": (3072, 256),
        },
        "Flux.1",
        "Flux.1 dev",
    ),
    (
        {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, 384)},
        "Flux.1",
        "Flux.1 fill",
    ),
    ({"transformer.single_transformer_blocks.0.attn.norm_k.weight": (128,)}, "Flux.1", DIT),
    ({"double_stream_modulation_img.lin.weight": (1,), "double_blocks.0.img_attn.x": (1,)}, "Flux.2", DIT),
    ({"distilled_guidance_layer.in_proj.weight": (1,), "double_blocks.0.img_attn.x": (1,)}, "Chroma", DIT),
    ({"cap_embedder.0.weight": (1,)}, "Lumina 2 or Z-Image", DIT),
    ({"txt_norm.weight": (1,), "transformer_blocks.0.img_mod.1.weight": (1,)}, "Qwen-Image", DIT),
    ({"adaln_single.linear.weight": (1,), "pos_embed.proj.weight": (1,)}, "PixArt", DIT),
    ({f"{P}double_layers.0.attn.w1q.weight": (1,)}, "AuraFlow", DIT),
    ({"mlp_t5.0.weight": (1,)}, "Hunyuan-DiT", DIT),
    ({"clf.1.weight": (1,)}, "Stable Cascade", "a U-Net of another design"),
    ({"taesd_decoder.1.weight": (64, 4, 3, 3)}, "TAESD", "a small autoencoder"),
    (
        {"encoder.layers.0.weight": (64, 3, 3, 3), "decoder.layers.1.weight": (64, 4, 3, 3)},
        "TAESD",
        "previews",
    ),
    (
        {"control_model.input_blocks.0.0.weight": (320, 4, 3, 3)},
        "ControlNet",
        "it is a ControlNet: a network that steers a model",
    ),
    (
        {"conv_in.weight": (320, 4, 3, 3), "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)},
        "ControlNet",
        "steers",
    ),
    (
        {"input_blocks.0.0.weight": (320, 4, 3, 3), "zero_convs.0.0.weight": (320, 320, 1, 1)},
        "ControlNet",
        "steers",
    ),
    (
        {"down_blocks.0.resnets.0.norm1.weight": (320,), "controlnet_down_blocks.0.weight": (320, 320, 1, 1)},
        "ControlNet",
        "steers",
    ),
    ({"adapter.body.0.in_conv.weight": (1,)}, "T2I adapter", "steers"),
    (
        {"ip_adapter.1.to_k_ip.weight": (320, 768)},
        "IP adapter",
        "it is an IP adapter: a network that shows pictures",
    ),
    (
        {"encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)},
        "T5",
        "text encoder of other families",
    ),
    (
        {"model.embed_tokens.weight": (9, 9), "model.layers.0.self_attn.q_proj.weight": (9, 9)},
        "language model",
        "text",
    ),
    ({"vision_model.encoder.layers.0.layer_norm1.weight": (1024,)}, "image encoder", "sees"),
    ({"visual.transformer.resblocks.0.ln_1.weight": (1024,)}, "image encoder", "sees"),
    ({"body.0.rdb1.conv1.weight": (1,)}, "ESRGAN", "enlarges"),
    ({"model.1.sub.0.RDB1.conv1.0.weight": (1,)}, "ESRGAN", "enlarges"),
    ({"model_ema.diffusion_modelinput_blocks00weight": (320, 4, 3, 3)}, "EMA", "without the model"),
    ({"head.modulation": (1,), "blocks.0.self_attn.norm_q.weight": (1,)}, "Wan", "video"),
    (
        {"1.weight": (64, 4, 3, 3)} | {f"3.conv.{n}.weight": (64, 64, 3, 3) for n in (0, 2, 4)},
        "TAESD",
        "previews",
    ),
]


@pytest.mark.parametrize(("tensors", "kind", "words"), STRANGERS)
def test_strangers_are_called_by_name(tensors: dict[str, tuple[int, ...]], kind: str, words: str) -> None:
    found = detect(stored_of(tensors))
    assert (found.kind, found.family, found.spec) == (kind, "", None)
    assert words in found.obstacle
    assert found.hint


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ("input_blocks.1.1.time_stack.0.attn1.to_q.weight", "Stable Video Diffusion"),
        ("input_blocks.1.1.time_mixer.mix_factor", "Stable Video Diffusion"),
        ("input_blocks.1.1.motion_modules.0.temporal_transformer.norm.weight", "AnimateDiff"),
    ],
)
def test_video_is_not_taken_for_pictures(more: str, kind: str) -> None:
    state = checkpoint(SD15, "sd1") | {f"model.diffusion_model.{more}": torch.empty(1, device="meta")}
    assert detect(stored_of(state)).kind == kind


def test_the_upscaler_is_called_by_name() -> None:
    found = detect(stored_of(unet_of(replace(SD21.unet, base_width=256, in_channels=7))))
    assert found.kind == "x4 upscaler"
    assert "fourfold" in found.obstacle


DOWN = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
TO_K = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
LORAS = [
    ({f"{DOWN}.lora_down.weight": (8, 768), f"{DOWN}.lora_up.weight": (320, 8)}, "kohya's names", "sd1"),
    ({f"{DOWN}.lora_down.weight": (8, 1024)}, "kohya's names", "sd2"),
    ({f"unet.{TO_K}.to_k.lora_A.weight": (8, 2048)}, "PEFT's names", "sdxl"),
    ({f"base_model.model.{TO_K}.to_k.lora_A.default.weight": (8, 2048)}, "PEFT's names", "sdxl"),
    ({f"unet.{TO_K}.processor.to_k_lora.down.weight": (8, 768)}, "diffusers' names", "sd1"),
    ({f"unet.{TO_K}.to_k.lora_linear_layer.down.weight": (8, 768)}, "diffusers' names", "sd1"),
    ({f"{DOWN}.hada_w1_a": (320, 8), f"{DOWN}.hada_w1_b": (8, 768)}, "LoHa", "sd1"),
    ({f"{DOWN}.lokr_w1": (8, 8), f"{DOWN}.lokr_w2_a": (8, 8)}, "LoKr", ""),
    ({f"{DOWN}.dora_scale": (1, 768), f"{DOWN}.lora_down.weight": (8, 768)}, "DoRA", "sd1"),
    ({f"{DOWN}.oft_blocks": (8, 8, 8)}, "OFT", ""),
    ({f"{DOWN}.diff": (320, 768)}, "differences", "sd1"),
]


@pytest.mark.parametrize(("tensors", "way", "family"), LORAS)
def test_loras_are_called_by_name_and_family(
    tensors: dict[str, tuple[int, ...]], way: str, family: str
) -> None:
    found = detect(stored_of(tensors, metadata={"ss_base_model_version": "sd_v1"}))
    assert (found.kind, found.variant, found.family, found.spec) == ("LoRA", way, family, None)
    assert "not a model" in found.obstacle
    made_for = found.finding("made for")
    assert made_for
    assert made_for.value == "sd_v1"


FLUX = "double_blocks.0.img_attn"
MOTION = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0"


@pytest.mark.parametrize(
    ("layer", "ends", "kind"),
    [
        (f"diffusion_model.{FLUX}.qkv", ("lora_A.weight", "lora_B.weight"), "Flux.1"),
        (f"{MOTION}.processor.to_q_lora", ("down.weight", "up.weight"), "AnimateDiff"),
    ],
)
def test_a_lora_for_another_kind_of_model_is_not_taken_for_that_model(
    layer: str, ends: tuple[str, str], kind: str
) -> None:
    found = detect(stored_of({f"{layer}.{ends[0]}": (4, 8), f"{layer}.{ends[1]}": (8, 4)}))
    assert found.kind == "LoRA"
    assert found.obstacle.endswith(f"not a model; its layers are named as those of {kind}")
    assert found.hint == "give a model of Stable Diffusion 1.x, 2.x or SDXL"


def test_a_model_with_a_lora_beside_it_is_still_that_model() -> None:
    beside = {f"{FLUX}.qkv.lora_A.weight": (4, 8), f"{FLUX}.qkv.lora_B.weight": (8, 4)}
    whole = {f"{FLUX}.norm.key_norm.scale": (128,), "img_in.weight": (3072, 64)}
    assert detect(stored_of(beside | whole)).kind == "Flux.1"


@pytest.mark.parametrize(
    ("tensors", "which"),
    [
        ({"string_to_param.*": (4, 768)}, "CLIP-L"),
        ({"string_to_token.*": (), "string_to_param.*": (1, 768)}, "CLIP-L"),
        ({"emb_params": (2, 1024)}, "OpenCLIP-H"),
        ({"clip_l": (3, 768), "clip_g": (3, 1280)}, "CLIP-L and OpenCLIP-bigG"),
        ({"<cat-toy>": (768,)}, "CLIP-L"),
    ],
)
def test_embeddings_are_called_by_name(tensors: dict[str, tuple[int, ...]], which: str) -> None:
    found = detect(stored_of(tensors))
    assert (found.kind, found.variant) == ("embedding", which)
    assert which in found.obstacle


def test_the_unknown_is_called_unknown_with_its_first_names() -> None:
    found = detect(stored_of({"bert.a": (3,), "bert.b": (3,), "bert.c": (3,), "bert.d": (3,)}))
    assert (found.kind, found.family, found.spec) == ("unknown", "", None)
    assert found.obstacle == "it is nothing that is known here: 4 tensors, first 'bert.a', 'bert.b', 'bert.c'"
    assert detect(stored_of({"a\nb": (3,)})).obstacle.endswith("first 'a?b'")


def test_nothing_is_read_to_tell_what_a_file_is() -> None:
    state = checkpoint(SD15, "sd1") | {"v_pred": torch.empty(0, device="meta")}  # `stored_of` forbids to read
    assert detect(stored_of(state)).obstacle == ""


def test_all_layouts_are_covered() -> None:
    assert set(MODELS) == set(LAYOUTS)
