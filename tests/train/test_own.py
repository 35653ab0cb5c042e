"""A folder of pictures teaches a model: a LoRA, a word, a whole U-Net; stopped and gone on, to the bit."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from albums import picture, ramp
from torch import Tensor

from fromnoise.durable import disk_usage
from fromnoise.errors import NonFiniteError, RequestError, StorageError, WeightsError
from fromnoise.noise.denoiser import Process
from fromnoise.pipeline import Pipeline
from fromnoise.specs import TINY, ModelSpec, Prediction
from fromnoise.train import loop
from fromnoise.train.lock import only_one_in
from fromnoise.train.own import Session, Wishes
from fromnoise.train.own.memory import forget_between
from fromnoise.train.own.objective import times_for, weights_for
from fromnoise.train.own.prior import PRIOR
from fromnoise.train.recipe import Progress
from fromnoise.train.state import LATEST, PREVIOUS, newest, read_checkpoint, write_checkpoint
from fromnoise.weights.native import Parts, load_native

Build = Callable[[ModelSpec], Parts]
STEPS, STOP = 4, 2
KINDS: Mapping[str, dict[str, Any]] = {
    "unet": {},
    "lora": {"rank": 2, "text": True, "layers": "all"},
    "embedding": {"word": "ember", "init": "a red house", "vectors": 2},
}


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of three shapes, with a caption beside each."""
    folder = tmp_path_factory.mktemp("albums") / "embers"
    for k in range(6):
        size = ((40, 40), (60, 30), (30, 60))[k % 3]
        picture(folder / f"{k}.png", size, color=(200, 20 * k, 0))
        (folder / f"{k}.txt").write_text(f"an ember, number {k}" if k % 2 else f"number {k}")
    return folder


def session(build: Build, album: Path, out: Path, spec: ModelSpec = TINY, **wishes: Any) -> Session:
    asked = {"steps": STEPS, "batch": 2, "size": 128, "held_out": 1, "sample_every": STEPS, **wishes}
    return Session(album, out, Pipeline.of(build(spec), "plain"), Wishes(samples=("a red house",), **asked))


def run(one: Session, until: int = STEPS) -> tuple[list[Progress], Path | None]:
    """Everything, or until a step."""
    list(one.draw_prior()) if one.prior else None
    list(one.encode())
    task, told = one.task(), []
    story = one.train(task)
    for progress in story:
        told.append(progress)
        if progress.step == until:
            break
    story.close()  # type: ignore[attr-defined]
    return told, one.write(task) if until == STEPS else None


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_and_going_on_is_the_same_as_not_stopping(
    build: Build, album: Path, tmp_path: Path, kind: str
) -> None:
    wishes = {"kind": kind, **KINDS[kind]}
    _, whole = run(session(build, album, tmp_path / "whole", **wishes))
    run(session(build, album, tmp_path / "halves", **wishes), STOP)
    assert read_checkpoint(tmp_path / "halves" / LATEST).facts["step"] == STOP
    told, halves = run(session(build, album, tmp_path / "halves", **wishes))
    assert told[0].notes == (f"going on from step {STOP}",)
    a, b = (read_checkpoint(tmp_path / name / LATEST) for name in ("whole", "halves"))
    assert a.facts == b.facts
    assert all(torch.equal(tensor, b.tensors[name]) for name, tensor in a.tensors.items())
    assert whole is not None
    assert halves is not None
    assert whole.read_bytes() == halves.read_bytes()
    assert (tmp_path / "whole" / f"sheet-{STEPS:06}.png").is_file()


def test_speed_counts_the_pictures_that_small_buckets_have(build: Build, album: Path, tmp_path: Path) -> None:
    told, _ = run(session(build, album, tmp_path, kind="lora", rank=1, batch=4, steps=3), 3)  # an epoch
    assert told[-1].pictures_per_second * told[-1].seconds_a_step == pytest.approx(5 / 3)


