"""A model through every format and back: no bit is lost, what is left out is said, nothing is half done."""

import json
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from errno import EIO
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from families import meta_parts, stored_of
from on_disk import as_checkpoint, write_checkpoint, write_folder, write_json, write_tokenizer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_files import SPECS, State, bits, know_tiny_families, same, tiny_parts

from fromnoise.cli.convert import spell as cli_spell
from fromnoise.errors import FromNoiseError, RequestError, StorageError, WeightsError
from fromnoise.noise.schedule import schedule_from
from fromnoise.specs import REFINER, SD15, SD21, SDXL, ModelSpec, ScheduleSpec
from fromnoise.text import Tokenizer
from fromnoise.weights.conversion import Wishes, convert
from fromnoise.weights.conversion_report import Report
from fromnoise.weights.detect import detect
from fromnoise.weights.draft_writer import LAG, Disk
from fromnoise.weights.drafts import Origin, completed, components_of, draft_single_file
from fromnoise.weights.layouts import checkpoint_rules, ema_name
from fromnoise.weights.model_converter import Plan, flipped, translate
from fromnoise.weights.modelspec import SPEC, alphas_of
from fromnoise.weights.native import Parts, load_native, save_native
from fromnoise.weights.planning import left_out, plan_for
from fromnoise.weights.probe import Probe
from fromnoise.weights.state_dicts import LONGEST_FACT, LONGEST_FACT_NAME
from fromnoise.weights.stored import open_weights
from fromnoise.weights.supply import PIECE, Supply

FULL = {"sd1": SD15, "sd2": SD21, "sdxl": SDXL, "refiner": REFINER}
UNET, VAE = "model.diffusion_model.", "first_stage_model."
POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"


@pytest.fixture(autouse=True)
def tiny_families(monkeypatch: pytest.MonkeyPatch) -> None:
    know_tiny_families(monkeypatch)


@pytest.fixture(scope="session")
def models() -> dict[str, Parts]:
    return {family: tiny_parts(spec) for family, spec in SPECS.items()}


def spell(tokenizer: Mapping[str, Any]) -> tuple[Mapping[str, int], Sequence[tuple[str, str]]]:
    """These text encoders know other ids than CLIP's."""
    known = Tokenizer.train(["a red house on a hill", "a blue boat"], 560, context=tokenizer["context"])
    return known.vocabulary(), known.merges


def run(source: Path, target: Path, **wishes: Any) -> Report:
    return convert(source, target, Wishes(**wishes), spell, lambda done, note: None)


def mixed(state: State) -> State:
    """Three types of numbers in one file, as merges have them."""
    kinds = {UNET: torch.float16, VAE: torch.float32}
    kind = {name: next((k for start, k in kinds.items() if name.startswith(start)), None) for name in state}
    return {name: tensor.to(kind[name] or torch.bfloat16) for name, tensor in state.items()}


def read(path: Path) -> State:
    if path.suffix == ".ckpt":
        return torch.load(path, weights_only=True)["state_dict"]
    return load_file(path)


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def of_networks(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if "." in name and "ids" not in name}


@pytest.fixture
def sd1(models: dict[str, Parts], tmp_path: Path) -> Path:
    return write_checkpoint(as_checkpoint(models["sd1"], "sd1"), tmp_path / "sd1.safetensors")


# --- not a bit is lost ---


@pytest.mark.parametrize("family", SPECS)
def test_a_model_survives_every_format(family: str, models: dict[str, Parts], tmp_path: Path) -> None:
    before = mixed(as_checkpoint(models[family], family))
    said = {"modelspec.author": "somebody", "modelspec.prediction_type": SPECS[family].prediction}
    source = write_checkpoint(before, tmp_path / "a.safetensors", said)
    way = ["b", "c.ckpt", "d.safetensors", "e", "f.safetensors"]
    for name in way:
        to = "ours" if name.startswith("d") else None
        report = run(source, tmp_path / name, to=to, verify=True)
        assert report.verified
        assert {line.change for line in report.lines} <= {"same", "reshaped", "rearranged"}
        assert report.left_out == {}
        source = tmp_path / name
    assert same(read(tmp_path / "c.ckpt"), before)
    assert same(read(tmp_path / "f.safetensors"), before)
    assert metadata_of(tmp_path / "f.safetensors")["modelspec.author"] == "somebody"
    assert report.model["prediction"] == SPECS[family].prediction


def test_a_checkpoint_from_torch_becomes_the_same_safetensors(
    models: dict[str, Parts], tmp_path: Path
) -> None:
    state = as_checkpoint(models["sd1"], "sd1")
    shared = state[f"{UNET}time_embed.0.bias"]
    state[f"{UNET}time_embed.2.bias"] = shared  # two names, one storage
    name = f"{UNET}input_blocks.0.0.weight"
    state[name] = state[name].permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3)  # not in a row
    assert not state[name].is_contiguous()
    run(write_checkpoint(state, tmp_path / "a.ckpt", {"global_step": "7"}), tmp_path / "b.safetensors")
    assert same(read(tmp_path / "b.safetensors"), state)
    assert metadata_of(tmp_path / "b.safetensors")["global_step"] == "7"


