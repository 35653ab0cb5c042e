import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from shutil import copytree

import pytest
import torch
from click.testing import CliRunner
from conftest import Rehearsal
from PIL import Image

from fromnoise.cli.app import app
from fromnoise.errors import FromNoiseError, RequestError, StorageError, WeightsError
from fromnoise.nets.oracle import Oracle
from fromnoise.pipeline import Pipeline
from fromnoise.train import ship, stages
from fromnoise.train.presets import MITE_RUN, TINY_RUN
from fromnoise.train.state import LATEST, PREVIOUS, read_checkpoint, under, write_checkpoint
from fromnoise.weights.native import load_native


def test_every_stage_takes_every_step_and_says_so(rehearsal: Rehearsal) -> None:
    for stage, progress in rehearsal.told.items():
        assert [p.step for p in progress] == [0, 1, 2, 3, 4], stage
        assert [bool(p.figures) for p in progress] == [False, False, True, False, True], stage
        assert progress[0].seconds_left is None
        assert progress[-1].seconds_left == 0


def test_every_figure_is_explained_in_the_docs(rehearsal: Rehearsal) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
    for stage, progress in rehearsal.told.items():
        section = page.split(f"\n### {stage}\n")[1].split("\n### ")[0]
        assert [name for name in progress[-1].figures if f"`{name}`" not in section] == [], stage


def test_sheets_are_left_to_be_looked_at(rehearsal: Rehearsal) -> None:
    for stage, size in (("vae", (8 * 34 - 2, 4 * 34 - 2)), ("unet", (8 * 34 - 2, 32))):
        with Image.open(rehearsal.folder / stage / "sheet-000004.png") as sheet:
            assert sheet.size == size


def test_the_assembled_model_draws_what_the_trained_parts_draw(rehearsal: Rehearsal) -> None:
    parts = load_native(rehearsal.model)
    pipeline = Pipeline.of(parts)
    result = pipeline("a red lighthouse on an island at sunset", seed=1, steps=2)
    assert (result.pictures[0].width, result.pictures[0].height) == (32, 32)
    trained = read_checkpoint(rehearsal.folder / "unet" / stages.WEIGHTS).tensors
    for name, tensor in under("unet", trained).items():
        assert torch.equal(parts.unet.state_dict()[name], tensor.half().float()), name
    alone = read_checkpoint(rehearsal.folder / "decoder" / stages.WEIGHTS).tensors
    assert torch.equal(parts.decoder.leave.weight, alone["leave.weight"].half().float())
    assert parts.spec.vae == stages.read_vae_spec(rehearsal.folder)
    assert len(parts.spec.vae.latent_std) == parts.spec.vae.latent_channels
    assert parts.tokenizers[0] == json.loads((rehearsal.folder / "tokenizer.json").read_text("utf-8"))


def test_a_model_of_bytes_is_smaller_and_nearly_the_same(rehearsal: Rehearsal, tmp_path: Path) -> None:
    small = tmp_path / "small.safetensors"
    stages.assemble(rehearsal.folder, small, TINY_RUN, small=True)
    assert small.stat().st_size < rehearsal.model.stat().st_size
    parts, same = load_native(small), load_native(rehearsal.model)
    assert torch.equal(parts.decoder.leave.weight, same.decoder.leave.weight)
    one, other = parts.unet.leave.weight, same.unet.leave.weight
    assert 0 < (one - other).abs().max() <= other.abs().max() / 200


def test_the_model_knows_its_words_and_how_to_preview(rehearsal: Rehearsal) -> None:
    parts = load_native(rehearsal.model)
    known = parts.about["words"]
    assert known == sorted(known)
    assert {"a", "at", "red"} <= set(known)
    reader = Pipeline.of(parts).reader
    assert [stranger for stranger, _ in reader.strangers("a red zeppelin", known)] == ["zeppelin"]
    assert len(parts.about["sketch"]["weight"]) == 3