def drawn(pipe: Pipeline, prompt: str = "an ember on a hill") -> bytes:
    return pipe(prompt, seed=1, width=16, height=16, steps=1).pictures[0].rgb


def test_a_lora_changes_what_a_fresh_model_draws(build: Build, album: Path, tmp_path: Path) -> None:
    one = session(build, album, tmp_path / "run", kind="lora", rank=2, lr=0.05)
    told, file = run(one)
    assert file == tmp_path / "run" / "embers.safetensors"
    assert told[-1].figures.keys() >= {"loss", "error", "held_out"}
    fresh = Pipeline.of(build(TINY))
    before = drawn(fresh)
    fresh.attach(file)
    assert drawn(fresh) != before
    assert {"ember", "number"} <= fresh.learnt_words
    fresh.detach()
    assert drawn(fresh) == before


def test_only_the_word_learns_and_prompts_may_use_it(build: Build, album: Path, tmp_path: Path) -> None:
    one = session(build, album, tmp_path / "run", kind="embedding", word="ember", lr=0.1)
    before = {name: tensor.clone() for name, tensor in one.pipe.unet.state_dict().items()}
    assert one.renamed == 3
    assert all("ember" in caption for each in one.examples for caption in each.captions)
    _, file = run(one)
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.pipe.unet.state_dict().items())
    assert file == tmp_path / "run" / "ember.safetensors"
    plain = Pipeline.of(build(TINY))
    taught = plain.with_embeddings(file)
    assert drawn(taught) != drawn(plain)
    assert drawn(taught, "a hill") == drawn(plain, "a hill")


def test_a_whole_unet_is_written_with_everything_else(build: Build, album: Path, tmp_path: Path) -> None:
    _, file = run(session(build, album, tmp_path / "run", kind="unet", lr=0.01, from_scratch=True))
    assert file is not None
    made, base = load_native(file), build(TINY)
    assert made.tokenizers == base.tokenizers
    assert made.about["training"]["steps"] == STEPS
    assert torch.equal(
        made.decoder.state_dict()["leave.weight"], _half(base.decoder.state_dict()["leave.weight"])
    )
    changed = made.unet.state_dict()["leave.weight"], base.unet.state_dict()["leave.weight"]
    assert not torch.equal(changed[0], _half(changed[1]))


def _half(tensor: Tensor) -> Tensor:
    return tensor.half().float()


@pytest.mark.parametrize(
    ("kind", "prediction", "left"),
    [
        ("unet", "flow", 0.95),
        pytest.param("lora", "flow", 0.95, marks=pytest.mark.slow),
        pytest.param("unet", "eps", 0.95, marks=pytest.mark.slow),
        pytest.param("unet", "v", 0.95, marks=pytest.mark.slow),
    ],
)
def test_it_learns_pictures_by_heart(
    build: Build, album: Path, tmp_path: Path, kind: str, prediction: Prediction, left: float
) -> None:
    schedule = replace(TINY.schedule, kind="flow") if prediction == "flow" else TINY.schedule
    spec = replace(TINY, prediction=prediction, schedule=schedule)
    more = {"steps": 30, "ema": None, "held_out": 0, "sample_every": 30, "layers": "all"}
    one = session(build, album, tmp_path, spec, kind=kind, lr=0.01, **more)
    list(one.encode())
    task = one.task()
    before = [task.loss(1000 + k)[0].item() for k in range(4)]
    for _ in one.train(task):
        pass
    after = [task.loss(1000 + k)[0].item() for k in range(4)]
    assert sum(after) < left * sum(before)