def test_our_format_is_read_by_ourselves(models: dict[str, Parts], sd1: Path, tmp_path: Path) -> None:
    run(sd1, tmp_path / "ours.safetensors", to="ours")
    parts = load_native(tmp_path / "ours.safetensors")
    assert same(parts.state(), models["sd1"].state())
    assert parts.spec.unet == SPECS["sd1"].unet
    assert parts.tokenizers[0]["pad"] == SPECS["sd1"].texts[0].pad


def origin_of(state: Mapping[str, Any], supply: Supply, **extra: Any) -> Origin:
    stored = stored_of(state, **extra)
    supply.add(stored)
    identity = detect(stored)
    assert identity.spec is not None
    return Origin(stored, identity, identity.spec, plan_for(stored, identity), left_out(stored, identity))


def shapes_of(plan: Plan, supply: Supply, start: str = "") -> dict[str, Any]:
    blank = {name: torch.empty(slot.shape, device="meta") for name, slot in supply.slots.items()}
    return {start + name: tuple(recipe(blank).shape) for name, recipe in plan.items()}


@pytest.mark.parametrize("family", FULL)
def test_every_name_and_shape_of_the_full_models_comes_back(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # not the tiny families
    spec: ModelSpec = FULL[family]
    rules = flipped(checkpoint_rules(spec.vae, family))
    whole = translate(meta_parts(spec), rules, source="ours")
    state = {name: tuple(tensor.shape) for name, tensor in whole.items()}
    supply = Supply()
    there = components_of(origin_of(state, supply))
    folder, beside = dict[str, Any](), dict[str, Any]()
    for path, plan in there.files.items():
        component, slash, _ = path.partition("/")
        (folder if slash else beside).update(shapes_of(plan, supply, f"{component}." if slash else ""))
    assert (len(beside) > 0) == (family == "sd2")
    supply = Supply()
    back = origin_of(folder, supply, configs={"model_index": {}})
    if beside:
        more = stored_of(beside, metadata={SPEC: json.dumps(spec.to_json())})
        supply.add(more, "beside.")
        back = completed(back, more, "beside.")
    draft = draft_single_file(back, "again", prune=False)
    assert shapes_of(draft.files[""], supply) == state


# --- what is said about it ---


def test_the_report_has_the_hash_of_every_tensor(sd1: Path, tmp_path: Path) -> None:
    before = {name: sha256(bits(tensor)).hexdigest() for name, tensor in load_file(sd1).items()}
    report = run(sd1, tmp_path / "out")
    lines = {line.name: line for line in report.lines}
    assert {source for line in report.lines for source in line.sources} == before.keys()
    pairs = [pair for line in report.lines for pair in zip(line.sources, line.before, strict=True)]
    assert dict(pairs) == before
    unet = load_file(tmp_path / "out/unet/diffusion_pytorch_model.safetensors")
    for name, tensor in unet.items():
        assert lines[f"unet.{name}"].after == sha256(bits(tensor)).hexdigest()
    reshaped = [line for line in report.lines if line.change == "reshaped"]
    assert len(reshaped) == 8  # the attention in the autoencoder, twice
    assert all(line.before == (line.after,) for line in reshaped)
    assert json.loads(json.dumps(report.to_json()))["counts"]["same"] == len(lines) - 8
    said = list(report.summary())
    assert said[0] == "read as sd1 (base), which predicts eps"
    assert said[1] == f"{len(lines) - 8} tensors unchanged, bit for bit"


def test_numbers_are_rounded_only_when_asked_and_how_far_is_said(
    models: dict[str, Parts], tmp_path: Path
) -> None:
    state = as_checkpoint(models["sd1"], "sd1", torch.float32)
    name = f"{UNET}time_embed.0.bias"
    state[name] = torch.linspace(1, 2, len(state[name]))
    state[POSITIONS] = torch.arange(77)[None]
    source = write_checkpoint(state, tmp_path / "a.safetensors")
    report = run(source, tmp_path / "b.safetensors", dtype=torch.bfloat16)
    after = read(tmp_path / "b.safetensors")
    assert torch.equal(after.pop(POSITIONS), state.pop(POSITIONS))
    assert same(after, {name: tensor.bfloat16() for name, tensor in state.items()})
    line = next(line for line in report.lines if line.name == name)
    wanted = (state[name] - state[name].bfloat16().float()).abs().max() / 2
    assert (line.change, line.error) == ("retyped", pytest.approx(wanted.item()))
    assert any("rounded by at most" in said for said in report.summary())
    back = run(tmp_path / "b.safetensors", tmp_path / "c.safetensors", dtype=torch.float32)
    assert any("without rounding" in said for said in back.summary())


def test_a_number_that_does_not_fit_is_refused_by_name(models: dict[str, Parts], tmp_path: Path) -> None:
    state = as_checkpoint(models["sd1"], "sd1", torch.float32)
    name = f"{UNET}input_blocks.0.0.bias"
    state[name][3] = 70_000
    source = write_checkpoint(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=f"'{name}' holds 70000, which does not fit into float16") as e:
        run(source, tmp_path / "b.safetensors", dtype=torch.float16)
    assert "bfloat16" in e.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    state[name][3] = torch.inf  # was not finite before either
    run(write_checkpoint(state, tmp_path / "a.safetensors"), tmp_path / "b.safetensors", dtype=torch.float16)
    assert read(tmp_path / "b.safetensors")[name][3] == torch.inf


# --- what is in files beside the networks ---


@pytest.fixture
def littered(models: dict[str, Parts], tmp_path: Path) -> Path:
    state = as_checkpoint(models["sd1"], "sd1")
    averages = {ema_name(name): 2 * tensor for name, tensor in state.items() if name.startswith(UNET)}
    alphas = alphas_of(ScheduleSpec())
    assert alphas is not None
    extra = {POSITIONS: torch.arange(77)[None], "alphas_cumprod": alphas, "v_pred": torch.zeros(0)}
    return write_checkpoint(state | averages | extra, tmp_path / "littered.ckpt", {})


def test_a_single_file_keeps_everything_unless_pruned(littered: Path, tmp_path: Path) -> None:
    report = run(littered, tmp_path / "whole.safetensors")
    assert same(read(tmp_path / "whole.safetensors"), read(littered))
    assert report.left_out == {}
    report = run(littered, tmp_path / "pruned.safetensors", prune=True)
    pruned = read(tmp_path / "pruned.safetensors")
    assert pruned.keys() | report.left_out.keys() == read(littered).keys()
    assert "v_pred" in pruned
    assert "alphas_cumprod" in report.left_out
    assert same(of_networks(pruned), {n: t for n, t in read(littered).items() if n in of_networks(pruned)})


def test_a_folder_leaves_out_what_it_has_no_place_for_and_says_why(littered: Path, tmp_path: Path) -> None:
    report = run(littered, tmp_path / "folder")
    assert "computed" in report.left_out["alphas_cumprod"]
    assert "second copy" in report.left_out[ema_name(f"{UNET}out.2.weight")]
    assert any(said.startswith("left out: alphas_cumprod (the schedule") for said in report.summary())


def test_the_running_average_takes_the_place_of_the_weights(littered: Path, tmp_path: Path) -> None:
    report = run(littered, tmp_path / "ema.safetensors", ema=True)
    before, after = read(littered), read(tmp_path / "ema.safetensors")
    unet = {name for name in before if name.startswith(UNET)}
    assert {name for name, why in report.left_out.items() if "--ema" in why} == unet
    assert report.left_out.keys() == unet  # the averages are there, under the names of what they replace
    assert run(littered, tmp_path / "folder", ema=True).left_out.keys() > unet
    assert not [name for name in after if name.startswith("model_ema.")]
    for name, tensor in after.items():
        wanted = 2 * before[name] if name.startswith(UNET) else before[name]
        assert torch.equal(tensor, wanted), name


def test_without_a_running_average_there_is_none_to_take(sd1: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no running average"):
        run(sd1, tmp_path / "ema.safetensors", ema=True)


def test_a_folder_is_pruned_too(sd1: Path, tmp_path: Path) -> None:
    run(sd1, tmp_path / "a")
    path = tmp_path / "a/text_encoder/model.safetensors"
    save_file(load_file(path) | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, path)
    name = "text_encoder.text_model.embeddings.position_ids"
    assert run(tmp_path / "a", tmp_path / "b").left_out == {}
    report = run(tmp_path / "a", tmp_path / "c", prune=True)
    assert report.left_out == {name: "counts 0, 1, 2, …; asked for: --prune"}
    assert name not in {line.name for line in report.lines}


# --- how the model was trained ---


def scheduler_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "scheduler/scheduler_config.json").read_text())


