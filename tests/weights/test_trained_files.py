"""A U-Net that learned one's own pictures, as AUTOMATIC1111 and diffusers read it; LoRA and word for SDXL."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_files import SPECS, know_tiny_families, tiny_parts

from fromnoise.cli.convert import spell
from fromnoise.errors import RequestError, WeightsError
from fromnoise.pipeline import Pipeline
from fromnoise.specs import ScheduleSpec
from fromnoise.train.own import Session, Wishes
from fromnoise.train.own.writing import form_of
from fromnoise.weights.adapters import open_adapter
from fromnoise.weights.conversion import Wishes as Conversion
from fromnoise.weights.conversion import convert
from fromnoise.weights.embeddings import open_embedding
from fromnoise.weights.model_loader import load_model
from fromnoise.weights.native import save_native
from fromnoise.weights.stored import open_weights
from fromnoise.weights.testimony import COSXL_LEVELS, PLAYGROUND_LEVELS


@pytest.fixture(autouse=True)
def families(monkeypatch: pytest.MonkeyPatch) -> None:
    know_tiny_families(monkeypatch)


def learned(
    tmp_path: Path, family: str, changes: Mapping[str, Any] | None = None, **wishes: object
) -> tuple[Path, Session]:
    """One step on one picture; the file it leaves."""
    album = tmp_path / "embers"
    album.mkdir()
    Image.new("RGB", (128, 128), (200, 90, 0)).save(album / "1.png")
    (album / "1.txt").write_text("an ember on a hill")
    asked = Wishes(steps=1, batch=1, size=128, samples=("a hill",), low_memory=True, **wishes)  # type: ignore[arg-type]
    parts = tiny_parts(replace(SPECS[family], **changes or {}))
    one = Session(album, tmp_path / "out", Pipeline.of(parts, "plain"), asked)
    list(one.encode())
    task = one.task()
    list(one.train(task))
    return one.write(task), one


@pytest.mark.parametrize("form", ["auto", "diffusers"])
def test_a_whole_unet_for_other_programs(tmp_path: Path, form: str) -> None:
    file, one = learned(tmp_path, "sd1", kind="unet", lr=0.01, format=form)
    assert file == tmp_path / "out" / ("embers.safetensors" if form == "auto" else "embers")
    with open_weights(file) as stored:
        start = "model.diffusion_model.input_blocks.0.0" if form == "auto" else "unet.conv_in"
        assert f"{start}.weight" in stored.shapes
    made, trained = load_model(file), one.pipe
    assert made.spec.prediction == "eps"
    for name, tensor in made.unet.state_dict().items():
        assert torch.equal(tensor, trained.unet.state_dict()[name].half().float())
    assert not list((tmp_path / "out").glob("*between*"))


FLOW = {"prediction": "flow", "schedule": ScheduleSpec(kind="flow")}
TOLD: dict[str, tuple[dict[str, Any], str]] = {  # changes of SDXL, and which formats have words for them
    "as published": ({}, "ldm diffusers"),
    "v, zero terminal SNR": (
        {"prediction": "v", "schedule": ScheduleSpec(zero_terminal=True)},
        "ldm diffusers",
    ),
    "flow": (FLOW, ""),
    "an odd beta": ({"schedule": ScheduleSpec(beta_end=0.03)}, "diffusers"),
    "linear": (
        {"schedule": ScheduleSpec(kind="linear", beta_start=0.0001, beta_end=0.02)},
        "ldm diffusers",
    ),
    "EDM without measured latents": ({"prediction": "edm", "schedule": PLAYGROUND_LEVELS}, "diffusers"),
    "CosXL": ({"prediction": "v", "schedule": COSXL_LEVELS}, "ldm diffusers"),
    "an odd scale": ({"vae": replace(SPECS["sdxl"].vae, latent_scale=0.2)}, "diffusers"),
}


@pytest.mark.parametrize("form", ["ldm", "diffusers"])
@pytest.mark.parametrize("name", TOLD)
def test_what_a_format_has_no_words_for_is_known_before_anything_is_learned(
    tmp_path: Path, name: str, form: Any
) -> None:
    changes, formats = TOLD[name]
    spec = replace(SPECS["sdxl"], **changes)
    target = tmp_path / ("b.safetensors" if form == "ldm" else "b")
    save_native(tiny_parts(spec), tmp_path / "a.safetensors")

    def write() -> None:
        convert(tmp_path / "a.safetensors", target, Conversion(to=form), spell, lambda done, note: None)

    if form in formats.split():
        assert form_of(Wishes(kind="unet", format=form), spec) == form
        write()
        return
    with pytest.raises(RequestError, match=r"format: .*no (words|such U-Net)") as raised:
        form_of(Wishes(kind="unet", format=form), spec)
    assert raised.value.hint == "--format ours"
    with pytest.raises(WeightsError, match=r"no (words|such U-Net)"):
        write()


def test_a_unet_that_only_our_format_can_say_is_written_so(tmp_path: Path) -> None:
    file, one = learned(tmp_path, "sdxl", FLOW, kind="unet")
    assert load_model(file).spec == one.pipe.spec


def test_a_lora_and_a_word_for_sdxl(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    lora, _ = learned(tmp_path / "a", "sdxl", kind="lora", rank=2, text=True, layers="transformer")
    with open_weights(lora) as stored:
        assert {name.split("_")[1] for name in stored.shapes} == {"unet", "te1", "te2"}
        assert stored.metadata["ss_base_model_version"] == "sdxl_base_v1-0"
    fresh = Pipeline.of(tiny_parts(SPECS["sdxl"]))
    fresh.attach(open_adapter(lora))
    word, _ = learned(tmp_path / "b", "sdxl", kind="embedding", word="ember", vectors=3)
    with open_weights(word) as stored:
        widths = [text.width for text in SPECS["sdxl"].texts]
        assert dict(stored.shapes) == {"clip_l": (3, widths[0]), "clip_g": (3, widths[1])}
    taught = fresh.with_embeddings(open_embedding(word))
    assert taught("an ember", width=16, height=16, steps=1).given == ("embedding",)


def test_a_distilled_model_is_refused(tmp_path: Path) -> None:
    spec = replace(SPECS["sd1"], unet=replace(SPECS["sd1"].unet, guidance_width=16))
    Image.new("RGB", (64, 64)).save(tmp_path / "ember.png")
    (tmp_path / "ember.txt").write_text("ember")
    with pytest.raises(WeightsError, match="or was distilled"):
        Session(
            tmp_path, tmp_path.parent / "out", Pipeline.of(tiny_parts(spec), "plain"), Wishes(kind="lora")
        )
