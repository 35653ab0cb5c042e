import json
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from marathon import RECIPE, Line
from torch import Tensor

from fromnoise import durable
from fromnoise.errors import NonFiniteError, StorageError, WeightsError
from fromnoise.train import log, loop, meter
from fromnoise.train.log import LOG, Log
from fromnoise.train.loop import TRUNK, fit
from fromnoise.train.recipe import Progress, Recipe
from fromnoise.train.state import DAMAGED, LATEST, PREVIOUS, read_checkpoint

SHORT = replace(RECIPE, steps=20, save_every=inf, look_every=8)


def until(progress: Iterator[Progress], step: int) -> Progress:
    """Let a training come to this step."""
    return next(p for p in progress if p.step == step)


def stopped_at(folder: Path, *steps: int, recipe: Recipe = SHORT) -> None:
    """A training that was stopped at each of these steps."""
    for step in steps:
        training = fit(Line(), recipe, folder)
        until(training, step)
        training.close()


def count_saves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    saves: list[int] = []
    real = loop.keep

    def keep(folder: Path, tensors: dict[str, Tensor], facts: dict[str, int]) -> None:
        saves.append(facts["step"])
        real(folder, tensors, facts)

    monkeypatch.setattr(loop, "keep", keep)
    return saves


def test_stopping_saves_once_and_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves = count_saves(monkeypatch)
    stopped_at(tmp_path, 7)
    assert saves == [7]
    assert read_checkpoint(tmp_path / LATEST).facts["step"] == 7


def test_what_is_saved_already_is_not_saved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves = count_saves(monkeypatch)
    training = fit(Line(), replace(SHORT, save_every=0.0), tmp_path)
    until(training, 3)
    assert saves == [1, 2]
    training.close()
    assert saves == [1, 2, 3]
    fit(Line(), SHORT, tmp_path).close()
    next(fit(Line(), SHORT, tmp_path))
    assert saves == [1, 2, 3]