def understood(path: Path) -> ModelSpec:
    with open_weights(path) as stored:
        identity = detect(stored)
    assert identity.spec
    assert "prediction" not in identity.undecided
    return identity.spec


def with_config(folder: Path, file: str, **words: Any) -> Path:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | words))
    return folder


EPS_PROBE, V_PROBE = Probe(0.99, 0.98), Probe(0.05, 0.5)


@pytest.mark.parametrize(
    ("family", "name", "answer", "said"),
    [("sd2", "base", EPS_PROBE, "eps"), ("sd2", "a", V_PROBE, "v"), ("sdxl", "a-vpred", V_PROBE, "v")],
)
@pytest.mark.parametrize("target", ["b.safetensors", "b"])
def test_what_nobody_says_is_asked_before_it_is_written(
    family: str,
    name: str,
    answer: Probe,
    said: str,
    target: str,
    models: dict[str, Parts],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fromnoise.weights.probing.ask", lambda stored, identity: answer)
    source = write_checkpoint(as_checkpoint(models[family], family), tmp_path / f"{name}.safetensors")
    report = run(source, tmp_path / target)
    assert (report.model["prediction"], report.doubts) == (said, ())
    assert understood(tmp_path / target).prediction == said


def test_what_its_answers_do_not_tell_is_not_said(models: dict[str, Parts], tmp_path: Path) -> None:
    source = write_checkpoint(as_checkpoint(models["sd2"], "sd2"), tmp_path / "a.safetensors")
    report = run(source, tmp_path / "b.safetensors")
    assert not metadata_of(tmp_path / "b.safetensors").keys() & {
        "modelspec.prediction_type",
        "modelspec.architecture",
    }
    assert report.doubts[0].startswith("nothing in a.safetensors says what its U-Net predicts")
    assert (report.model["prediction"], next(report.summary())) == ("undecided", "read as sd2 (base)")
    for target, to in (("c", None), ("c.safetensors", "ours")):
        with pytest.raises(WeightsError, match=r"nor do its answers, and .* must say it") as e:
            run(source, tmp_path / target, to=to)
        assert "--prediction" in e.value.hint
        run(source, tmp_path / target, to=to, prediction="eps")
        assert understood(tmp_path / target).prediction == "eps"


def test_what_is_only_usual_is_drawn_with_and_not_written(sd1: Path, tmp_path: Path) -> None:
    assert run(sd1, tmp_path / "b.safetensors").doubts == ()
    assert "modelspec.prediction_type" not in metadata_of(tmp_path / "b.safetensors")


LINEAR = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}