def test_errors_count_as_min_snr_has_it() -> None:
    for prediction, expected in {
        "eps": lambda snr: min(snr, 5) / snr,
        "v": lambda snr: min(snr, 5) / (snr + 1),
        "flow": lambda snr: 1.0,
    }.items():
        kind = "flow" if prediction == "flow" else "scaled_linear"
        spec = replace(TINY, prediction=prediction, schedule=replace(TINY.schedule, kind=kind))  # type: ignore[arg-type]
        process = Process.of(spec)
        t = torch.tensor([1.0, 100.0, 500.0, 998.0])
        snr = [1 / sigma**2 for sigma in process.schedule.sigma_of(t).tolist()]
        assert weights_for(process, t, 5.0).tolist() == pytest.approx(
            [expected(each) for each in snr], rel=1e-5
        )
        times = times_for(process, 2000, torch.Generator().manual_seed(0))
        assert 450 < times.mean().item() < 550
        assert 0 <= times.min().item() < times.max().item() <= 1000


def test_what_is_forgotten_is_calculated_again_to_the_same_gradient(build: Build) -> None:
    gradients: list[Tensor] = []
    for forget in (False, True):
        unet = build(TINY).unet.requires_grad_(True)
        if forget:
            assert forget_between(unet) > 10
        chance = torch.Generator().manual_seed(0)
        x, context = torch.randn(1, 4, 8, 8, generator=chance), torch.randn(1, 5, 32, generator=chance)
        unet(x, torch.tensor([500.0]), context).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in unet.parameters() if p.grad is not None]))
    assert torch.equal(*gradients)


def test_pictures_of_the_models_own_are_learned_beside(build: Build, album: Path, tmp_path: Path) -> None:
    asked = {"kind": "lora", "rank": 1, "prior": 3, "prior_prompts": ("a hill", "the sea")}
    one = session(build, album, tmp_path / "run", **asked)
    assert list(one.draw_prior())[-1] == 3
    made = tmp_path / "run" / PRIOR
    assert [(made / f"{k:06}.txt").read_text() for k in range(3)] == ["a hill", "the sea", "a hill"]
    assert len(one.examples) == 9
    (made / "000001.txt").unlink()  # as a kill would leave it
    assert list(session(build, album, tmp_path / "run", **asked).draw_prior()) == [3]
    assert list(session(build, album, tmp_path / "run", **asked).draw_prior()) == [3]  # all are there
    other = Pipeline.of(replace(build(TINY), digest=lambda: "f" * 64), "plain")
    stranger = Session(album, tmp_path / "run", other, Wishes(size=128, **asked))
    assert list(stranger.draw_prior())[-1] == 3  # none of them is its own
    with pytest.raises(RequestError, match=r"prior: tiny does not say which words it knows"):
        session(build, album, tmp_path / "run", kind="lora", prior=3)


# --- bad input ---


def test_a_training_beside_another_is_refused_before_its_work(
    build: Build, album: Path, tmp_path: Path
) -> None:
    with only_one_in(tmp_path), pytest.raises(StorageError, match="another process is at work in"):
        session(build, album, tmp_path, kind="lora", rank=1)