def test_an_interrupt_in_the_middle_of_a_step_saves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(Line(), SHORT, tmp_path / "whole")
    list(whole)
    training = fit(Line(), SHORT, tmp_path / "broken")
    until(training, 5)
    training.close()
    training = fit(Line(), SHORT, tmp_path / "broken")
    until(training, 9)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Ema, "update", interrupted)  # the weights are updated, their averages are not
        with pytest.raises(KeyboardInterrupt):
            next(training)
    assert read_checkpoint(tmp_path / "broken" / LATEST).facts["step"] == 5
    list(fit(Line(), SHORT, tmp_path / "broken"))
    ours, theirs = (read_checkpoint(tmp_path / name / LATEST).tensors for name in ("broken", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


class Breaking(Line):
    """A task that goes wrong at a step."""

    def __init__(self, step: int, how: str) -> None:
        super().__init__()
        self.step, self.how = step, how

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        loss, figures = super().loss(step)
        if step < self.step:
            return loss, figures
        if self.how == "gradient":  # finite itself, but its slope at zero is not
            return loss + (self.modules.weight.sum() * 0).sqrt(), figures
        return loss * (nan if self.how == "nan" else inf), figures


@pytest.mark.parametrize(
    ("how", "message"),
    [("nan", "line loss is nan"), ("inf", "line loss is inf"), ("gradient", "line gradient is nan")],
)
def test_numbers_that_are_not_finite_stop_the_training_and_spare_the_last_good_state(
    tmp_path: Path, how: str, message: str
) -> None:
    stopped_at(tmp_path, 6)
    before = (tmp_path / LATEST).read_bytes()
    told = rf"{message} at step 10\n.*lower the learning rate \(0\.05\)"
    with pytest.raises(NonFiniteError, match=told) as one:
        list(fit(Breaking(10, how), SHORT, tmp_path))
    assert one.value.hint.endswith(f"{tmp_path} holds the last good state")
    assert (tmp_path / LATEST).read_bytes() == before
    with pytest.raises(NonFiniteError) as other:
        list(fit(Breaking(2, how), SHORT, tmp_path / "afresh"))
    assert other.value.hint.endswith("nothing was saved yet, so it begins anew")
    assert not (tmp_path / "afresh" / LATEST).exists()


def test_another_tasks_or_networks_checkpoint_is_refused(tmp_path: Path) -> None:
    stopped_at(tmp_path, 2)
    other = Line()
    other.name = "curve"
    with pytest.raises(WeightsError, match=r"latest.safetensors holds a training of line, not of curve"):
        next(fit(other, SHORT, tmp_path))
    with pytest.raises(WeightsError, match=r"another line: weight is \(3, 4\) in it, \(3, 5\) in ours"):
        next(fit(Line(inside=5), SHORT, tmp_path))
    assert read_checkpoint(tmp_path / LATEST).facts["step"] == 2


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1  # one bit of one number: only the checksum can tell
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("harm", [damage, cut])
def test_a_damaged_checkpoint_gives_way_to_the_previous_one_and_is_told(tmp_path: Path, harm: object) -> None:
    stopped_at(tmp_path, 4, 8)
    harm(tmp_path / LATEST)  # type: ignore[operator]
    training = fit(Line(), SHORT, tmp_path)
    first = next(training)
    assert first.step == 4
    assert first.notes[0].startswith(str(tmp_path / LATEST))
    assert first.notes[0].endswith("going back to previous.safetensors")
    assert json.loads((tmp_path / LOG).read_text("utf-8").splitlines()[-1])["notes"] == list(first.notes)

    assert (tmp_path / DAMAGED).exists()
    until(training, 8)
    training.close()
    assert read_checkpoint(tmp_path / PREVIOUS).facts["step"] == 4  # not the damaged one
    list(fit(Line(), SHORT, tmp_path))
    list(fit(Line(), SHORT, tmp_path / "whole"))
    ours, theirs = (read_checkpoint(path / LATEST).tensors for path in (tmp_path, tmp_path / "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_training_never_begins_anew_where_no_checkpoint_can_be_read(tmp_path: Path) -> None:
    stopped_at(tmp_path, 4, 8)
    damage(tmp_path / LATEST)
    cut(tmp_path / PREVIOUS)
    with pytest.raises(WeightsError, match=r"no checkpoint in .* can be read.*\n.*delete the folder"):
        next(fit(Line(), SHORT, tmp_path))


def test_another_recipe_is_taken_up_and_told(tmp_path: Path) -> None:
    stopped_at(tmp_path, 4)
    longer = replace(SHORT, steps=30, lr=0.01, betas=(0.9, 0.95), ema=None)
    first = next(fit(Line(), longer, tmp_path))
    assert first.notes == (
        "going on from step 4",
        "the recipe has changed: steps 20 -> 30, lr 0.05 -> 0.01, betas [0.9, 0.99] -> [0.9, 0.95], "
        "ema 0.08 -> None",
    )
    assert first.of == 30
    assert next(fit(Line(), SHORT, tmp_path)).notes == ("going on from step 4",)


def test_averages_can_be_switched_on_later(tmp_path: Path) -> None:
    stopped_at(tmp_path, 4, recipe=replace(SHORT, ema=None))
    before = read_checkpoint(tmp_path / LATEST).tensors
    run = loop.Run(Line(), SHORT, tmp_path)
    assert run.ema is not None
    assert torch.equal(run.ema.averages["weight"], before["model.weight"])


def test_a_recipe_with_fewer_steps_than_are_done_trains_no_more(tmp_path: Path) -> None:
    stopped_at(tmp_path, 12)
    (only,) = fit(Line(), replace(SHORT, steps=10), tmp_path)
    assert only.notes[-1] == "nothing left to train: 12 of 10 steps are done"
    assert read_checkpoint(tmp_path / LATEST).facts["step"] == 12


def test_a_disk_too_full_is_found_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    needed = 4 * 4 * 4 * (3 * 4 + 3)  # four checkpoints of weights, two moments, averages: 15 float32
    monkeypatch.setattr(durable, "disk_usage", lambda _: usage(10**9, 10**9, needed - 1))
    trained: list[int] = []
    task = Line()
    task.loss = lambda step: trained.append(step)  # type: ignore[assignment,method-assign]
    with pytest.raises(StorageError) as error:
        next(fit(task, SHORT, tmp_path))
    assert str(error.value).startswith(
        f"{tmp_path} needs 960 bytes for checkpoints, its disk has 959 bytes free"
    )
    assert trained == []
    monkeypatch.setattr(durable, "disk_usage", lambda _: usage(10**9, 10**9, needed))
    next(fit(Line(), SHORT, tmp_path))


def test_a_disk_needs_room_for_what_is_not_there_yet(tmp_path: Path) -> None:
    fresh = loop.Run(Line(), SHORT, tmp_path / "empty")
    one = fresh.size()
    assert fresh.room() == 4 * one  # two that are kept, the trunk, and the one being written
    assert loop.Run(Line(), replace(SHORT, fall=0.0), tmp_path / "empty").room() == 3 * one
    stopped_at(tmp_path, 3, 6)
    assert loop.Run(Line(), SHORT, tmp_path).room() == 2 * one
    stopped_at(tmp_path, 17)
    assert loop.Run(Line(), SHORT, tmp_path).room() == one


def test_what_takes_long_to_save_is_saved_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = loop.Run(Line(), replace(SHORT, save_every=180.0), tmp_path)
    seconds = iter((0.0, 1.0, 10.0, 70.0))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    run.train_step()
    run.save()
    assert run.pause == 180
    run.train_step()
    run.save()
    assert run.pause == 20 * 60


class Slow(Line):
    """A task that takes two seconds a step, and some for a look."""

    def __init__(self, look: float, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.takes, self.now = look, 0.0
        for module in (loop, meter):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        self.now += 2
        return super().loss(step)

    def look(self, folder: Path, step: int) -> dict[str, float]:
        self.now += self.takes
        return super().look(folder, step)


class Killed(BaseException):
    """As far as a task can tell."""


@pytest.mark.parametrize(("step", "left"), [(8, [8, 16, 20]), (20, [20])])
def test_a_kill_in_a_look_loses_no_step_and_the_look_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, left: list[int]
) -> None:
    task = Slow(150, monkeypatch)
    look = task.look

    def killed(folder: Path, at: int) -> dict[str, float]:
        if at == step:
            raise Killed
        return look(folder, at)

    task.look = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        list(fit(task, replace(SHORT, save_every=180.0), tmp_path))
    assert read_checkpoint(tmp_path / LATEST).facts["step"] == step
    told = [p.step for p in fit(Line(), SHORT, tmp_path) if "weight" in p.figures]
    assert told == left
    assert [p.step for p in fit(Line(), SHORT, tmp_path) if p.figures] == []


@pytest.mark.parametrize(("seconds", "expected"), [(1, [8, 20]), (150, [8, 16, 20]), (1000, [8, 16, 20])])
def test_looks_that_outlast_the_pause_begin_with_a_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, expected: list[int]
) -> None:
    saves = count_saves(monkeypatch)
    list(fit(Slow(seconds, monkeypatch), replace(SHORT, save_every=180.0), tmp_path))
    assert saves == expected


def test_speed_is_that_of_the_steps_and_counts_the_pictures_that_they_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, last = fit(Slow(1000, monkeypatch), SHORT, tmp_path / "batches")
    assert (last.pictures_per_second, last.seconds_a_step) == (SHORT.batch / 2, 2)
    task = Slow(1000, monkeypatch)
    task.pictures = lambda step: 1 + step % 2  # type: ignore[attr-defined]
    *_, last = fit(task, SHORT, tmp_path / "buckets")
    assert (last.pictures_per_second, last.seconds_a_step) == (1.5 / 2, 2)


def test_a_second_process_in_a_folder_is_refused(tmp_path: Path) -> None:
    first = fit(Line(), SHORT, tmp_path)
    until(first, 2)
    with pytest.raises(StorageError, match=rf"another process is at work in {tmp_path}\n.*another folder"):
        next(fit(Line(), SHORT, tmp_path))
    first.close()
    assert {path.name for path in tmp_path.iterdir()} == {LATEST, LOG}
    assert next(fit(Line(), SHORT, tmp_path)).step == 2


def test_figures_are_the_means_of_the_steps_they_cover(tmp_path: Path) -> None:
    told = {p.step: p.figures for p in fit(Line(), SHORT, tmp_path, report_every=5) if p.figures}
    assert list(told) == [5, 8, 10, 15, 16, 20]  # every 5, every look, and the end
    assert [figures["step"] for figures in told.values()] == [2, 6, 8.5, 12, 15, 17.5]
    assert [step for step, figures in told.items() if "weight" in figures] == [8, 16, 20]


def test_the_look_judges_the_averaged_weights_and_leaves_the_others_alone(tmp_path: Path) -> None:
    run = loop.Run(Line(), SHORT, tmp_path)
    for _ in range(10):
        run.train_step()
    assert run.ema is not None
    before = run.parameters["weight"].clone()
    averaged = run.ema.averages["weight"].sum().item()
    assert run.look()["weight"] == pytest.approx(averaged)
    assert torch.equal(run.parameters["weight"], before)
    assert before.sum().item() != pytest.approx(averaged)


def test_the_state_before_the_rate_falls_is_kept(tmp_path: Path) -> None:
    list(fit(Line(), SHORT, tmp_path))
    assert read_checkpoint(tmp_path / TRUNK).facts["step"] == 15
    (tmp_path / "longer").mkdir()
    (tmp_path / TRUNK).rename(tmp_path / "longer" / LATEST)
    list(fit(Line(), replace(SHORT, steps=40), tmp_path / "longer"))
    list(fit(Line(), replace(SHORT, steps=40), tmp_path / "afresh"))
    ours, theirs = (read_checkpoint(tmp_path / name / LATEST).tensors for name in ("longer", "afresh"))
    assert all(
        torch.equal(ours[name], theirs[name]) for name in theirs
    )  # as if it had been meant from the start


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    recipe = Recipe(steps=1000, batch=1, lr=2.0, warmup=10)
    assert [recipe.rate(step) for step in (0, 4, 9, 10, 749)] == pytest.approx([0.2, 1.0, 2.0, 2.0, 2.0])
    assert recipe.rate(875) == pytest.approx(1.0)
    assert recipe.rate(999) == pytest.approx(0.008)


def test_the_training_learns(tmp_path: Path) -> None:
    task = Line()
    list(fit(task, RECIPE, tmp_path))
    assert torch.allclose(task.modules.weight, task.truth, atol=0.05)


def line(time: float, step: int, **more: object) -> str:
    return json.dumps({"time": time, "step": step, "figures": {"loss": 1.0}, **more}) + "\n"


def test_pauses_and_torn_lines_do_not_count_as_training(tmp_path: Path) -> None:
    begin: dict[str, object] = {"figures": {}}
    (tmp_path / LOG).write_text(
        line(100, 0, **begin)
        + line(110, 5)
        + line(125, 10)
        + line(9000, 8, **begin)
        + line(9010, 10)
        + '{"time": 9015, "st',
        encoding="utf-8",
    )
    ours = Log(tmp_path)
    assert ours.seconds() == 35
    ours.write(Progress(12, 20, 0.1, 1.0, 8.0, {"loss": 0.5}))
    assert [entry["step"] for entry in ours.lines()] == [0, 5, 10, 8, 10, 12]


def test_a_log_that_cannot_be_written_is_a_matter_of_storage(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*log\.jsonl"):
        next(fit(Line(), SHORT, tmp_path))


def test_a_tensorboard_that_is_broken_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise TypeError(f"Descriptors cannot be created directly: {name}")

    monkeypatch.setattr(log, "import_module", broken)
    told = [note for p in fit(Line(), SHORT, tmp_path, report_every=5) for note in p.notes]
    assert len(told) == 1
    assert told[0].startswith("TensorBoard does not work, and is told nothing: Descriptors cannot be")


def test_a_log_can_be_read_up_to_a_step(tmp_path: Path) -> None:
    begin: dict[str, object] = {"figures": {}}
    steps = line(100, 0, **begin) + line(110, 5) + line(9000, 5, **begin) + line(9010, 10)
    (tmp_path / LOG).write_text(steps, encoding="utf-8")
    assert [entry["step"] for entry in Log(tmp_path).lines(5)] == [0, 5, 5]
    assert (Log(tmp_path).seconds(5), Log(tmp_path).seconds()) == (10, 20)