@pytest.mark.parametrize(
    "words",
    [
        {"prediction_type": "sample"},
        LINEAR,
        LINEAR | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"},
    ],
)
def test_an_unusual_training_goes_along(words: dict[str, Any], sd1: Path, tmp_path: Path) -> None:
    run(sd1, tmp_path / "a")
    wanted = understood(with_config(tmp_path / "a", "scheduler/scheduler_config.json", **words))
    source = tmp_path / "a"
    for target in ("b.safetensors", "c", "d.ckpt"):
        run(source, tmp_path / target, prune=True)
        source, found = tmp_path / target, understood(tmp_path / target)
        assert found.prediction == wanted.prediction, target
        schedule = found.schedule
        if schedule.kind == "cosine":  # which is made without betas
            schedule = replace(schedule, beta_start=0.0001, beta_end=0.02)
            wanted = replace(wanted, schedule=replace(wanted.schedule, beta_start=0.0001, beta_end=0.02))
        assert schedule == wanted.schedule, target


def test_the_name_of_sd2_does_not_contradict_the_users_word(models: dict[str, Parts], tmp_path: Path) -> None:
    source = write_checkpoint(as_checkpoint(models["sd2"], "sd2"), tmp_path / "a.safetensors")
    run(source, tmp_path / "b.safetensors", prediction="x0")
    assert "modelspec.architecture" not in metadata_of(tmp_path / "b.safetensors")
    assert understood(tmp_path / "b.safetensors").prediction == "x0"


@pytest.mark.parametrize(
    ("file", "words", "said"),
    [
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            "schedule flow",
        ),
        (
            "scheduler/scheduler_config.json",
            {"beta_end": 0.03},
            "schedule scaled_linear, beta 0.00085 to 0.03",
        ),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 500}, "the noise schedule scaled_linear"),
        ("scheduler/scheduler_config.json", {"_class_name": "EDMEulerScheduler"}, "schedule edm"),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.1, 0.2]}, "betas of its own"),
        ("vae/config.json", {"scaling_factor": 0.2}, "the scale of its latents, 0.2"),
    ],
)
def test_a_training_that_a_single_file_cannot_say_is_refused_and_stays_in_a_folder(
    file: str, words: dict[str, Any], said: str, sd1: Path, tmp_path: Path
) -> None:
    run(sd1, tmp_path / "a")
    with_config(tmp_path / "a", file, **words)
    with pytest.raises(WeightsError, match=f"a cannot be converted: .*{said}"):
        run(tmp_path / "a", tmp_path / "b.safetensors")
    run(tmp_path / "a", tmp_path / "c")
    before, after = (json.loads((tmp_path / folder / file).read_text()) for folder in ("a", "c"))
    assert before == after


def test_a_folders_own_scheduler_does_not_contradict_what_is_known_of_the_model(
    sd1: Path, tmp_path: Path
) -> None:
    run(sd1, tmp_path / "a", prediction="v")
    with_config(
        tmp_path / "a", "scheduler/scheduler_config.json", rescale_betas_zero_snr=True, steps_offset=7
    )
    run(tmp_path / "a", tmp_path / "b", prediction="eps")
    after = scheduler_of(tmp_path / "b")
    assert (after["prediction_type"], after["rescale_betas_zero_snr"]) == ("epsilon", False)
    assert after["steps_offset"] == 7


