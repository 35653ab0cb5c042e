import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from families import tiny_config
from safetensors.torch import save_file
from torch import Tensor

from fromnoise.errors import FromNoiseError, StorageError, WeightsError
from fromnoise.weights.folders import LARGEST_CONFIG
from fromnoise.weights.stored import open_weights

UNET, TEXT = "diffusion_pytorch_model", "model"
State = Mapping[str, Tensor]
A, B, C = ({name: torch.full((2,), float(place))} for place, name in enumerate("abc"))
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.30.0",
    "requires_safety_checker": True,
}


def save(path: Path, state: State) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".bin"):
        torch.save(dict(state), path)
    else:
        save_file(dict(state), path, {"format": "pt"})


def write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))


def shard(folder: Path, index: str, shards: Mapping[str, State], more: Mapping[str, str] = {}) -> None:
    for name, state in shards.items():
        save(folder / name, state)
    placed = {tensor: name for name, state in shards.items() for tensor in state}
    write(folder / index, {"metadata": {"total_size": 24}, "weight_map": placed | more})


def describe(root: Path, *components: str, **others: object) -> None:
    """The JSON of a pipeline's folder."""
    listed = {name: ["diffusers", name.title()] for name in components}
    write(root / "model_index.json", INDEX | listed | others)
    for name in components:
        write(root / name / "config.json", {"_class_name": name})


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A whole model, one tensor a network."""
    root = tmp_path / "sd"
    describe(
        root, "unet", "vae", "text_encoder", scheduler=["diffusers", "DDIM"], safety_checker=[None, None]
    )
    write(root / "scheduler" / "scheduler_config.json", {"prediction_type": "v_prediction"})
    save(root / "unet" / f"{UNET}.safetensors", A)
    save(root / "vae" / f"{UNET}.safetensors", B)
    save(root / "text_encoder" / f"{TEXT}.safetensors", C)
    return root


@pytest.fixture(autouse=True)
def _nothing_stays_open(tmp_path: Path) -> Iterator[None]:
    yield
    links = Path("/proc/self/fd")
    held = [os.readlink(link) for link in links.iterdir() if link.is_symlink()] if links.is_dir() else []
    assert not [name for name in held if name.startswith(str(tmp_path))]


def held(root: Path, variant: str | None = None) -> dict[str, float]:
    """Every tensor's name, with the number that fills it."""
    with open_weights(root, variant=variant) as stored:
        return {name: stored.read(name)[0].item() for name in stored.shapes}


def assert_refused(
    root: Path, said: str, kind: type[FromNoiseError] = WeightsError, variant: str | None = None
) -> None:
    with pytest.raises(FromNoiseError, match=said) as caught:
        open_weights(root, variant=variant)
    assert type(caught.value) is kind
    assert caught.value.message.startswith(f"{root.name}: ")
    assert caught.value.message.isprintable()


# --- what is read ---


def test_a_pipeline_is_tensors_by_component_and_what_its_json_says(pipeline: Path) -> None:
    assert held(pipeline) == {"unet.a": 0, "vae.b": 1, "text_encoder.c": 2}
    with open_weights(pipeline) as stored:
        assert (stored.name, stored.container, stored.metadata) == ("sd", "folder", {"format": "pt"})
        assert stored.configs["scheduler"] == {"prediction_type": "v_prediction"}
        assert stored.configs["model_index"]["_class_name"] == "StableDiffusionPipeline"
        assert stored.configs.keys() == {"model_index", "scheduler", "unet", "vae", "text_encoder"}
        assert [str(file.relative_to(pipeline)) for file in stored.files] == [
            f"unet/{UNET}.safetensors",
            f"vae/{UNET}.safetensors",
            "text_encoder/model.safetensors",
        ]
        with pytest.raises(KeyError):
            stored.read("a")


def test_a_lone_component_has_no_prefix(pipeline: Path) -> None:
    assert held(pipeline / "unet") == {"a": 0}
    with open_weights(pipeline / "unet") as stored:
        assert stored.configs == {"config": {"_class_name": "unet"}}


def test_components_that_no_model_uses_are_left_out_and_named(pipeline: Path) -> None:
    describe(pipeline, "unet", safety_checker=["x", "y"], feature_extractor=["x", "y"], tokenizer=["x", "y"])
    save(pipeline / "safety_checker" / "pytorch_model.bin", B)
    write(pipeline / "feature_extractor" / "preprocessor_config.json", {})
    with open_weights(pipeline) as stored:
        assert (list(stored.shapes), stored.dropped) == (["unet.a"], ("safety_checker",))


