"""Other programs' files become the parts that they were written from; what is wrong is said at once."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from on_disk import (
    FAMILIES,
    VOCAB,
    State,
    as_checkpoint,
    know_small_families,
    same,
    small,
    small_parts,
    with_averages,
    write_checkpoint,
    write_folder,
    write_json,
)
from safetensors.torch import load_file, save_file

from fromnoise.errors import WeightsError
from fromnoise.loading import load
from fromnoise.nets.diffusion import UNet
from fromnoise.pipeline import Pipeline
from fromnoise.specs import SD15
from fromnoise.text import Tokenizer
from fromnoise.weights.embeddings import Embedding
from fromnoise.weights.layouts import folder_spec
from fromnoise.weights.model_loader import load_model
from fromnoise.weights.native import Parts
from fromnoise.weights.probe import Probe

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."


@pytest.fixture(autouse=True)
def small_families(monkeypatch: pytest.MonkeyPatch) -> None:
    know_small_families(monkeypatch)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def sd1() -> Parts:
    return small_parts(small(SD15))


@pytest.fixture(scope="module")
def state(sd1: Parts) -> State:
    return as_checkpoint(sd1, "sd1")


@pytest.fixture(scope="module")
def files(sd1: Parts, state: State, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model in every container."""
    home = tmp_path_factory.mktemp("models")
    return {
        "safetensors": write_checkpoint(state, home / "one.safetensors"),
        "ckpt": write_checkpoint(state, home / "one.ckpt"),
        "folder": write_folder(sd1, home / "folder"),
    }


# --- what is read is what was written ---


@pytest.mark.parametrize("container", ["safetensors", "ckpt", "folder"])
def test_every_container_gives_the_model_that_was_written(
    files: dict[str, Path], sd1: Parts, container: str
) -> None:
    loaded = load_model(files[container])
    assert same(loaded, sd1)
    assert replace(loaded.spec, name="", defaults=sd1.spec.defaults) == replace(sd1.spec, name="")
    tensors = loaded.state().values()
    assert not any(tensor.requires_grad for tensor in tensors)
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    assert loaded.about["family"] == "sd1"


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_every_family_is_read_from_a_file_and_from_a_folder(tmp_path: Path, family: str) -> None:
    parts = small_parts(small(FAMILIES[family]))
    written = parts.state()
    one = write_checkpoint(as_checkpoint(parts, family), tmp_path / "one.safetensors")
    loaded = load_model(one, dtype=torch.float16)
    found = loaded.state()
    assert found.keys() == written.keys()
    assert all(torch.equal(tensor.half(), found[name]) for name, tensor in written.items())
    assert [tokenizer["pad"] for tokenizer in loaded.tokenizers] == [text.pad for text in parts.spec.texts]
    found = load_model(write_folder(parts, tmp_path / "folder"), dtype=torch.float16).state()
    assert found.keys() == Parts.blank(folder_spec(parts.spec)).state().keys()
    assert all(torch.equal(written[name].half(), tensor) for name, tensor in found.items())


def test_a_model_of_sd2_that_says_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = small_parts(small(FAMILIES["sd2"]))
    path = write_checkpoint(as_checkpoint(parts, "sd2"), tmp_path / "one.safetensors")
    asked: list[UNet] = []

    def says_eps(unet: UNet) -> Probe:
        asked.append(unet)
        return Probe(last=1.0, middle=1.0)

    monkeypatch.setattr("fromnoise.weights.probing.probe", says_eps)
    loaded = load_model(path)
    assert asked == [loaded.unet]
    assert loaded.spec.prediction == "eps"
    (finding,) = (each for each in loaded.about["findings"] if each["what"] == "prediction")
    assert finding["decided"]
    assert load_model(path, prediction="v").spec.prediction == "v"
    assert len(asked) == 1
    loaded = load_model(path, dtype=torch.float16)
    assert loaded.spec.prediction == "eps"
    assert asked[1] is not loaded.unet  # on a CPU it would calculate for minutes