def test_the_card_tells_how_the_model_came_to_be(rehearsal: Rehearsal) -> None:
    card = rehearsal.card
    assert card == load_native(rehearsal.model).about["card"]
    assert card["scenes"] == 64
    assert set(card["stages"]) == {"oracle", "vae", "decoder", "clip", "unet"}
    assert card["stages"]["vae"]["steps"] == 4
    assert card["stages"]["vae"]["recipe"]["lr"] == TINY_RUN.vae.lr
    assert card["stages"]["unet"]["figures"]["loss"] == pytest.approx(
        rehearsal.told["unet"][-1].figures["loss"], abs=1e-4
    )
    assert card["date"].startswith("20")


def test_the_checksum_beside_the_model_is_its_own(rehearsal: Rehearsal) -> None:
    text = rehearsal.model.with_suffix(".sha256").read_text("ascii")
    assert text == f"{sha256(rehearsal.model.read_bytes()).hexdigest()}  model.safetensors\n"


def test_the_latents_have_unit_variance(rehearsal: Rehearsal) -> None:
    latents = stages.unet_task(rehearsal.folder, TINY_RUN).pool.latents
    assert latents.shape == (64, 4, 4, 4)
    stages.unit_variance(latents)
    with pytest.raises(
        WeightsError, match=r"mean -?0\.00\d and spread [34]\.\d\d\d, not 0 ± 0\.05 and 1 ± 0\.02"
    ):
        stages.unit_variance(4 * latents)
    with pytest.raises(WeightsError, match=r"mean 0\.5"):
        stages.unit_variance(latents + 0.5)
    with pytest.raises(WeightsError, match="mean nan"):
        stages.unit_variance(latents * float("nan"))


def copied(rehearsal: Rehearsal, to: Path) -> Path:
    return copytree(rehearsal.folder, to / "run")


def test_training_on_latents_of_the_wrong_scale_is_refused(rehearsal: Rehearsal, tmp_path: Path) -> None:
    folder = copied(rehearsal, tmp_path)
    path = folder / "latents" / "spec.safetensors"
    facts = read_checkpoint(path).facts
    facts["vae"]["latent_std"] = [2 * std for std in facts["vae"]["latent_std"]]
    write_checkpoint(path, {}, facts)
    with pytest.raises(WeightsError, match=r"spread 0\.5\d\d"):
        next(stages.train_unet(folder, TINY_RUN))


def test_latents_of_another_autoencoder_are_refused(rehearsal: Rehearsal, tmp_path: Path) -> None:
    folder = copied(rehearsal, tmp_path)
    longer = TINY_RUN.told("vae", steps=6)
    list(stages.train_vae(folder, longer))
    for stage in (stages.cache_latents, stages.train_unet):
        with pytest.raises(WeightsError, match="made by another encoder"):
            next(stage(folder, longer))
    with pytest.raises(WeightsError, match="made by another encoder"):
        stages.assemble(folder, tmp_path / "model.safetensors", longer)


@pytest.mark.parametrize(
    ("missing", "stage", "error", "message"),
    [
        ("pool", stages.train_vae, StorageError, "fromnoise train pool"),
        ("tokenizer.json", stages.train_clip, StorageError, "fromnoise train tokenizer"),
        ("vae", stages.cache_latents, StorageError, "fromnoise train vae"),
        ("clip", stages.train_unet, StorageError, "fromnoise train clip"),
        ("latents", stages.train_unet, StorageError, "fromnoise train latents"),
    ],
)
def test_a_stage_names_the_one_that_must_come_first(
    rehearsal: Rehearsal,
    tmp_path: Path,
    missing: str,
    stage: object,
    error: type[FromNoiseError],
    message: str,
) -> None:
    for part in rehearsal.folder.iterdir():
        if part.name != missing:
            (tmp_path / part.name).symlink_to(part)
    with pytest.raises(error, match=message):
        next(stage(tmp_path, TINY_RUN))  # type: ignore[operator]