def test_pickles_are_read_where_there_is_nothing_else(pipeline: Path) -> None:
    save(pipeline / "unet" / f"{UNET}.bin", B)
    assert held(pipeline)["unet.a"] == 0
    (pipeline / "unet" / f"{UNET}.safetensors").unlink()
    with open_weights(pipeline) as stored:
        assert "unet.b" in stored.shapes
        assert "torch._utils._rebuild_tensor_v2" in stored.globals


INDEXES = {  # how an index and its shards were called over the years: (variant, index, shards)
    "without a variant": ("", "{}.safetensors.index.json", "{}-{}.safetensors"),
    "the variant last and first": ("fp16", "{}.safetensors.index.fp16.json", "{}.fp16-{}.safetensors"),
    "the variant last": ("fp16", "{}.safetensors.index.fp16.json", "{}-{}.fp16.safetensors"),
    "the variant first": ("fp16", "{}.fp16.safetensors.index.json", "{}.fp16-{}.safetensors"),
    "pickles": ("non_ema", "{}.bin.index.non_ema.json", "{}.non_ema-{}.bin"),
}


@pytest.mark.parametrize("stem", [UNET, TEXT, "pytorch_model"])
@pytest.mark.parametrize("order", INDEXES)
def test_shards_are_put_together_whatever_the_order_of_their_names(
    tmp_path: Path, order: str, stem: str
) -> None:
    variant, index, name = INDEXES[order]
    shards = [name.format(stem, number) for number in ("00001-of-00002", "00002-of-00002")]
    write(tmp_path / "config.json", {})
    shard(tmp_path, index.format(stem), dict(zip(shards, ({**A, **B}, C), strict=True)))
    assert held(tmp_path) == held(tmp_path, variant) == {"a": 0, "b": 1, "c": 2}
    with open_weights(tmp_path) as stored:
        assert [file.name for file in stored.files] == shards
        assert stored.metadata.get("variant", "") == variant


def test_an_index_is_taken_before_a_file(tmp_path: Path) -> None:
    write(tmp_path / "config.json", {})
    save(tmp_path / f"{UNET}.safetensors", C)
    shard(tmp_path, f"{UNET}.safetensors.index.json", {f"{UNET}-00001-of-00001.safetensors": A})
    assert held(tmp_path) == {"a": 0}


# --- variants ---


def test_a_variant_is_taken_if_asked_for_or_if_there_is_no_other(pipeline: Path) -> None:
    save(pipeline / "unet" / f"{UNET}.fp16.safetensors", B)
    assert "unet.a" in held(pipeline)
    assert "unet.b" in held(pipeline, "fp16"), "and the others as they are"
    (pipeline / "unet" / f"{UNET}.safetensors").unlink()
    with open_weights(pipeline) as stored:
        assert "unet.b" in stored.shapes
        assert stored.metadata["variant"] == "unet fp16"
    assert_refused(pipeline, "there is no variant 'none'; there is fp16", variant="none")


def test_several_variants_ask_for_a_choice(pipeline: Path) -> None:
    (pipeline / "unet" / f"{UNET}.safetensors").unlink()
    for variant, state in (("fp16", A), ("non_ema", B)):
        save(pipeline / "unet" / f"{UNET}.{variant}.safetensors", state)
    assert_refused(
        pipeline, "unet: there are several variants: fp16, non_ema\n  hint: choose one with --variant"
    )
    assert "unet.b" in held(pipeline, "non_ema")


def test_a_variant_that_no_component_has_is_refused(pipeline: Path) -> None:
    save(pipeline / "unet" / f"{UNET}.fp16.safetensors", B)
    assert_refused(pipeline, "there is no variant 'fp61'; there is fp16", variant="fp61")
    assert_refused(pipeline / "vae", "there is no variant 'fp16'; there are no others", variant="fp16")


# --- what is refused ---


def test_a_folder_that_is_no_model_says_what_to_give(tmp_path: Path) -> None:
    assert_refused(
        tmp_path, "no model_index.json or config.json in this folder\n  hint: give a file of weights"
    )
    (tmp_path / "sd15.safetensors").touch()
    assert_refused(tmp_path, "hint: give a file in it, such as sd15.safetensors")
    (tmp_path / "snapshots").mkdir()
    assert_refused(tmp_path, "hint: .* the one inside snapshots/")