def test_a_loaded_model_draws_the_same_pictures(files: dict[str, Path], sd1: Parts) -> None:
    spec = load_model(files["folder"]).spec
    asked = {"seed": 3, "steps": 2, "width": 64, "height": 64}
    mine = Pipeline.of(replace(sd1, spec=spec))("a red house", **asked)
    theirs = load(files["folder"], dtype="float32")
    assert theirs("a red house", **asked).pictures == mine.pictures
    assert theirs("a blue boat", **asked).pictures != mine.pictures


def test_words_that_were_added_to_a_folders_tokenizer_are_words(tmp_path: Path) -> None:
    spec = small(FAMILIES["sd1"])
    parts = small_parts(replace(spec, texts=(replace(spec.texts[0], vocab=VOCAB + 3),)))
    folder = write_folder(parts, tmp_path / "folder")
    plain = Tokenizer.from_json(parts.tokenizers[0])
    quick: dict[str, Any] = {"seed": 3, "steps": 1, "width": 64, "height": 64}
    assert load(folder, dtype="float32").tokenizers[0].encode("<cat>") == plain.encode("<cat>")
    added = {"<cat>": VOCAB, "<cat>_1": VOCAB + 1, "<nowhere>": VOCAB + 3}
    write_json(folder / "tokenizer" / "added_tokens.json", added)
    pipe = load(folder, dtype="float32")
    assert pipe.tokenizers[0].encode("a <Cat>") == [*plain.encode("a"), VOCAB, VOCAB + 1]
    assert pipe.tokenizers[0].encode("<nowhere>") == plain.encode("<nowhere>")
    assert pipe("a <cat>", **quick).pictures != pipe("a dog", **quick).pictures
    (finding,) = (each for each in pipe.about["findings"] if each["what"] == "added words")
    assert finding["value"] == "3"
    taught = pipe.with_embeddings(Embedding("owl", (torch.zeros(1, spec.texts[0].width),)))
    assert taught.tokenizers[0].encode("owl <cat>") == [VOCAB + 3, VOCAB, VOCAB + 1]
    taught("an owl, a <cat>", **quick)


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


@pytest.mark.slow
def test_a_single_file_reads_with_the_vocabulary_of_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the families as they are
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    parts = small_parts(small(SD15, vocab=49408))
    path = write_checkpoint(as_checkpoint(parts, "sd1"), tmp_path / "one.ckpt")
    clip = {"vocabulary": "clip", "pad": 49407, "context": 77}
    asked = {"seed": 3, "steps": 2, "width": 64, "height": 64}
    spec = load_model(path).spec
    mine = Pipeline.of(replace(parts, spec=spec, tokenizers=(clip,)))("a red house", **asked)
    assert load(path, dtype="float32")("a red house", **asked).pictures == mine.pictures


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_numbers_that_fit_are_the_mapped_file_and_others_do_not_keep_it(
    tmp_path: Path, state: State, sd1: Parts
) -> None:
    one, folder = write_checkpoint(state, tmp_path / "one.safetensors"), write_folder(sd1, tmp_path / "f")
    for path in (one, folder):
        file = path if path == one else path / "unet" / "diffusion_pytorch_model.safetensors"
        loaded = load_model(path)
        assert not is_mapped(file)
        assert {tensor.dtype for tensor in loaded.state().values()} == {torch.float32}
        loaded = load_model(path, dtype=torch.float16)
        assert is_mapped(file)
        del loaded
        assert not is_mapped(file)