def test_broken_pictures_are_counted_named_and_survived(build: Build, album: Path, tmp_path: Path) -> None:
    folder = tmp_path / "album"
    for k in range(100):
        picture(folder / f"{k:03}.png", (16, 16))
        (folder / f"{k:03}.txt").write_text("a red house")
    ramp((64, 64)).save(folder / "007.png")
    whole = (folder / "007.png").read_bytes()
    (folder / "007.png").write_bytes(whole[: len(whole) // 2])  # its header is sound
    picture(folder / "lonely.png")
    (folder / "notes.png").write_text("no picture")
    (folder / "notes.txt").write_text("notes")
    one = session(build, folder, tmp_path / "run", kind="lora", rank=1, steps=1, batch=1)
    told = "\n".join(one.report())
    assert "100 pictures to learn from, 2 left out" in told
    assert "without a caption (1): lonely.png" in told
    assert "not PNG, JPEG or WebP (1): notes.png" in told
    list(one.encode())
    assert [skip.name for skip in one.cache.skipped] == ["007.png"]
    task = one.task()
    assert [progress.step for progress in one.train(task)] == [0, 1]
    assert one.census().usable == 99


def test_folders_that_teach_nothing_are_refused(build: Build, album: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "silent" / "1.png")
    (tmp_path / "silent" / "1.txt").write_text("")
    for folder, problem in (("empty", "holds none"), ("silent", "without a caption")):
        with pytest.raises(RequestError, match=problem):
            session(build, tmp_path / folder, tmp_path / "run", kind="lora")
    with pytest.raises(StorageError, match="there is no folder"):
        session(build, tmp_path / "nowhere", tmp_path / "run", kind="lora")
    with pytest.raises(RequestError, match="lies among the pictures"):
        session(build, album, album / "run", kind="lora")
    with pytest.raises(RequestError, match="down to 32 pixels narrow; this U-Net needs 64"):
        session(build, album, tmp_path / "run", kind="lora", size=64)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_it_and_the_last_good_state_stays(
    build: Build, album: Path, tmp_path: Path
) -> None:
    run(session(build, album, tmp_path, kind="lora", rank=1), STOP)
    before = (tmp_path / LATEST).read_bytes()
    one = session(build, album, tmp_path, kind="lora", rank=1)
    list(one.encode())
    task = one.task()
    task.pipe.unet.leave.weight.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match=f"the own lora loss is nan at step {STOP}"):
        list(one.train(task))
    assert (tmp_path / LATEST).read_bytes() == before


def test_a_full_disk_is_found_before_the_first_step(
    build: Build, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = session(build, album, tmp_path, kind="unet")
    list(one.encode())
    task = one.task()
    usage = disk_usage(tmp_path)
    monkeypatch.setattr("fromnoise.durable.disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StorageError, match=r"needs .* for checkpoints, its disk has 1000 bytes free"):
        list(one.train(task))


def test_another_trainings_checkpoint_is_refused(build: Build, album: Path, tmp_path: Path) -> None:
    run(session(build, album, tmp_path, kind="lora", rank=2), STOP)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = replace(build(TINY), digest=lambda: "f" * 64)
    velocity = build(replace(TINY, prediction="v"))
    for parts, wishes, problem in (
        (other, Wishes(kind="lora", rank=2, size=128), "another model"),
        (velocity, Wishes(kind="lora", rank=2, size=128), "another prediction: eps, not v"),
        (build(TINY), Wishes(kind="lora", rank=3, size=128), "other settings"),
        (build(TINY), Wishes(kind="unet", size=128), "other settings"),
    ):
        with pytest.raises(WeightsError, match=f"holds a training of {problem}") as raised:
            Session(album, tmp_path, Pipeline.of(parts, "plain"), wishes)
        assert "-o FOLDER" in raised.value.hint
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_before_is_gone_on_from_and_another_cap_is_told(
    build: Build, album: Path, tmp_path: Path
) -> None:
    run(session(build, album, tmp_path, kind="lora", rank=2), STOP)
    told, _ = run(session(build, album, tmp_path, kind="lora", rank=2, min_snr=1.0), STOP + 1)
    assert told[0].notes[1:] == ("the recipe has changed: min_snr 5.0 -> 1.0",)
    tensors, facts = (found := read_checkpoint(tmp_path / LATEST)).tensors, found.facts
    older = {name: fact for name, fact in facts.items() if name not in ("prediction", "min_snr")}
    write_checkpoint(tmp_path / LATEST, tensors, older)
    told, _ = run(session(build, album, tmp_path, kind="lora", rank=2))
    assert told[0].notes == (f"going on from step {STOP + 1}",)


def test_other_pictures_are_told_and_damage_never_starts_it_afresh(
    build: Build, album: Path, tmp_path: Path
) -> None:
    run(session(build, album, tmp_path, kind="lora", rank=2), STOP)
    told, _ = run(session(build, album, tmp_path, kind="lora", rank=2, batch=3))
    assert "pictures, captions or batches have changed" in told[0].notes[-1]
    for name in (LATEST, PREVIOUS):
        (tmp_path / name).write_bytes(b"x" * 100)
    with pytest.raises(WeightsError, match=r"no checkpoint in .* can be read"):
        run(session(build, album, tmp_path, kind="lora", rank=2))
    with pytest.raises(WeightsError):
        newest(tmp_path)


def test_the_results_name_is_none_of_the_trainings_own(build: Build, tmp_path: Path) -> None:
    for name in ("latest", "moments"):
        picture(tmp_path / name / "1.png")
        (tmp_path / name / "1.txt").write_text("an ember")
    more = {"steps": 1, "batch": 1, "held_out": 0}
    _, file = run(session(build, tmp_path / "latest", tmp_path / "a", kind="lora", rank=1, **more), 1)
    assert file is None
    one = session(build, tmp_path / "latest", tmp_path / "a", kind="lora", rank=1, **more)
    list(one.encode())
    assert one.write(one.task()) == tmp_path / "a" / "latest-own.safetensors"
    assert read_checkpoint(tmp_path / "a" / LATEST).facts["step"] == 1
    one = session(build, tmp_path / "moments", tmp_path / "b", kind="unet", format="diffusers", **more)
    list(one.encode())
    assert one.write(one.task()) == tmp_path / "b" / "moments-own"


def test_what_could_not_be_written_or_would_do_nothing_is_refused_first(
    build: Build, album: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="format: tiny is of no family") as raised:
        session(build, album, tmp_path / "run", kind="unet", format="ldm")
    assert raised.value.hint == "--format ours"
    flow = replace(TINY, prediction="flow", schedule=replace(TINY.schedule, kind="flow"))
    with pytest.raises(RequestError, match="format: diffusers draws with no such U-Net"):
        session(build, album, tmp_path / "run", flow, kind="unet", format="diffusers")
    with pytest.raises(RequestError, match=r"out: .*embers is there, and is no model in diffusers' format"):
        session(build, album, album.parent, kind="unet", format="diffusers")
    with pytest.raises(RequestError, match="min_snr: tiny predicts flow"):
        session(build, album, tmp_path / "run", flow, kind="lora", min_snr=5.0)
    room = TINY.texts[0].context - 2
    for wishes, problem in (
        ({"word": " glim"}, "' glim' cannot be a word of its own"),
        ({"word": "glim", "init": " "}, "init: .* holds no word to begin with"),
        ({"word": "glim", "vectors": room + 1}, f"{room + 1} are more than a text has room for, {room}"),
        ({"word": "glim", "held_out": 6}, "6 of 6 are to be held out"),
    ):
        with pytest.raises(RequestError, match=problem):
            session(build, album, tmp_path / "run", kind="embedding", **wishes)
    assert not (tmp_path / "run").exists()


def test_wishes_are_checked_together() -> None:
    nan = float("nan")
    with pytest.raises(RequestError) as raised:
        Wishes(kind="lora", dropout=nan, min_snr=nan, alpha=nan, prior_prompts=("a hill",))
    assert set(raised.value.problems) == {"dropout", "min_snr", "alpha", "prior_prompts"}
    with pytest.raises(RequestError) as raised:
        Wishes(kind="embedding", rank=0, layers="some", format="peft", lr=2.0)
    assert set(raised.value.problems) == {"rank", "layers", "format", "lr", "word"}
    with pytest.raises(RequestError, match="prior_prompts: one of them says nothing"):
        Wishes(kind="lora", prior=2, prior_prompts=("a hill", " "))


def test_tensorboard_is_told_where_it_is_installed(
    build: Build, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, int]] = []

    class Writer:
        def __init__(self, folder: Path) -> None:
            assert folder == tmp_path / "tensorboard"

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, step))

        def flush(self) -> None: ...

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", module)
    run(session(build, album, tmp_path, kind="lora", rank=1))
    assert {("loss", STEPS), ("held_out", STEPS), ("rate", STEPS)} <= set(written)
    assert loop.Log(tmp_path).path.is_file()