def test_a_folder_gets_the_scheduler_that_the_users_word_needs(sd1: Path, tmp_path: Path) -> None:
    run(sd1, tmp_path / "a")
    run(tmp_path / "a", tmp_path / "edm", prediction="edm")
    assert scheduler_of(tmp_path / "edm")["_class_name"] == "EDMEulerScheduler"
    assert understood(tmp_path / "edm").prediction == "edm"
    with pytest.raises(WeightsError, match="predicts 'flow' on a 'flow' schedule"):
        run(tmp_path / "a", tmp_path / "flow", prediction="flow")
    with pytest.raises(WeightsError, match=r"a diffusers folder has no words for .* predicts 'eps'"):
        run(tmp_path / "edm", tmp_path / "eps", prediction="eps")
    for source in (sd1, tmp_path / "edm"):
        with pytest.raises(WeightsError, match="a single file of other programs has no words for"):
            run(source, tmp_path / "b.safetensors", prediction="edm")


@pytest.mark.parametrize("kind", ["scaled_linear", "linear", "cosine"])
def test_the_table_of_noise_levels_is_that_of_the_schedule(kind: Any) -> None:
    spec = ScheduleSpec(kind=kind)
    sigmas = schedule_from(spec).sigma_of(torch.arange(1000, dtype=torch.float64))
    torch.testing.assert_close(alphas_of(spec), (1 / (1 + sigmas**2)).float())


def test_a_table_that_is_not_known_is_kept_or_said_to_be_lost(sd1: Path, tmp_path: Path) -> None:
    table = torch.linspace(0.9, 0.1, 1000)
    source = write_checkpoint(load_file(sd1) | {"alphas_cumprod": table}, tmp_path / "a.safetensors")
    run(source, tmp_path / "b.safetensors", prune=True)
    assert torch.equal(read(tmp_path / "b.safetensors")["alphas_cumprod"], table)
    for target, to in (("c", None), ("c.safetensors", "ours")):
        assert "unknown table" in run(source, tmp_path / target, to=to).left_out["alphas_cumprod"]


def test_velocity_and_zero_snr_are_kept_there_and_back(models: dict[str, Parts], tmp_path: Path) -> None:
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    state = as_checkpoint(models["sdxl"], "sdxl")
    run(write_checkpoint(state | marks, tmp_path / "a.safetensors"), tmp_path / "b")
    scheduler = scheduler_of(tmp_path / "b")
    assert scheduler["prediction_type"] == "v_prediction"
    assert scheduler["rescale_betas_zero_snr"] is True
    assert scheduler["timestep_spacing"] == "trailing"
    report = run(tmp_path / "b", tmp_path / "c.safetensors")
    assert same(read(tmp_path / "c.safetensors"), state | marks)
    assert metadata_of(tmp_path / "c.safetensors")["modelspec.prediction_type"] == "v"
    assert any(said == "written in addition: v_pred, ztsnr" for said in report.summary())


def test_the_users_word_on_the_prediction_is_what_is_written(littered: Path, tmp_path: Path) -> None:
    run(littered, tmp_path / "v")
    assert scheduler_of(tmp_path / "v")["prediction_type"] == "v_prediction"
    run(tmp_path / "v", tmp_path / "eps", prediction="eps")
    assert scheduler_of(tmp_path / "eps")["prediction_type"] == "epsilon"
    report = run(littered, tmp_path / "eps.safetensors", prediction="eps")
    assert "v_pred" not in read(tmp_path / "eps.safetensors")
    assert "v_pred" in report.left_out
    assert metadata_of(tmp_path / "eps.safetensors")["modelspec.prediction_type"] == "epsilon"


@pytest.mark.parametrize(
    ("marks", "scheduler"),
    [
        (("edm_mean", "edm_std"), {"sigma_max": 80.0, "sigma_data": 0.5, "prediction_type": "epsilon"}),
        (
            ("edm_vpred.sigma_min", "edm_vpred.sigma_max"),
            {"sigma_max": 120.0, "sigma_data": 1.0, "prediction_type": "v_prediction"},
        ),
    ],
)
def test_edm_models_stay_what_they_are(
    marks: tuple[str, str], scheduler: dict[str, Any], models: dict[str, Parts], tmp_path: Path
) -> None:
    numbers = {
        "edm_mean": torch.tensor([-1.5, 2.0, -1.25, 2.5]).view(1, 4, 1, 1),
        "edm_std": torch.tensor([8.5, 6.0, 6.5, 5.0]).view(1, 4, 1, 1),
        "edm_vpred.sigma_min": torch.tensor(0.002),
        "edm_vpred.sigma_max": torch.tensor(120.0),
    }
    state = as_checkpoint(models["sdxl"], "sdxl") | {name: numbers[name] for name in marks}
    run(write_checkpoint(state, tmp_path / "a.safetensors"), tmp_path / "b")
    assert scheduler.items() <= scheduler_of(tmp_path / "b").items()
    run(tmp_path / "b", tmp_path / "c.safetensors")
    assert same(read(tmp_path / "c.safetensors"), state)


