"""Every format and family: back and forth without a change, and the same names as the published models."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from families import CONFIGS, FOLDERS, MODELS, UNETS, meta_state, tiny, tiny_config, tiny_model, tiny_text
from torch import Tensor, nn

from fromnoise.errors import WeightsError
from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.diffusion import UNet
from fromnoise.specs import SD15, SD21, SDXL, ClipSpec, ModelSpec
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
    JUNK,
    LAYOUTS,
    averaged,
    checkpoint_rules,
    ema_name,
    folder_rules,
    folder_spec,
    sift,
)
from fromnoise.weights.model_converter import Rule, compose, flipped, plan, translate
from fromnoise.weights.native import Parts, Uninitialised

State = dict[str, Tensor]


def random_state(names: Mapping[str, Tensor]) -> State:
    """Numbers that tell every element of every tensor apart."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in names.items()}


def empty_state(spec: ModelSpec) -> State:
    with torch.device("meta"), Uninitialised():
        return Parts.blank(spec).state()


def model_state(spec: ModelSpec) -> State:
    return random_state(empty_state(spec))


def text_state(spec: ClipSpec) -> State:
    with torch.device("meta"), Uninitialised():
        module = TextTransformer(spec)
    return random_state({f"texts.0.{name}": tensor for name, tensor in module.state_dict().items()})


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def there_and_back(ours: State, rules: Sequence[Rule]) -> State:
    """Their state; asserts that nothing changes in either direction."""
    theirs = translate(ours, flipped(rules), source="ours")
    again = translate(theirs, rules, source="theirs")
    assert same(again, ours)
    assert same(translate(again, flipped(rules), source="ours"), theirs)
    assert all(tensor.is_contiguous() for tensor in theirs.values())  # as safetensors wants them
    return theirs


def texts_of(layout: str) -> tuple[str, ...]:
    return FOLDERS.get(layout, DIFFUSERS_TEXTS)


# --- back and forth ---


@pytest.mark.parametrize("layout", MODELS)
def test_a_model_survives_every_format(layout: str) -> None:
    spec = tiny_model(MODELS[layout])
    ours = model_state(spec)
    single, folder = checkpoint_rules(spec.vae, layout), folder_rules(spec, texts_of(layout))
    checkpoint, files = there_and_back(ours, single), there_and_back(ours, folder)
    through = compose(plan(checkpoint, single, source="c"), plan(ours, flipped(folder), source="ours"))
    assert same({name: recipe(checkpoint) for name, recipe in through.items()}, files)
    back = compose(plan(files, folder, source="f"), plan(ours, flipped(single), source="ours"))
    assert same({name: recipe(files) for name, recipe in back.items()}, checkpoint)


@pytest.mark.parametrize("name", UNETS)
def test_a_unet_survives_both_formats(name: str) -> None:
    spec = tiny(UNETS[name])
    ours = random_state(meta_state(spec))
    assert len(there_and_back(ours, tuple(ldm_unet()))) == len(ours)
    assert len(there_and_back(ours, tuple(diffusers_unet(spec.down, spec.up)))) == len(ours)


# --- older names ---


def respelled(state: State, *changes: tuple[str, str]) -> State:
    for old, new in changes:
        assert any(old in name for name in state)
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    return state


def test_text_encoders_without_text_model_in_their_names_are_read() -> None:
    ours = text_state(tiny_text(SDXL.texts[1]))
    rules = tuple(hf_text("cond_stage_model.transformer", "texts.0"))
    theirs = there_and_back(ours, rules)
    assert "cond_stage_model.transformer.text_model.encoder.layers.2.mlp.fc1.bias" in theirs
    assert same(translate(respelled(theirs, ("text_model.", "")), rules, source="old"), ours)