def test_a_run_of_another_preset_is_refused(rehearsal: Rehearsal) -> None:
    with pytest.raises(WeightsError, match=r"oracle holds another network than this model's.*size mismatch"):
        stages.load_part(Oracle(MITE_RUN.oracle_spec), rehearsal.folder / "oracle")
    larger = replace(TINY_RUN.spec, texts=(replace(TINY_RUN.spec.texts[0], vocab=2048),))
    with pytest.raises(WeightsError, match="1024 tokens, 32 at once; tiny-mite reads 2048"):
        stages.load_tokenizer(rehearsal.folder, larger)


def test_a_pool_that_is_too_small_to_hold_scenes_out_is_refused(rehearsal: Rehearsal) -> None:
    with pytest.raises(RequestError, match=r"64 of its 64 scenes are to be held out"):
        next(stages.train_oracle(rehearsal.folder, TINY_RUN.told("oracle", held_out=64)))


def test_an_unfinished_stage_hands_on_its_newest_averages(rehearsal: Rehearsal, tmp_path: Path) -> None:
    folder = copied(rehearsal, tmp_path)
    (folder / "oracle" / stages.WEIGHTS).unlink()
    unfinished = stages.load_part(Oracle(TINY_RUN.oracle_spec), folder / "oracle").state_dict()
    finished = stages.load_part(Oracle(TINY_RUN.oracle_spec), rehearsal.folder / "oracle").state_dict()
    assert all(torch.equal(unfinished[name], finished[name]) for name in finished)


def test_of_a_finished_stage_that_is_trained_further_the_finished_weights_are_told_of(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    folder = copied(rehearsal, tmp_path)
    further = stages.train_oracle(folder, TINY_RUN.told("oracle", steps=8))
    assert [next(further).step for _ in range(4)] == [4, 5, 6, 7]
    further.close()  # type: ignore[attr-defined]
    with pytest.warns(RuntimeWarning, match=r"trained further, to step 7; its weights of step 4 are used"):
        told = ship.told(folder / "oracle")
    assert (told["steps"], told["figures"]) == (4, rehearsal.card["stages"]["oracle"]["figures"])
    assert told["seconds"] == rehearsal.card["stages"]["oracle"]["seconds"]


def test_a_stage_that_was_stopped_before_it_first_saved_stands_in_nobodys_way(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    folder = copied(rehearsal, tmp_path)
    for stage in ("decoder", "oracle", "turbo"):
        for name in (stages.WEIGHTS, LATEST, PREVIOUS):
            (folder / stage / name).unlink(missing_ok=True)
        assert (folder / stage).is_dir()
    stages.unet_task(folder, TINY_RUN)
    stages.turbo_task(folder, TINY_RUN)
    out = tmp_path / "out"
    out.mkdir()
    done = CliRunner().invoke(
        app, ["train", "assemble", str(folder), "--tiny", "-o", str(out / "m.safetensors")]
    )
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {"m.safetensors", "m.sha256"}
    assert done.stdout == f"{out / 'm.safetensors'}\n"


def test_a_checker_that_cannot_be_shipped_is_known_before_anything_is_written(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    folder, out = copied(rehearsal, tmp_path), tmp_path / "m.safetensors"
    path = folder / "oracle" / stages.WEIGHTS
    write_checkpoint(path, {}, read_checkpoint(path).facts)
    done = CliRunner().invoke(app, ["train", "assemble", str(folder), "--tiny", "-o", str(out)])
    assert done.exit_code == WeightsError.exit_code
    assert not out.exists()


def test_presets_change_one_recipe_at_a_time() -> None:
    told = MITE_RUN.told("vae", steps=7)
    assert (told.vae.steps, told.vae.lr) == (7, MITE_RUN.vae.lr)
    assert replace(told, vae=MITE_RUN.vae) == MITE_RUN