def test_a_mapped_model_may_be_changed_and_its_file_replaced(tmp_path: Path, state: State) -> None:
    path = write_checkpoint(state, tmp_path / "one.safetensors")
    before = sha256(path.read_bytes()).hexdigest()
    loaded = load_model(path, dtype=torch.float16)
    loaded.unet.leave.bias.fill_(7)
    assert sha256(path.read_bytes()).hexdigest() == before
    other = write_checkpoint({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    other.replace(path)
    assert torch.equal(loaded.unet.leave.weight, state[f"{UNET}out.2.weight"])


def test_a_model_that_is_let_go_is_gone(files: dict[str, Path]) -> None:
    pipe = load(files["folder"])
    pipe("a red house", seed=1, steps=1, width=64, height=64)
    modules = (*pipe.text_encoders, pipe.unet, pipe.encoder, pipe.decoder)
    refs = [weakref.ref(tensor) for module in modules for tensor in module.parameters()]
    assert len(refs) > 500
    del modules
    pipe = load(files["folder"], dtype="bfloat16")
    gc.collect()
    assert [ref for ref in refs if ref() is not None] == []
    assert pipe.dtype == torch.bfloat16


def test_the_hash_is_that_of_the_file_and_computed_when_asked_for(
    tmp_path: Path, state: State, files: dict[str, Path]
) -> None:
    loaded = load_model(files["ckpt"])
    assert not (tmp_path / "cache").exists()
    assert loaded.sha256 == sha256(files["ckpt"].read_bytes()).hexdigest()
    assert (tmp_path / "cache" / "fromnoise" / "sha256.json").exists()
    folder = load_model(files["folder"])
    assert len(folder.sha256) == 64
    path = write_checkpoint(state, tmp_path / "one.safetensors")
    loaded = load_model(path)
    write_checkpoint(state | {"v_pred": torch.zeros(1)}, path)
    assert loaded.sha256 == ""  # not of what is there now


# --- averages, other autoencoders, variants ---


def test_averages_are_read_on_request(tmp_path: Path, state: State, sd1: Parts) -> None:
    path = write_checkpoint(with_averages(state, 2.0), tmp_path / "ema.ckpt")
    assert same(load_model(path), sd1)
    loaded = load_model(path, ema=True)
    assert torch.equal(loaded.unet.leave.weight, sd1.unet.leave.weight * 2)
    assert torch.equal(loaded.decoder.leave.weight, sd1.decoder.leave.weight)
    with pytest.raises(WeightsError, match=r"no running average \(EMA\)"):
        load_model(write_checkpoint(state, tmp_path / "plain.safetensors"), ema=True)


def doubled(state: State, prefix: str) -> State:
    return {name: tensor * 2 for name, tensor in state.items() if name.startswith(prefix)}


@pytest.mark.parametrize("how", ["a checkpoint", "alone", "a folder", "a folder's file"])
def test_an_autoencoder_comes_from_another_file(
    tmp_path: Path, state: State, sd1: Parts, files: dict[str, Path], how: str
) -> None:
    other = state | doubled(state, VAE)
    match how:
        case "a checkpoint":
            path = write_checkpoint(other, tmp_path / "vae.safetensors")
        case "alone":
            alone = {n.removeprefix(VAE): tensor for n, tensor in doubled(state, VAE).items()}
            counters = {"model_ema.decay": torch.ones(()), "model_ema.num_updates": torch.tensor(7)}
            rest = counters | {"loss.logvar": torch.zeros(())}
            path = write_checkpoint(alone | rest, tmp_path / "vae.ckpt")
        case _:
            one = load_model(write_checkpoint(other, tmp_path / "other.safetensors"))
            path = write_folder(replace(one, tokenizers=()), tmp_path / "folder") / "vae"
            if how == "a folder's file":
                path /= "diffusion_pytorch_model.safetensors"
    for model in ("safetensors", "folder"):
        loaded = load_model(files[model], vae=path)
        assert torch.equal(loaded.decoder.leave.weight, sd1.decoder.leave.weight * 2)
        assert torch.equal(loaded.encoder.enter.weight, sd1.encoder.enter.weight * 2)
        assert torch.equal(loaded.unet.leave.weight, sd1.unet.leave.weight)
        assert loaded.about["vae"] == path.name


def test_an_autoencoder_of_its_own_makes_a_model_whole(tmp_path: Path, state: State, sd1: Parts) -> None:
    bare = {name: tensor for name, tensor in state.items() if not name.startswith(VAE)}
    path = write_checkpoint(bare, tmp_path / "bare.safetensors")
    vae = write_checkpoint(state, tmp_path / "whole.ckpt")
    assert same(load_model(path, vae=vae), sd1)
    with pytest.raises(WeightsError, match=r"it lacks an autoencoder\n.*--vae FILE gives it"):
        load_model(path)


def test_what_is_no_autoencoder_is_refused(
    tmp_path: Path, state: State, files: dict[str, Path], tiny_parts: Parts
) -> None:
    text = {name: tensor for name, tensor in state.items() if name.startswith(TEXT)}
    path = write_checkpoint(text, tmp_path / "text.safetensors")
    with pytest.raises(WeightsError, match=r"text.safetensors holds no autoencoders, where one is needed"):
        load_model(files["ckpt"], vae=path)


def test_variants_of_a_folder_are_chosen_by_name(tmp_path: Path, sd1: Parts) -> None:
    folder = write_folder(sd1, tmp_path / "folder", dtype=torch.bfloat16, variant="bf16")
    write_folder(sd1, folder, dtype=torch.float32)
    assert same(load_model(folder), sd1)
    assert not same(load_model(folder, variant="bf16"), sd1)
    with pytest.raises(WeightsError, match="there is no variant 'fp16'"):
        load_model(folder, variant="fp16")


# --- what is wrong is said, and nothing is half loaded ---

Change = Callable[[State], object]


def without(name: str) -> Change:
    return lambda state: state.pop(name)


def with_(name: str, tensor: torch.Tensor) -> Change:
    return lambda state: state.update({name: tensor})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(f"{UNET}out.2.bias"), r"lacks 1 of \d+ tensors, first: 'unet.leave.bias'"),
        (
            with_(f"{UNET}out.2.extra", torch.zeros(1)),
            r"1 of \d+ tensors in .* have no rule, first: '.*extra'",
        ),
        (with_(f"{VAE}decoder.conv_out.bias", torch.zeros(4)), r"has the shape \(4,\), not \(3,\)"),
        (
            with_(f"{UNET}out.2.bias", torch.full((4,), torch.nan).half()),
            r"is damaged: .*out.2.bias holds NaN",
        ),
        (with_(f"{UNET}out.2.bias", torch.tensor([1, 2, torch.inf, 4]).half()), "holds NaN or infinity"),
        (with_(f"{UNET}out.2.bias", torch.zeros(4, dtype=torch.int8)), "as int8: quantized weights"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, state: State, change: Change, message: str) -> None:
    changed = dict(state)
    change(changed)
    for file in ("x.safetensors", "x.ckpt"):
        with pytest.raises(WeightsError, match=message):
            load_model(write_checkpoint(changed, tmp_path / file))


def test_numbers_too_large_for_the_type_are_named(tmp_path: Path, state: State) -> None:
    name = f"{UNET}out.2.bias"
    path = write_checkpoint(state | {name: torch.full((4,), 1e6)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"out.2.bias in x.safetensors .* do not fit into float16"):
        load_model(path, dtype=torch.float16)
    assert load_model(path, dtype=torch.bfloat16).unet.leave.bias.isfinite().all()


def test_a_large_sum_of_fitting_numbers_is_fine(tmp_path: Path, state: State) -> None:
    name = f"{UNET}out.0.bias"
    large = torch.full((32,), 3e38)
    path = write_checkpoint(state | {name: large}, tmp_path / "x.safetensors")
    loaded = load_model(path, dtype=torch.bfloat16)
    assert torch.equal(loaded.unet.norm.bias, large.bfloat16())


def test_parts_of_a_model_say_what_is_missing(tmp_path: Path, state: State) -> None:
    for prefix in (UNET, TEXT, VAE):
        alone = {name: tensor for name, tensor in state.items() if name.startswith(prefix)}
        path = write_checkpoint(alone, tmp_path / "part.safetensors")
        with pytest.raises(WeightsError, match=r"part.safetensors .*cannot draw: .*\n  hint: "):
            load_model(path)


def test_a_misaligned_file_is_read_correctly(tmp_path: Path, state: State, sd1: Parts) -> None:
    path = tmp_path / "odd.safetensors"
    save_file(state, path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    path.write_bytes((length + 1).to_bytes(8, "little") + data[8 : 8 + length] + b" " + data[8 + length :])
    assert load_file(path).keys() == state.keys()
    loaded, written = load_model(path, dtype=torch.float16).state(), sd1.state()
    assert all(torch.equal(tensor, written[name].half()) for name, tensor in loaded.items())
    assert all(tensor.data_ptr() % 2 == 0 for tensor in loaded.values())