def test_what_is_missing_is_named(pipeline: Path) -> None:
    (pipeline / "vae" / f"{UNET}.safetensors").unlink()
    assert_refused(pipeline, "sd: vae: there are no weights that are read")
    (pipeline / "vae" / "config.json").unlink()
    save(pipeline / "vae" / f"{UNET}.safetensors", B)
    assert_refused(pipeline, "sd: vae: cannot read config.json: No such file", StorageError)
    (pipeline / "vae" / f"{UNET}.safetensors").unlink()
    (pipeline / "vae").rmdir()
    assert_refused(pipeline, "sd: vae: missing, though model_index.json lists it")
    describe(pipeline, "movq")
    assert_refused(pipeline, "model_index.json lists none of unet, vae")


def test_damaged_tensors_are_named_with_their_component(pipeline: Path) -> None:
    path = pipeline / "vae" / f"{UNET}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert_refused(pipeline, r"sd: vae: diffusion_pytorch_model\.safetensors is cut short")


JSON = {
    "nothing": ("", r"is empty \(0 bytes\)"),
    "no JSON": ("<html>", "is not JSON"),
    "another encoding": ("{\0}\0", "is not JSON, or is damaged"),
    "a list": ("[]", "is not a JSON object"),
    "depth without end": ("[" * 100_000, "is not JSON, or is damaged"),
    "a number without end": ('{"x": ' + "9" * 10_000 + "}", "is not JSON, or is damaged"),
    "too much": ('{"x": "' + "y" * LARGEST_CONFIG + '"}', "is 1,048,585 bytes long, more than the 1,048,576"),
    "a billion layers": ('{"num_hidden_layers": 1000000000}', "says num_hidden_layers = 10+, which no"),
    "a billion layers as a fraction": ('{"num_hidden_layers": 1e9}', "says num_hidden_layers = 10+.0, which"),
    "what is no number": ('{"a": [{"attention_head_dim": NaN}]}', "says attention_head_dim = nan, which"),
    "infinity": ('{"scaling_factor": -Infinity}', "says scaling_factor = -inf, which"),
    "many layers in one place": ('{"layers_per_block": [2, 1001]}', "says .*_block = 1001"),
    "a trillion channels": ('{"a": {"block_out_channels": [320, 1000000000000]}}', "says .*channels = 10+,"),
    "a number less than all": ('{"x": -10000001}', "says x = -10000001"),
}  # fmt: skip


@pytest.mark.parametrize("what", JSON)
def test_configurations_are_checked_before_anything_is_made_of_them(pipeline: Path, what: str) -> None:
    content, said = JSON[what]
    write(pipeline / "unet" / "config.json", content)
    assert_refused(pipeline, f"sd: unet: config.json {said}")


def test_a_schedule_may_have_large_numbers(pipeline: Path) -> None:
    write(pipeline / "scheduler" / "scheduler_config.json", {"sigma_max": 10**9})
    with open_weights(pipeline) as stored:
        assert stored.configs["scheduler"] == {"sigma_max": 10**9}


SHARDS = {
    "a path upwards": {"x": "../../vae/x.safetensors"},
    "an absolute path": {"x": "/etc/passwd"},
    "a path on Windows": {"x": "..\\x.safetensors"},
    "the folder": {"x": "."},
    "the folder above": {"x": ".."},
    "a number": {"x": 7},
    "a control character": {"x": "\x1b[31m"},
    "nothing": {"x": ""},
}


@pytest.mark.parametrize("what", SHARDS)
def test_an_index_may_name_nothing_but_files_beside_it(tmp_path: Path, what: str) -> None:
    write(tmp_path / "config.json", {})
    shard(tmp_path, f"{UNET}.safetensors.index.json", {f"{UNET}-00001-of-00001.safetensors": A}, SHARDS[what])
    assert_refused(tmp_path, "as a shard, which is no file beside it")