def test_metadata_go_along_and_the_old_files_hash_does_not(sd1: Path, tmp_path: Path) -> None:
    said = {"modelspec.hash_sha256": "0x00", "modelspec.title": "My model", "ss_steps": "100"}
    save_file(load_file(sd1), sd1, said)
    run(sd1, tmp_path / "b.ckpt")
    run(tmp_path / "b.ckpt", tmp_path / "c")
    run(tmp_path / "c", tmp_path / "d.safetensors")
    found = metadata_of(tmp_path / "d.safetensors")
    assert (found["modelspec.title"], found["ss_steps"]) == ("My model", "100")
    assert "modelspec.hash_sha256" not in found
    assert SPEC not in found
    assert found["modelspec.sai_model_spec"] == "1.0.0"
    assert found["modelspec.architecture"] == "stable-diffusion-v1"


def test_long_texts_go_through_a_ckpt_and_longer_ones_are_named(sd1: Path, tmp_path: Path) -> None:
    said = {"recipe": "x" * LONGEST_FACT, "seed": "1" * 5000, "steps": "007", "state_dict": "not a tensor"}
    too_long = {"modelspec.thumbnail": "x" * (LONGEST_FACT + 1), "n" * (LONGEST_FACT_NAME + 1): "a name"}
    save_file(load_file(sd1), sd1, said | too_long)
    report = run(sd1, tmp_path / "b.ckpt")
    assert report.left_out.keys() == too_long.keys() | {"state_dict"}
    assert "65,536 letters" in report.left_out["modelspec.thumbnail"]
    assert any("modelspec.thumbnail" in line for line in report.summary())
    assert not report.left_out.keys() & report.metadata.keys()
    assert same(read(tmp_path / "b.ckpt"), load_file(sd1))
    report = run(tmp_path / "b.ckpt", tmp_path / "c.safetensors")
    found = metadata_of(tmp_path / "c.safetensors")
    assert all(found[name] == said[name] for name in ("recipe", "seed", "steps"))
    assert report.left_out == {}


def test_texts_that_are_no_unicode_are_named(models: dict[str, Parts], tmp_path: Path) -> None:
    state = as_checkpoint(models["sd1"], "sd1")
    write_checkpoint(state, tmp_path / "a.ckpt", {"author": "half a letter: \ud83d", "steps": "7"})
    report = run(tmp_path / "a.ckpt", tmp_path / "b.safetensors")
    assert report.left_out == {"author": "no text that can be written"}
    assert metadata_of(tmp_path / "b.safetensors")["steps"] == "7"


# --- folders ---


