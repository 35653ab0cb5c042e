"""The structure is read from names and shapes alone: full-size networks without memory."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
import torch
from families import MODELS, UNETS, meta_state, stored_of, tiny
from torch import Tensor

from fromnoise.errors import WeightsError
from fromnoise.nets.clip import TextTransformer
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.encoder import Encoder
from fromnoise.specs import OPENCLIP_H, SD15, SDXL, TINY, ClipSpec, UNetSpec, VaeSpec
from fromnoise.weights.detect import detect
from fromnoise.weights.fitting import compare
from fromnoise.weights.key_rules import (
    diffusers_unet,
    diffusers_vae,
    hf_text,
    ldm_unet,
    ldm_vae,
    openclip_text,
)
from fromnoise.weights.model_converter import Rule, flipped, translate
from fromnoise.weights.native import Uninitialised
from fromnoise.weights.structure import Shapes, read_clip, read_unet, read_vae


def shapes(ours: Mapping[str, Tensor], rules: Iterable[Rule]) -> dict[str, tuple[int, ...]]:
    theirs = translate(ours, flipped(rules), source="ours")
    return {name: tuple(tensor.shape) for name, tensor in theirs.items()}


def vae_state(spec: VaeSpec) -> dict[str, Tensor]:
    with torch.device("meta"), Uninitialised():
        rooms = {"encoder": Encoder(spec), "decoder": Decoder(spec)}
        return {f"{room}.{name}": t for room, net in rooms.items() for name, t in net.state_dict().items()}


def clip_state(spec: ClipSpec) -> dict[str, Tensor]:
    with torch.device("meta"), Uninitialised():
        return {f"texts.0.{name}": tensor for name, tensor in TextTransformer(spec).state_dict().items()}


@pytest.mark.parametrize("name", UNETS)
def test_a_unet_is_read_from_a_checkpoint_and_from_a_folder(name: str) -> None:
    spec = UNETS[name]
    ours = meta_state(spec)
    assert read_unet(shapes(ours, ldm_unet())) == spec
    assert read_unet(shapes(ours, diffusers_unet(spec.down, spec.up)), "unet") == spec


@pytest.mark.parametrize("spec", [TINY.unet, tiny(UNETS["sdxl"]), tiny(UNETS["koala 1b"])])
def test_what_shapes_do_not_say_comes_from_a_spec_that_is_alike(spec: UNetSpec) -> None:
    assert read_unet(shapes(meta_state(spec), ldm_unet()), like=spec) == spec


@pytest.mark.parametrize(
    "spec",
    [
        SD15.vae,
        SDXL.vae,
        TINY.vae,
        replace(SD15.vae, multipliers=(1, 2, 4)),  # of the 4x upscaler
        replace(TINY.vae, blocks=1, latent_channels=8, patch=2, mid_attention=False),
    ],
)
def test_an_autoencoder_is_read_from_a_checkpoint_and_from_a_folder(spec: VaeSpec) -> None:
    ours = vae_state(spec)
    like = replace(SD15.vae, groups=spec.groups, latent_scale=spec.latent_scale)
    assert read_vae(shapes(ours, ldm_vae(spec)), like=like) == spec
    assert read_vae(shapes(ours, diffusers_vae(spec)), "vae", like=like) == spec


@pytest.mark.parametrize(
    "spec", [text for model in MODELS.values() for text in model.texts], ids=lambda spec: f"{spec.width}"
)
def test_a_text_encoder_is_read_in_both_formats(spec: ClipSpec) -> None:
    ours = clip_state(spec)
    like = SDXL.texts[0] if spec == SDXL.texts[0] else None  # SD 1.x has the same weights, read elsewhere
    assert read_clip(shapes(ours, hf_text("text_encoder", "texts.0")), "text_encoder", like=like) == spec
    assert read_clip(shapes(ours, openclip_text("c", "texts.0")), "c", like=like) == spec


def test_the_same_state_is_read_where_the_layers_after_it_are_cut_off() -> None:
    cut = replace(OPENCLIP_H, layers=23, hidden=-1, projection=None)  # the folders of SD 2.x
    assert read_clip(shapes(clip_state(cut), hf_text("text_encoder", "texts.0")), "text_encoder") == cut


def ldm_shapes(name: str) -> dict[str, tuple[int, ...]]:
    return shapes(meta_state(tiny(UNETS[name])), ldm_unet())


UNET = "model.diffusion_model"


def without(shapes: Shapes, *starts: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not name.startswith(starts)}


def test_other_networks_beside_it_do_not_disturb() -> None:
    beside = {"cond_stage_model.transformer.x": (1,), f"{UNET}_ema.input_blocks.0.0.weight": (7,)}
    assert read_unet(ldm_shapes("sd1") | beside, like=tiny(UNETS["sd1"])) == tiny(UNETS["sd1"])


def test_damage_is_named() -> None:
    whole = ldm_shapes("sd1")
    with pytest.raises(WeightsError, match=r"the U-Net lacks 'time.0.weight'"):
        read_unet(without(whole, f"{UNET}.time_embed"))
    with pytest.raises(WeightsError, match=r"lacks down.4, though it has down.11"):
        read_unet(without(whole, f"{UNET}.input_blocks.4."))
    with pytest.raises(WeightsError, match="1 of 687 tensors in the U-Net have no rule, first: 'time_stack"):
        read_unet(whole | {f"{UNET}.time_stack.0.weight": (1,)})
    with pytest.raises(WeightsError, match=r"structure we cannot build: .* 2 blocks down, so it needs 3 up"):
        read_unet(without(whole, f"{UNET}.output_blocks.11."), like=tiny(UNETS["sd1"]))
    with pytest.raises(WeightsError, match="a structure we cannot build: width 8 does not divide by groups"):
        read_unet(whole)
    with pytest.raises(WeightsError, match=r"2 different context widths: \[12, 13\]"):
        read_unet(whole | {f"{UNET}.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (8, 13)})
    with pytest.raises(WeightsError, match="has a level 15 wide, which does not divide by 8"):
        read_unet(whole | {f"{UNET}.input_blocks.4.0.in_layers.2.weight": (15, 8, 3, 3)})
    with pytest.raises(WeightsError, match=r"the U-Net lacks 'time.0.weight'"):
        read_unet({})
    with pytest.raises(WeightsError, match="the text encoder is 12 wide; those of known families are 768"):
        read_clip(shapes(clip_state(replace(SD15.texts[0], width=12)), hf_text("t", "texts.0")), "t")
    state = shapes(vae_state(TINY.vae), ldm_vae(TINY.vae))
    with pytest.raises(WeightsError, match=r"the autoencoder lacks 'quant_conv.weight'"):  # SD 3, Flux
        read_vae(without(state, "first_stage_model.quant_conv"))


ODD_SHAPES = [(), (5,), (0, 0)]
ODDER_SHAPES = [*ODD_SHAPES, (0,), (0, 5), (5, 0), (2**62, 0), (0, 2**62, 2**62), (1,) * 9]


def odd_ones(sound: Shapes) -> Iterator[Shapes]:
    """One tensor of each kind in every odd shape."""
    for name in {re.sub(r"\d+", "#", name): name for name in sound}.values():
        yield from (sound | {name: shape} for shape in ODD_SHAPES)  # type: ignore[operator]  # a dict


VAE, TEXT = TINY.vae, replace(SD15.texts[0], layers=1, hidden=-1)
TEXT_STATE = clip_state(TEXT)
READERS: dict[str, tuple[Shapes, Callable[[Shapes], object]]] = {
    "U-Net": (shapes(meta_state(tiny(UNETS["bk-sdm tiny"])), ldm_unet()), read_unet),
    "autoencoder": (shapes(vae_state(VAE), ldm_vae(VAE)), read_vae),
    "text": (shapes(TEXT_STATE, hf_text("t", "texts.0")), partial(read_clip, prefix="t")),
    "OpenCLIP": (shapes(TEXT_STATE, openclip_text("t", "texts.0")), partial(read_clip, prefix="t")),
}


@pytest.mark.parametrize("network", READERS)
def test_whatever_shape_a_tensor_has_the_structure_is_read_or_refused(network: str) -> None:
    sound, read = READERS[network]
    for state in odd_ones(sound):
        with suppress(WeightsError):
            read(state)


def test_a_file_of_real_names_in_odd_shapes_is_identified_and_compared() -> None:
    to_k = f"{UNET}.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    whole = ldm_shapes("bk-sdm tiny")
    for name in (to_k, f"{UNET}.time_embed.0.weight", f"{UNET}.input_blocks.0.0.weight"):
        for shape in ODDER_SHAPES:
            stored = replace(stored_of({}), shapes={**whole, name: shape})
            stored = replace(stored, dtypes=dict.fromkeys(stored.shapes, torch.float16))
            identity = detect(stored)
            assert identity.obstacle
            compare(stored, identity)


def test_numbers_longer_than_python_reads_are_no_numbers() -> None:
    long = f"{UNET}.input_blocks.{'9' * 5000}.0.in_layers.2.weight"
    with pytest.raises(WeightsError, match=r"lacks down.12, though it has down.9+…"):
        read_unet({**ldm_shapes("sd1"), long: (8, 8, 3, 3)})