def test_every_spelling_of_the_text_projection_is_read() -> None:
    ours = text_state(tiny_text(SDXL.texts[1]))
    rules = tuple(openclip_text("conditioner.embedders.1.model", "texts.0"))
    theirs = there_and_back(ours, rules)
    bare = "conditioner.embedders.1.model.text_projection"
    assert torch.equal(theirs[bare], ours["texts.0.project.weight"].T)
    matrix = theirs.pop(bare)
    for name in (f"{bare}.weight", f"{bare}.weight.weight"):
        assert same(translate({**theirs, name: matrix.T}, rules, source="other"), ours)


def test_every_spelling_of_the_autoencoders_attention_is_read() -> None:
    spec = tiny_model(SD15).vae
    ours = {name: t for name, t in model_state(tiny_model(SD15)).items() if name.startswith(("enc", "dec"))}
    rules = tuple(diffusers_vae(spec))
    theirs = there_and_back(ours, rules)
    mid = "mid_block.attentions.0."
    words = (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn"))
    old = respelled(theirs, *((mid + new, mid + old) for new, old in words))
    assert same(translate(old, rules, source="an old folder"), ours)
    for dims in (3, 4):
        is_attention = {
            name: mid in name and name.endswith("weight") and t.ndim == 2 for name, t in old.items()
        }
        kernels = {
            n: t.reshape(*t.shape, *(1,) * (dims - 2)) if is_attention[n] else t for n, t in old.items()
        }
        assert sum(is_attention.values()) == 8
        assert same(translate(kernels, rules, source="a converted folder"), ours)


def test_both_names_of_the_guidance_embedding_are_read() -> None:
    ours = random_state(meta_state(tiny(UNETS["lcm"])))
    theirs = there_and_back(ours, tuple(ldm_unet()))
    other = respelled(theirs, ("time_embed.cond_proj", "time_embedding.cond_proj"))
    assert same(translate(other, tuple(ldm_unet()), source="an LCM"), ours)


# --- names and shapes of the published models ---


# How many tensors of each network the published checkpoints hold, apart from what `sift` drops.
COUNTS = {
    "sd1": (686, 248, [196]),
    "sd2": (686, 248, [293]),
    "sdxl": (1680, 248, [196, 389]),
    "refiner": (1220, 248, [389]),
}


@pytest.mark.parametrize("layout", MODELS)
def test_a_checkpoint_holds_as_many_tensors_as_the_published_one(layout: str) -> None:
    spec = MODELS[layout]
    theirs = plan(empty_state(spec), flipped(checkpoint_rules(spec.vae, layout)), source="ours")
    unet, vae, texts = COUNTS[layout]
    assert sum(name.startswith("model.diffusion_model.") for name in theirs) == unet
    assert sum(name.startswith("first_stage_model.") for name in theirs) == vae
    for place, text in zip(LAYOUTS[layout], texts, strict=True):
        assert sum(name.startswith(f"{place}.") for name in theirs) == text
    assert len(theirs) == unet + vae + sum(texts)


KNOWN: dict[str, dict[str, tuple[int, ...]]] = {  # from the published files
    "sd1": {
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
        "model.diffusion_model.input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
        "model.diffusion_model.input_blocks.3.0.op.weight": (320, 320, 3, 3),
        "model.diffusion_model.output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
        "model.diffusion_model.output_blocks.8.2.conv.weight": (640, 640, 3, 3),
        "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.0.proj.weight": (10240, 1280),
        "first_stage_model.encoder.mid.attn_1.q.weight": (512, 512, 1, 1),
        "first_stage_model.encoder.down.2.block.0.nin_shortcut.weight": (512, 256, 1, 1),
        "first_stage_model.decoder.up.3.upsample.conv.weight": (512, 512, 3, 3),
        "first_stage_model.decoder.up.0.block.0.nin_shortcut.weight": (128, 256, 1, 1),
        "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
    },
    "sd2": {
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
        "model.diffusion_model.input_blocks.1.1.proj_in.weight": (320, 320),
        "cond_stage_model.model.transformer.resblocks.23.attn.in_proj_weight": (3072, 1024),
        "cond_stage_model.model.transformer.resblocks.23.attn.in_proj_bias": (3072,),
        "cond_stage_model.model.text_projection": (1024, 1024),
        "cond_stage_model.model.positional_embedding": (77, 1024),
    },
    "sdxl": {
        "model.diffusion_model.input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight": (640, 2048),
        "model.diffusion_model.middle_block.1.transformer_blocks.9.attn2.to_k.weight": (1280, 2048),
        "model.diffusion_model.label_emb.0.0.weight": (1280, 2816),
        "model.diffusion_model.output_blocks.5.2.conv.weight": (640, 640, 3, 3),
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (768,),
        "conditioner.embedders.1.model.transformer.resblocks.31.mlp.c_fc.weight": (5120, 1280),
        "conditioner.embedders.1.model.text_projection": (1280, 1280),
    },
    "refiner": {
        "model.diffusion_model.input_blocks.0.0.weight": (384, 4, 3, 3),
        "model.diffusion_model.input_blocks.4.1.transformer_blocks.3.attn2.to_k.weight": (768, 1280),
        "model.diffusion_model.label_emb.0.0.weight": (1536, 2560),
        "conditioner.embedders.0.model.token_embedding.weight": (49408, 1280),
    },
}


@pytest.mark.parametrize("layout", MODELS)
def test_well_known_tensors_have_their_names_and_shapes(layout: str) -> None:
    spec = MODELS[layout]
    theirs = translate(empty_state(spec), flipped(checkpoint_rules(spec.vae, layout)), source="ours")
    assert {name: tuple(theirs[name].shape) for name in KNOWN[layout]} == KNOWN[layout]


# --- diffusers and transformers as oracles ---


def oracle_shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


@pytest.mark.oracle
@pytest.mark.parametrize("name", CONFIGS)
def test_a_unet_folder_has_the_names_and_shapes_of_diffusers(name: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"), Uninitialised():
        wanted = oracle_shapes(diffusers.UNet2DConditionModel(**CONFIGS[name]))
    rules = flipped(diffusers_unet(UNETS[name].down, UNETS[name].up, ""))
    theirs = translate(meta_state(UNETS[name]), rules, source="ours")
    assert {key: tensor.shape for key, tensor in theirs.items()} == wanted


CONVERTED = [
    "sd1",
    "sd1 inpaint",
    "sd2",
    "sdxl",
    "refiner",
    "bk-sdm small",
    "bk-sdm tiny",
    "ssd-1b",
    "koala 700m",
]


@pytest.mark.oracle
@pytest.mark.parametrize("name", CONVERTED)
def test_diffusers_converts_our_checkpoints_of_a_unet_as_we_do(name: str) -> None:
    single_file = pytest.importorskip("diffusers.loaders.single_file_utils")
    spec = tiny(UNETS[name])
    ours = random_state(meta_state(spec))
    checkpoint = translate(ours, flipped(ldm_unet()), source="ours")
    config = {"layers_per_block": 2, **tiny_config(name)}
    wanted = single_file.convert_ldm_unet_checkpoint(checkpoint, config)
    assert same(translate(ours, flipped(diffusers_unet(spec.down, spec.up, "")), source="ours"), wanted)


VAE_CONFIG: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (4, 8, 16, 16),
    "layers_per_block": 2,
    "norm_num_groups": 2,
}


@pytest.mark.oracle
def test_diffusers_reads_our_autoencoder_and_paints_the_same() -> None:
    diffusers = pytest.importorskip("diffusers")
    single_file = pytest.importorskip("diffusers.loaders.single_file_utils")
    spec = tiny_model(SD15)
    with torch.device("meta"), Uninitialised():
        parts, theirs = Parts.blank(spec), diffusers.AutoencoderKL(**VAE_CONFIG)
    ours = {name: 0.3 * t for name, t in model_state(spec).items() if name.startswith(("encoder", "decoder"))}
    checkpoint = translate(ours, flipped(ldm_vae(spec.vae)), source="ours")
    wanted = single_file.convert_ldm_vae_checkpoint(checkpoint, VAE_CONFIG)
    assert same(translate(ours, flipped(diffusers_vae(spec.vae, "")), source="ours"), wanted)
    theirs.load_state_dict(wanted, assign=True)
    load(parts.encoder, "encoder", ours)
    load(parts.decoder, "decoder", ours)
    pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        mean = theirs.eval().encode(pixels).latent_dist.mean
        torch.testing.assert_close(parts.encoder(pixels).mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(parts.decoder(mean), theirs.decode(mean).sample, rtol=1e-4, atol=1e-5)


def load(module: nn.Module, room: str, ours: State) -> None:
    state = {name.removeprefix(f"{room}."): t for name, t in ours.items() if name.startswith(f"{room}.")}
    module.load_state_dict(state, strict=True, assign=True)
    module.eval().requires_grad_(False)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["sd1", "sdxl", "ssd-1b"])
def test_diffusers_reads_our_unet_and_answers_the_same(name: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    single_file = pytest.importorskip("diffusers.loaders.single_file_utils")
    spec, config = tiny(UNETS[name]), {**tiny_config(name), "layers_per_block": 2}
    with torch.device("meta"), Uninitialised():
        net = UNet(spec)
        config["projection_class_embeddings_input_dim"] = spec.pooled_width
        theirs = diffusers.UNet2DConditionModel(**{**config, "addition_time_embed_dim": 2})
    ours = {key: 0.2 * tensor for key, tensor in random_state(meta_state(spec)).items()}
    checkpoint = translate(ours, flipped(ldm_unet()), source="ours")
    theirs.load_state_dict(single_file.convert_ldm_unet_checkpoint(checkpoint, config), assign=True)
    load(net, "unet", ours)
    latents, context, times = torch.ones(1, 4, 8, 8), torch.ones(1, 3, 12), torch.tensor([500])
    text, numbers = torch.ones(1, 6), torch.zeros(1, 2)
    pooled = torch.cat([text, torch.tensor([[1.0, 0.0] * 2])], dim=1) if spec.pooled_width else None
    extra = {"text_embeds": text, "time_ids": numbers}
    with torch.inference_mode():
        wanted = theirs.eval()(latents, times, context, added_cond_kwargs=extra).sample
        torch.testing.assert_close(net(latents, times, context, pooled), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("prefix", ["cond_stage_model.model.", "conditioner.embedders.1.model."])
def test_diffusers_converts_our_openclip_text_encoders_as_we_do(prefix: str) -> None:
    transformers = pytest.importorskip("transformers")
    single_file = pytest.importorskip("diffusers.loaders.single_file_utils")
    spec = tiny_text(SDXL.texts[1])
    spec = replace(spec, projection=spec.width)  # diffusers splits by the projection's width
    config = transformers.CLIPTextConfig(
        vocab_size=spec.vocab,
        hidden_size=spec.width,
        intermediate_size=4 * spec.width,
        projection_dim=spec.projection,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        max_position_embeddings=spec.context,
        bos_token_id=0,
        eos_token_id=39,
        pad_token_id=0,
    )
    with torch.device("meta"):
        theirs = transformers.CLIPTextModelWithProjection(config)
    ours = text_state(spec)
    checkpoint = translate(ours, flipped(openclip_text(prefix[:-1], "texts.0")), source="ours")
    wanted = single_file.convert_open_clip_checkpoint(theirs, checkpoint, prefix)
    folder = translate(ours, flipped(hf_text("", "texts.0")), source="ours")
    assert {name: tensor.shape for name, tensor in folder.items()} == oracle_shapes(theirs)
    if prefix.startswith("cond_stage_model"):  # SD 2.x: see `folder_spec`
        del folder["text_projection.weight"]
    assert same(folder, wanted)


def test_a_folder_of_sd2_gives_the_same_context_without_the_layers_behind_it() -> None:
    spec = tiny_model(SD21)
    (whole,), (cut,) = spec.texts, folder_spec(spec).texts
    assert (cut.layers, cut.hidden, cut.projection) == (whole.layers - 1, -1, None)
    assert folder_spec(tiny_model(SD15)) == tiny_model(SD15)
    assert folder_spec(tiny_model(SDXL)) == tiny_model(SDXL)  # diffusers reads its state without the norm
    state, tokens = text_state(whole), torch.tensor([[0, 5, 9, 39, 0, 0, 0]])
    contexts = list[Tensor]()
    for text in (whole, cut):
        with torch.device("meta"), Uninitialised():
            net = TextTransformer(text)
        kept = {f"texts.0.{name}" for name in net.state_dict()}
        load(net, "texts.0", {name: 0.3 * tensor for name, tensor in state.items() if name in kept})
        contexts.append(net(tokens).context)
    assert torch.equal(*contexts)


# --- what else is in files ---

BESIDE = [
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "posterior_mean_coef1",
    "denoiser.sigmas",
    "model_ema.decay",
    "model_ema.diffusion_modelinput_blocks00weight",
    "first_stage_model.loss.logvar",
    "cond_stage_model.transformer.text_model.embeddings.position_ids",
    "cond_stage_model.model.logit_scale",
    "cond_stage_model.model.visual.conv1.weight",
    "control_model.time_embed.0.weight",
    "v_pred",
    "ztsnr",
    "edm_vpred.sigma_max",
    "edm_mean",
]


def test_what_is_no_part_of_a_network_is_left_out_with_a_reason() -> None:
    spec = tiny_model(SD15)
    networks = list(plan(empty_state(spec), flipped(checkpoint_rules(spec.vae, "sd1")), source="ours"))
    kept, dropped = sift([*networks, *BESIDE])
    assert kept == networks
    assert list(dropped) == BESIDE
    assert dropped["betas"] == JUNK["betas"]
    assert "running average" in dropped["model_ema.decay"]
    assert "ControlNet" in dropped["control_model.time_embed.0.weight"]


@pytest.mark.parametrize("layout", MODELS)
def test_no_tensor_of_a_network_is_left_out(layout: str) -> None:
    spec = tiny_model(MODELS[layout])
    ours = empty_state(spec)
    for rules in (checkpoint_rules(spec.vae, layout), folder_rules(spec, texts_of(layout))):
        assert sift(list(plan(ours, flipped(rules), source="ours")))[1] == {}


def test_a_stranger_is_not_taken_for_junk() -> None:
    strangers = [
        "my_betas",
        "model.diffusion_model.time_stack.0.weight",
        "lora_unet_down.alpha",
        "scaled_fp8",
    ]
    assert sift(strangers) == (strangers, {})
    with pytest.raises(WeightsError, match=r"first: 'model.diffusion_model.time_stack.0.weight'"):
        plan(strangers[1:2], checkpoint_rules(SD15.vae, "sd1"), source="video.ckpt")


def test_the_running_average_is_read_in_place_of_the_weights() -> None:
    spec = tiny_model(SD21)
    state = model_state(spec)
    rules = checkpoint_rules(spec.vae, "sd2")
    checkpoint = translate(state, flipped(rules), source="ours")
    unet = [name for name in checkpoint if name.startswith("model.diffusion_model.")]
    average = {ema_name(name): checkpoint[name] + 1 for name in unet}
    assert "model_ema.diffusion_modelinput_blocks00weight" in average
    assert len(average) == len(unet)
    files = {**checkpoint, **average}
    recipes = averaged(plan(checkpoint, rules, source="c"), files)
    for name, recipe in recipes.items():
        assert torch.equal(recipe(files), state[name] + (1 if name.startswith("unet.") else 0)), name