def test_an_index_and_its_shards_must_agree(tmp_path: Path) -> None:
    index = f"{UNET}.safetensors.index.json"
    one, two = f"{UNET}-00001-of-00002.safetensors", f"{UNET}-00002-of-00002.safetensors"
    write(tmp_path / "config.json", {})
    shard(tmp_path, index, {one: A}, {"b": two})
    assert_refused(tmp_path, f"lacks 1 of 2 shards, first: {two}")
    shard(tmp_path, index, {one: A}, {"b": "x" * 10_000})
    assert_refused(tmp_path, r"lacks 1 of 2 shards, first: x{79}…")
    shard(tmp_path, index, {one: A}, {"b": two})
    shard(tmp_path, index, {one: A, two: B}, {"c": two})
    assert_refused(tmp_path, f"{two} lacks c, which its index expects")
    shard(tmp_path, index, {one: A, two: {**A, **B}}, {"a": one})
    assert_refused(tmp_path, f"a is in both {one} and {two}")
    for data in ({}, {"weight_map": {}}, {"weight_map": [one]}):
        write(tmp_path / index, data)
        assert_refused(tmp_path, "index.json: names no shards")
    write(tmp_path / index, {"weight_map": {str(i): f"s{i}" for i in range(1001)}})
    assert_refused(tmp_path, "names 1,001 shards")
    (tmp_path / index).unlink()
    assert_refused(tmp_path, "there are no weights that are read")


# --- links ---


def test_links_may_lead_to_the_blobs_of_a_cache_and_nowhere_else(pipeline: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(path for path in sorted(pipeline.rglob("*")) if path.is_file()):
        link = snapshot / file.relative_to(pipeline)
        link.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blobs / str(number))
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    assert held(snapshot) == {"unet.a": 0, "vae.b": 1, "text_encoder.c": 2}
    assert held(snapshot / "unet") == {"a": 0}
    (tmp_path / "linked").symlink_to(snapshot)
    assert held(tmp_path / "linked").keys() == held(snapshot).keys()
    blobs.rename(tmp_path / "elsewhere")
    (tmp_path / "models--a--b" / "blobs").symlink_to(tmp_path / "elsewhere")
    assert_refused(snapshot, "model_index.json is a link that leads out of the folder")


def test_links_within_a_folder_are_followed_and_others_refused(pipeline: Path, tmp_path: Path) -> None:
    path = pipeline / "unet" / f"{UNET}.safetensors"
    path.rename(pipeline / "kept.safetensors")
    path.symlink_to(pipeline / "kept.safetensors")
    assert held(pipeline)["unet.a"] == 0
    (pipeline / "kept.safetensors").rename(tmp_path / "kept.safetensors")
    path.unlink()
    path.symlink_to(tmp_path / "kept.safetensors")
    assert_refused(
        pipeline, r"sd: unet: diffusion_.* is a link that leads out of the folder\n  hint: put the file"
    )
    path.unlink()
    path.symlink_to(path)
    assert_refused(pipeline, "sd: unet: .*(leads nowhere|cannot read)", WeightsError)
    config = pipeline / "model_index.json"
    config.rename(tmp_path / "index.json")
    config.symlink_to(tmp_path / "index.json")
    assert_refused(pipeline, "model_index.json is a link that leads out")


def test_a_component_that_is_a_link_out_of_the_folder_is_refused(pipeline: Path, tmp_path: Path) -> None:
    (pipeline / "unet").rename(tmp_path / "unet")
    (pipeline / "unet").symlink_to(tmp_path / "unet")
    assert_refused(pipeline, "sd: unet: .* is a link that leads out of the folder")


def test_a_pipe_in_a_folder_is_not_waited_for(pipeline: Path) -> None:
    (pipeline / "unet" / "config.json").unlink()
    os.mkfifo(pipeline / "unet" / "config.json")
    assert_refused(pipeline, "sd: unet: config.json is a pipe or a device")


# --- the libraries that write such folders ---


@pytest.mark.oracle
@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_what_diffusers_and_transformers_save_is_read(
    tmp_path: Path, variant: str | None, safe: bool
) -> None:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    small: Any = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}
    modules = {
        "unet": UNet2DConditionModel(**tiny_config("sd1")),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**small)),
    }
    describe(tmp_path, *modules)
    for name, module in modules.items():
        module.save_pretrained(
            tmp_path / name, variant=variant, safe_serialization=safe, max_shard_size="20KB"
        )
    with open_weights(tmp_path) as stored:
        assert len(stored.files) > 3, "nothing was sharded"
        assert {path.suffix for path in stored.files} <= {
            ".safetensors",
            ".bin" if not safe else ".safetensors",
        }
        wanted = {
            f"{name}.{key}": tensor
            for name, module in modules.items()
            for key, tensor in module.state_dict().items()
        }
        missing = {key for key in wanted if not key.endswith("position_ids")} - stored.shapes.keys()
        assert not missing
        for key in stored.shapes:
            assert stored.read(key).equal(wanted[key])
