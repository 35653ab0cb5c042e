import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import torch
import torch.nn.functional as F
from conftest import Rehearsal
from PIL import Image
from safetensors import safe_open
from test_resume import same

from fromnoise.errors import RequestError, SpecError, WeightsError
from fromnoise.loading import load
from fromnoise.nets.diffusion import UNet
from fromnoise.noise.denoiser import Conditioning, Process
from fromnoise.noise.guidance import guided
from fromnoise.noise.samplers import SAMPLERS
from fromnoise.noise.seeds import PerImageNoise
from fromnoise.train import stages
from fromnoise.train.loop import fit
from fromnoise.train.presets import MITE, TINY_RUN
from fromnoise.train.ship import assemble
from fromnoise.train.state import LATEST, read_checkpoint
from fromnoise.train.turbo import TurboRecipe, TurboTask
from fromnoise.weights.native import Parts, load_native

RECIPE = TINY_RUN.turbo
NOTHING = Conditioning(torch.zeros(1, 1, 1))


@pytest.fixture(scope="module")
def parts(rehearsal: Rehearsal) -> Parts:
    """The rehearsal's model with a U-Net that says more than one after four steps of training."""
    parts = load_native(rehearsal.model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return replace(parts, unet=UNet(parts.spec.unet).eval().requires_grad_(False))


def task_of(rehearsal: Rehearsal, parts: Parts, recipe: TurboRecipe = RECIPE) -> TurboTask:
    made = stages.turbo_task(rehearsal.folder, TINY_RUN)
    rest = (made.text, parts.decoder, made.tokens, made.encode, made.prompts, recipe)
    return TurboTask(made.spec, parts.unet, *rest)


@pytest.fixture(scope="module")
def task(rehearsal: Rehearsal, parts: Parts) -> TurboTask:
    return task_of(rehearsal, parts)


def test_at_first_the_student_says_what_the_unguided_teacher_says(
    task: TurboTask, rehearsal: Rehearsal, parts: Parts
) -> None:
    z = torch.randn(3, *task.shape)
    cond = task._read(task.tokens[:3, 0])
    unguided = task_of(rehearsal, parts, replace(RECIPE, guidance=1.0))
    first = task.unguided(z, 0.5, 0.0, cond)
    assert torch.allclose(first, unguided.guided(z, 0.5, 0.0, cond), atol=0.02)
    assert (first - task.guided(z, 0.5, 0.0, cond)).abs().max() > 0.1


def test_the_student_walks_by_the_levels_of_the_sampler(task: TurboTask) -> None:
    assert task.times(4) == pytest.approx([1.0, 6 / 7, 2 / 3, 0.4, 0.0], abs=1e-6)  # shifted by 2
    assert task.shape == (4, 4, 4)


def test_a_lesson_is_the_mean_of_the_teachers_steps(task: TurboTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Along v(z, t) = 4 t z, from z = 2 at 0.75 to 0.25: first 6, which leads to 0.5 at 0.5; there 1."""
    monkeypatch.setattr(task, "guided", lambda z, t, end, cond: 4 * t * z)
    z = torch.full((1, 1, 1, 1), 2.0)
    assert task.lesson(z, 0.75, 0.25, NOTHING).item() == pytest.approx((6 + 1.5 * 1 - 0.5 * 6) / 2)


def test_the_teachers_strides_end_nearer_to_its_path_than_eulers(
    task: TurboTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of v(z) = z goes from 1 to exp(-1)."""
    monkeypatch.setattr(task, "guided", lambda z, t, end, cond: z)
    start, there = torch.ones(1, 1, 1, 1), torch.tensor(-1.0).exp()
    taught, firsts = ((task.walk(way, start, NOTHING) - there).abs() for way in (task.lesson, task.guided))
    assert taught < 0.3 * firsts


def test_a_walk_is_the_samplers(task: TurboTask) -> None:
    process, eps = Process.of(task.spec), torch.randn(2, *task.shape)
    cond = task._read(task.tokens[:2, 0])
    sigmas = process.schedule.sigmas(RECIPE.strides, "uniform")
    denoise = guided(
        process.denoiser(task.teacher, cond.context.dtype), cond, task.silence.expand(2), task.recipe.guidance
    )
    with torch.no_grad():
        *_, last = SAMPLERS["euler"](
            denoise, process.start(eps, sigmas[0]), sigmas, noise=PerImageNoise((0,))
        )
    off = F.mse_loss(task.walk(task.guided, eps, cond), last.x)
    assert off < 0.05 * F.mse_loss(task.walk(task.unguided, eps, cond), last.x)


def test_it_comes_nearer_to_the_teacher(rehearsal: Rehearsal, parts: Parts, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=16, lr=5e-3, look_every=99, ema=None, rank=4, guidance=20.0)
    task = task_of(rehearsal, parts, recipe)
    before = task.look(tmp_path, 0)
    list(fit(task, recipe, tmp_path / "turbo"))
    after = task.look(tmp_path, 16)
    assert after["apart"] < 0.9 * before["apart"]
    assert after["untaught"] == before["untaught"]  # the teacher rests


def test_stopping_and_going_on_is_the_same_as_not_stopping(rehearsal: Rehearsal, tmp_path: Path) -> None:
    recipe = replace(RECIPE, look_every=9)

    def task() -> TurboTask:
        return stages.turbo_task(rehearsal.folder, TINY_RUN)

    list(fit(task(), recipe, tmp_path / "whole"))
    first = fit(task(), recipe, tmp_path / "halves")
    while next(first).step < 2:
        pass
    first.close()
    list(fit(task(), recipe, tmp_path / "halves"))
    assert same(*(read_checkpoint(tmp_path / name / LATEST) for name in ("whole", "halves")))


def test_only_models_that_predict_a_velocity_have_a_turbo(task: TurboTask) -> None:
    spec = replace(MITE, prediction="v", schedule=replace(MITE.schedule, kind="linear"))
    parts = (task.teacher, task.text, task.decoder, task.tokens, task.encode, (), RECIPE)
    with pytest.raises(SpecError, match="predict a flow velocity; mite: v"):
        TurboTask(spec, *parts)


def test_a_sheet_shows_student_and_teacher(rehearsal: Rehearsal) -> None:
    with Image.open(rehearsal.folder / "turbo" / "sheet-000004.png") as sheet:
        assert sheet.size == (8 * 34 - 2, 32)  # two prompts, both ways


# --- its file ---


def test_the_model_draws_with_it_by_name_in_its_own_steps(rehearsal: Rehearsal) -> None:
    quick = rehearsal.model.with_name("model.turbo.safetensors")
    assert quick.with_suffix(".sha256").read_text("ascii").endswith("  model.turbo.safetensors\n")
    with safe_open(quick, framework="pt") as file:
        assert json.loads(file.metadata()["card"])["recipe"]["strides"] == RECIPE.strides
        assert {str(file.get_tensor(name).dtype) for name in file.keys() if "weight" in name} == {  # noqa: SIM118
            "torch.float16"
        }
    pipe = load(rehearsal.model)
    plain = pipe("a red boat", seed=1)
    result = pipe("a red boat", seed=1, adapters=("turbo",))
    assert (plain.request.steps, plain.request.guidance) == (4, 4.5)
    assert (result.request.steps, result.request.guidance) == (RECIPE.strides, 1.0)
    (use,) = result.request.adapters or ()
    assert (use.name, use.scale, len(use.hash)) == ("turbo", 1.0, 10)
    again = load(rehearsal.model)(result.request)
    assert again.pictures == result.pictures
    chosen = pipe("a red boat", seed=1, adapters=("turbo",), steps=3, guidance=2.0).request
    assert (chosen.steps, chosen.guidance) == (3, 2.0)
    pipe.attach("turbo")
    assert pipe("a red boat", seed=1).pictures == result.pictures
    pipe.detach("turbo")
    assert pipe("a red boat", seed=1).pictures == plain.pictures


def test_the_file_holds_what_was_learned(rehearsal: Rehearsal, task: TurboTask) -> None:
    learned = read_checkpoint(rehearsal.folder / "turbo" / stages.WEIGHTS).tensors
    pipe = load(rehearsal.model, dtype="float32")
    before = pipe.unet.state_dict()
    pipe.attach("turbo")
    name = "mid.1.enter"
    up, down = (learned[f"{name.replace('.', '-')}.{part}.weight"].half().float() for part in ("up", "down"))
    expected = before[f"{name}.weight"].float() + up @ down
    assert torch.allclose(pipe.unet.get_submodule(name).weight, expected, atol=1e-5)
    assert len(learned) == 2 * len(task.modules)


def test_it_is_refused_after_another_training_of_the_unet(rehearsal: Rehearsal, tmp_path: Path) -> None:
    folder = copytree(rehearsal.folder, tmp_path / "run")
    longer = TINY_RUN.told("unet", steps=6)
    list(stages.train_unet(folder, longer))
    for stage in (
        lambda: next(stages.train_turbo(folder, longer)),
        lambda: assemble(folder, tmp_path / "m.safetensors", longer),
    ):
        with pytest.raises(WeightsError, match="learned from another U-Net than the one in unet/") as caught:
            stage()
        assert not (tmp_path / "m.safetensors").exists()
        assert "fromnoise train turbo" in (caught.value.hint or "")
        assert "--newer-unet" in (caught.value.hint or "")


def test_it_goes_on_with_the_newer_unet_if_told(rehearsal: Rehearsal, tmp_path: Path) -> None:
    folder = copytree(rehearsal.folder, tmp_path / "run")
    list(stages.train_unet(folder, TINY_RUN.told("unet", steps=6)))
    with pytest.raises(RequestError, match=f"steps: {RECIPE.steps} are taken already"):
        next(stages.train_turbo(folder, TINY_RUN, newer_unet=True))
    longer = TINY_RUN.told("turbo", steps=RECIPE.steps + 1)
    next(stages.train_turbo(folder, longer, newer_unet=True))  # stopped before its first step
    with pytest.raises(WeightsError, match="has not yet learned from the newer U-Net") as caught:
        assemble(folder, tmp_path / "m.safetensors", longer)
    assert f"--steps N, with N above {RECIPE.steps}" in (caught.value.hint or "")
    told = list(stages.train_turbo(folder, longer, newer_unet=True))
    assert [now.step for now in told][-1] == RECIPE.steps + 1
    assemble(folder, tmp_path / "m.safetensors", longer)
    assert load(tmp_path / "m.safetensors")("a red boat", seed=1, adapters=("turbo",)).request.guidance == 1


def test_without_a_turbo_a_model_is_assembled_all_the_same(rehearsal: Rehearsal, tmp_path: Path) -> None:
    for part in rehearsal.folder.iterdir():
        if part.name != "turbo":
            (tmp_path / part.name).symlink_to(part)
    (tmp_path / "out").mkdir()
    assemble(tmp_path, tmp_path / "out" / "model.safetensors", TINY_RUN)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.safetensors", "model.sha256"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == rehearsal.model.read_bytes()
