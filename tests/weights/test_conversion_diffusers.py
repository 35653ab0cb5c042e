"""diffusers reads what we convert, without a network, and draws with it what our own networks draw."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from families import UNETS, meta_state
from on_disk import as_checkpoint, write_checkpoint
from tiny_files import SPECS, know_tiny_families, tiny_parts
from torch import Tensor

from fromnoise.nets.blocks import time_features
from fromnoise.reading import Facts, Reader
from fromnoise.specs import SDXL
from fromnoise.text import Tokenizer
from fromnoise.text.taught import TaughtTokenizer
from fromnoise.weights.conversion import Wishes, convert
from fromnoise.weights.folder_configs import SIZES, unet_config
from fromnoise.weights.key_rules import diffusers_unet
from fromnoise.weights.model_converter import flipped, translate
from fromnoise.weights.native import Parts, Uninitialised
from fromnoise.weights.tokenizer_files import tokenizer_files

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

PROMPT, STEPS, PIXELS = "a red house on the hill at night", 4, 64


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    know_tiny_families(monkeypatch)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")


def source_of(parts: Parts, family: str, path: Path) -> Path:
    return write_checkpoint(as_checkpoint(parts, family, torch.float32), path)


def run(source: Path, target: Path, parts: Parts) -> Path:
    def spell(_: Mapping[str, Any]) -> tuple[Mapping[str, int], Sequence[tuple[str, str]]]:
        known = Tokenizer.from_json(parts.tokenizers[0])
        return known.vocabulary(), known.merges

    asked = Wishes(prediction=parts.spec.prediction)  # random weights do not tell
    convert(source, target, asked, spell, lambda done, note: None)
    return target


def noise() -> Tensor:
    return torch.randn(1, 4, PIXELS // 8, PIXELS // 8, generator=torch.Generator().manual_seed(0))


def theirs(pipe: Any) -> Tensor:
    """Latents after a few steps of DDIM."""
    from diffusers import DDIMScheduler

    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    size = {"height": PIXELS, "width": PIXELS, "num_inference_steps": STEPS}
    return pipe(PROMPT, latents=noise(), guidance_scale=1.0, output_type="latent", **size).images


def ours(parts: Parts, scheduler: Any) -> Tensor:
    """The same steps with our tokenizers, text encoders and U-Net."""
    tokenizers = [Tokenizer.from_json(tokenizer) for tokenizer in parts.tokenizers]
    reader = Reader.of(parts.spec, tokenizers, parts.texts)
    size = (PIXELS, PIXELS)
    scheduler.set_timesteps(STEPS)
    with torch.inference_mode():
        cond = reader(PROMPT, "", Facts(size, size)).cond
        x = noise()
        for t in scheduler.timesteps:
            answer = parts.unet(x, t[None].float(), cond.context, cond.pooled)
            x = scheduler.step(answer, t, x).prev_sample
    return x


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_diffusers_draws_with_our_folder_and_our_file_what_we_draw(family: str, tmp_path: Path) -> None:
    import diffusers

    parts = tiny_parts(SPECS[family])
    folder = run(source_of(parts, family, tmp_path / "a.safetensors"), tmp_path / "b", parts)
    single = run(folder, tmp_path / "c.safetensors", parts)
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    kind = diffusers.StableDiffusionXLPipeline if family in SIZES else diffusers.StableDiffusionPipeline
    assert type(pipe) is kind
    latents = theirs(pipe)
    assert pipe.scheduler.config.prediction_type == ("v_prediction" if family == "sd2" else "epsilon")
    torch.testing.assert_close(ours(parts, pipe.scheduler), latents, rtol=1e-4, atol=1e-4)
    again = kind.from_single_file(str(single), config=str(folder))
    for name in ("unet", "vae", "text_encoder", *(["text_encoder_2"] if family in SIZES else [])):
        first, second = (getattr(each, name).state_dict() for each in (pipe, again))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    torch.testing.assert_close(theirs(again), latents, rtol=1e-5, atol=1e-5)
    pixels = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    mine = parts.decoder(latents / SPECS[family].vae.latent_scale)
    torch.testing.assert_close(mine, pixels.detach(), rtol=1e-4, atol=1e-4)


def test_diffusers_opens_our_folder_of_a_refiner(tmp_path: Path) -> None:
    import diffusers

    parts = tiny_parts(SPECS["refiner"])
    folder = run(source_of(parts, "refiner", tmp_path / "a.safetensors"), tmp_path / "b", parts)
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    assert type(pipe) is diffusers.StableDiffusionXLImg2ImgPipeline
    assert pipe.config.requires_aesthetics_score
    assert (pipe.text_encoder, pipe.tokenizer) == (None, None)
    x, context, vector = noise(), torch.ones(1, 3, 40), torch.ones(1, 40)
    numbers = torch.tensor([[64.0, 64.0, 0.0, 0.0, 6.0]])
    with torch.inference_mode():
        reads = {"text_embeds": vector, "time_ids": numbers}
        wanted = pipe.unet(x, torch.tensor([500]), context, added_cond_kwargs=reads).sample
        pooled = torch.cat([vector, time_features(numbers.flatten(), 256).reshape(1, -1)], dim=1)
        answer = parts.unet(x, torch.tensor([500.0]), context, pooled)
    torch.testing.assert_close(answer, wanted, rtol=1e-4, atol=1e-4)


def test_transformers_cuts_texts_with_our_files_as_we_do(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    known = Tokenizer.clip(pad=0)
    text = SDXL.texts[1]
    ours = {"added": {"<cat>": known.size}}
    for name, content in tokenizer_files(ours, text, lambda _: (known.vocabulary(), known.merges)).items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    theirs = CLIPTokenizer.from_pretrained(tmp_path)
    known = TaughtTokenizer(known, {"<cat>": 1})
    for words in ("a Photo of an astronaut, 8k.", "Größe 'twas café", "a <cat>.", ""):  # they pad with "!"
        found = theirs(words, padding="max_length", truncation=True, max_length=77).input_ids
        assert found == known(words).ids[0]


BUILT = ["sd1", "lcm", "sd2", "sdxl", "refiner", "bk-sdm small", "sdxs", "ssd-1b", "vega", "koala 1b"]


@pytest.mark.parametrize("name", BUILT)
def test_diffusers_builds_from_our_configuration_the_unet_that_we_have(name: str) -> None:
    import diffusers

    spec = UNETS[name]
    family = "refiner" if name == "refiner" else "sdxl" if spec.pooled_width else "sd1"
    config = json.loads(json.dumps(unet_config(spec, SDXL.texts, family, 64)))
    with torch.device("meta"), Uninitialised():
        net = diffusers.UNet2DConditionModel.from_config(config)
    state = translate(meta_state(spec), flipped(diffusers_unet(spec.down, spec.up, "")), source="ours")
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in net.state_dict().items()
    }
    for width, block in zip(spec.widths, net.down_blocks, strict=True):
        for attention in getattr(block, "attentions", ()):
            assert attention.config.num_attention_heads == spec.heads_for(width)