def test_a_folder_keeps_its_own_words(sd1: Path, tmp_path: Path) -> None:
    run(sd1, tmp_path / "a")
    config = tmp_path / "a/unet/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_name_or_path": "mine"}))
    index = tmp_path / "a/model_index.json"
    checker = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    index.write_text(json.dumps(json.loads(index.read_text()) | checker))
    (tmp_path / "a/tokenizer/merges.txt").write_text("#version: 0.2\n")
    run(tmp_path / "a", tmp_path / "b", dtype=torch.bfloat16)
    assert json.loads((tmp_path / "b/unet/config.json").read_text())["_name_or_path"] == "mine"
    after = json.loads((tmp_path / "b/model_index.json").read_text())
    assert after["safety_checker"] == [None, None]
    assert after["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert (tmp_path / "b/tokenizer/merges.txt").read_text() == "#version: 0.2\n"


def test_a_folder_whose_text_encoder_was_exchanged_does_not_get_the_old_ones_layers(
    models: dict[str, Parts], tmp_path: Path
) -> None:
    source = write_checkpoint(as_checkpoint(models["sd2"], "sd2"), tmp_path / "a.safetensors")
    run(source, tmp_path / "b", prediction="v")
    path = tmp_path / "b/text_encoder/model.safetensors"
    start = "text_model.encoder.layers."
    layers = {n: t for n, t in load_file(path).items() if n.startswith(f"{start}1.")}
    more = {name.replace(f"{start}1.", f"{start}2."): tensor for name, tensor in layers.items()}
    save_file(load_file(path) | more, path)
    run(tmp_path / "b", tmp_path / "c.safetensors")
    after = read(tmp_path / "c.safetensors")
    bias = "cond_stage_model.model.transformer.resblocks.{}.mlp.c_fc.bias"
    assert torch.equal(after[bias.format(2)], after[bias.format(1)])
    assert "cond_stage_model.model.text_projection" not in after


def test_the_autoencoder_of_another_file_takes_the_place_of_its_own(sd1: Path, tmp_path: Path) -> None:
    other = as_checkpoint(tiny_parts(SPECS["sd1"], seed=1), "sd1")
    lone = {name.removeprefix(VAE): t for name, t in other.items() if name.startswith(VAE)}
    vae = write_checkpoint(lone, tmp_path / "vae.safetensors")
    report = run(sd1, tmp_path / "b.safetensors", vae=vae)
    before, after = load_file(sd1), read(tmp_path / "b.safetensors")
    assert report.left_out.keys() == {name for name in before if name.startswith(VAE)}
    assert {why for why in report.left_out.values() if "--vae" not in why} == set()
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        assert torch.equal(tensor, (other if name.startswith(VAE) else before)[name]), name


def test_an_autoencoder_in_other_names_makes_no_folder_of_a_checkpoint(
    littered: Path, tmp_path: Path
) -> None:
    run(littered, tmp_path / "folder")
    report = run(littered, tmp_path / "b.safetensors", vae=tmp_path / "folder/vae")
    assert report.model["layout"] == "ldm:sd1"
    assert report.left_out.keys() == {name for name in read(littered) if name.startswith(VAE)}
    assert same(read(tmp_path / "b.safetensors"), read(littered))


def test_what_was_multiplied_by_a_scale_is_not_called_unchanged(sd1: Path, tmp_path: Path) -> None:
    name, state = f"{UNET}time_embed.0.weight", load_file(sd1)
    kept = state[name].to(torch.float8_e4m3fn)
    scaled = state | {name: kept, f"{UNET}time_embed.0.scale_weight": torch.tensor(0.5)}
    report = run(write_checkpoint(scaled, tmp_path / "a.safetensors"), tmp_path / "b.safetensors")
    line = next(line for line in report.lines if line.name == name)
    assert (line.change, line.dtype) == ("retyped", "float32")
    assert line.before == (sha256(bits(kept)).hexdigest(),)
    assert line.after == sha256(bits(read(tmp_path / "b.safetensors")[name])).hexdigest()
    assert torch.equal(read(tmp_path / "b.safetensors")[name], kept.float() / 2)


# --- what is refused, before anything is written ---


def lora(state: State) -> State:
    return {f"lora_unet_down_blocks_0.{n}.weight": torch.zeros(4, 4) for n in ("lora_up", "lora_down")}


def sd3(state: State) -> State:
    return {"model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight": torch.zeros(6, 2)}


def headless(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(VAE)}


def holed(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.endswith("out.2.bias")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lora, "cannot be converted: .*LoRA"),
        (sd3, "cannot be converted: .*(SD3|Stable Diffusion 3)"),
        (headless, "cannot be converted: it lacks an autoencoder"),
        (holed, "lacks 1 of .* tensors, first: 'unet.leave.bias'"),
    ],
)
def test_what_is_no_whole_model_is_refused_with_what_it_is(
    change: Callable[[State], State], said: str, sd1: Path, tmp_path: Path
) -> None:
    source = write_checkpoint(change(load_file(sd1)), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=f"(?s){said}"):
        run(source, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_model_that_other_programs_have_no_words_for_stays_ours(tmp_path: Path) -> None:
    spec = replace(SPECS["sd1"], vae=replace(SPECS["sd1"].vae, patch=2), prediction="flow")
    spec = replace(spec, schedule=replace(spec.schedule, kind="flow"))
    parts = tiny_parts(spec)
    save_native(parts, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="no family that other programs have single files of"):
        run(tmp_path / "a.safetensors", tmp_path / "b.ckpt")
    with pytest.raises(WeightsError, match="diffusers has no words for an autoencoder that reads squares"):
        run(tmp_path / "a.safetensors", tmp_path / "b")
    run(tmp_path / "a.safetensors", tmp_path / "b.safetensors", to="ours", dtype=torch.float32)
    assert same(load_native(tmp_path / "b.safetensors").state(), parts.state())


@pytest.mark.parametrize(
    ("target", "wishes", "error", "said"),
    [
        ("out.gguf", {}, RequestError, "out.gguf does not say what it is to be"),
        ("out.safetensors", {"to": "diffusers"}, RequestError, "'diffusers' is a folder"),
        ("out", {"to": "ldm"}, RequestError, "'ldm' is one file"),
        ("out.ckpt", {"to": "ours"}, RequestError, "our format is a .safetensors file"),
        ("nowhere/out.ckpt", {}, StorageError, "there is no folder .*nowhere"),
        ("sd1.safetensors", {"force": True}, StorageError, "is the source itself"),
        ("there.ckpt", {}, StorageError, "there.ckpt is there already"),
        ("home", {"force": True}, StorageError, "is no model in diffusers' format"),
        ("home.ckpt", {"force": True}, StorageError, "is a folder"),
        ("model", {"force": True}, StorageError, "model holds the source"),
        ("other", {}, StorageError, "other is there already"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_first(
    target: str,
    wishes: dict[str, Any],
    error: type[FromNoiseError],
    said: str,
    sd1: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "there.ckpt").write_bytes(b"precious")
    for folder, file in (
        ("home", "letter.txt"),
        ("home.ckpt", "a"),
        ("model", "model_index.json"),
        ("other", "model_index.json"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("{}")
    source = sd1
    if target == "model":
        source = sd1.rename(tmp_path / "model/sd1.safetensors")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=said):
        run(source, tmp_path / target, **wishes)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "there.ckpt").read_bytes() == b"precious"


def test_force_replaces_a_file_and_a_folder(sd1: Path, tmp_path: Path) -> None:
    (tmp_path / "b.ckpt").write_bytes(b"old")
    run(sd1, tmp_path / "b.ckpt", force=True)
    assert same(read(tmp_path / "b.ckpt"), load_file(sd1))
    run(sd1, tmp_path / "c")
    (tmp_path / "c/left_over.txt").write_text("old")
    run(sd1, tmp_path / "c", force=True)
    assert not (tmp_path / "c/left_over.txt").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"sd1.safetensors", "b.ckpt", "c"}


def test_a_full_disk_is_noticed_before_anything_is_written(
    sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("fromnoise.durable.disk_usage", lambda folder: Usage)
    with pytest.raises(StorageError, match="1000 bytes free"):
        run(sd1, tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["sd1.safetensors"]


@pytest.mark.parametrize("target", ["b.ckpt", "b.safetensors", "b"])
def test_a_disk_that_fills_up_half_way_leaves_nothing_behind(target: str, sd1: Path, tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sd1.stat().st_size // 2, most))  # in place of a full disk
    try:
        with pytest.raises(StorageError, match=rf"cannot write .*{target}: File too large") as e:
            run(sd1, tmp_path / target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert "free some space" in e.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["sd1.safetensors"]


def test_a_disk_that_loses_what_it_took_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int) -> None:
        raise OSError(EIO, "Input/output error")

    monkeypatch.setattr("fromnoise.weights.draft_writer.os.fsync", broken)
    with (tmp_path / "a").open("wb") as file:
        disk = Disk(file)
        disk.more(LAG)  # begins to flush
        disk.thread.shutdown()
        with pytest.raises(OSError, match="Input/output error"):
            disk.more(LAG)


@pytest.mark.parametrize("target", ["b.ckpt", "b.safetensors", "b"])
def test_an_interruption_leaves_nothing_behind(target: str, sd1: Path, tmp_path: Path) -> None:
    def stop(done: float, note: str) -> None:
        if done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(sd1, tmp_path / target, Wishes(), spell, stop)
    assert [path.name for path in tmp_path.iterdir()] == ["sd1.safetensors"]


def test_an_interruption_leaves_the_old_model_as_it_was(sd1: Path, tmp_path: Path) -> None:
    run(sd1, tmp_path / "b")
    before = {path: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()}

    def stop(done: float, note: str) -> None:
        if done > 0.9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(sd1, tmp_path / "b", Wishes(force=True), spell, stop)
    assert {path: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()} == before


def test_a_disk_that_forgets_is_noticed(sd1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(path: Path) -> Any:
        if path.name.endswith(".part"):
            data = bytearray(path.read_bytes())
            data[-1] ^= 1
            path.write_bytes(data)
        return open_weights(path)

    monkeypatch.setattr("fromnoise.weights.draft_writer.open_weights", forgetful)
    with pytest.raises(WeightsError, match="is not on the disk as it was written"):
        run(sd1, tmp_path / "b.safetensors", verify=True)
    assert not (tmp_path / "b.safetensors").exists()


def test_a_tensor_passes_through_in_pieces(tmp_path: Path) -> None:
    large = torch.arange(PIECE, dtype=torch.int16)
    save_file({"small": torch.ones(3), "large": large}, tmp_path / "a.safetensors")
    with open_weights(tmp_path / "a.safetensors") as stored:
        supply = Supply()
        supply.add(stored)
        pieces = [bytes(piece) for piece in supply.pieces("large")]
        assert [len(piece) for piece in pieces] == [PIECE, PIECE]
        assert b"".join(pieces) == bits(large)
        assert torch.equal(supply.tensor("large"), large)
        (tmp_path / "a.safetensors").write_bytes(b"")
        with pytest.raises(WeightsError, match="became shorter while 'large' was read"):
            list(supply.pieces("large"))
        supply.files.close()


def test_words_that_were_added_to_a_vocabulary_go_along(tmp_path: Path) -> None:
    spec = SPECS["sd1"]
    (text,) = spec.texts
    parts = tiny_parts(replace(spec, texts=(replace(text, vocab=text.vocab + 1),)))
    added = {"<cat>": text.vocab}
    source = write_folder(replace(parts, tokenizers=()), tmp_path / "folder")
    write_tokenizer(source / "tokenizer", parts.tokenizers[0]["merges"], text.vocab)
    write_json(source / "tokenizer" / "added_tokens.json", added)
    ours, single = tmp_path / "ours.safetensors", tmp_path / "single.safetensors"
    convert(source, ours, Wishes(to="ours"), cli_spell, lambda *_: None)
    assert load_native(ours).tokenizers[0]["added"] == added
    for start in (source, ours):
        target = tmp_path / f"from_{start.stem}"
        convert(start, target, Wishes(), cli_spell, lambda *_: None)
        assert json.loads((target / "tokenizer" / "added_tokens.json").read_text()) == added
    report = convert(source, single, Wishes(), cli_spell, lambda *_: None)
    assert report.left_out["added_tokens.json"] == "no place for it in this format"
