"""What learned with one encoder or tokenizer is never taken for what learned with another."""

from pathlib import Path
from shutil import copytree, rmtree

import pytest
from conftest import Rehearsal

from fromnoise.errors import RequestError, WeightsError
from fromnoise.text import Tokenizer
from fromnoise.train import stages
from fromnoise.train.handover import MARKS
from fromnoise.train.presets import TINY_RUN
from fromnoise.train.state import LATEST, PREVIOUS, read_checkpoint, write_checkpoint

TEXT = TINY_RUN.spec.texts[0]
OTHER = Tokenizer.train(["quite other words"], TEXT.vocab, context=TEXT.context)


@pytest.fixture
def folder(rehearsal: Rehearsal, tmp_path: Path) -> Path:
    return copytree(rehearsal.folder, tmp_path / "run")


def exchange_encoder(folder: Path) -> None:
    """As if the autoencoder had been trained on, and `latents` made again, as the hint says."""
    path = folder / "vae" / stages.WEIGHTS
    held = read_checkpoint(path)
    write_checkpoint(path, {name: 0.9 * tensor for name, tensor in held.tensors.items()}, held.facts)
    rmtree(folder / "latents")
    list(stages.cache_latents(folder, TINY_RUN))
    stages.measure_latents(folder, TINY_RUN)


def forget_marks(folder: Path) -> None:
    """As stages were before they noted what they learned with."""
    for path in (folder / name for name in (stages.WEIGHTS, LATEST, PREVIOUS)):
        if path.exists():
            held = read_checkpoint(path)
            facts = {name: fact for name, fact in held.facts.items() if name not in MARKS}
            write_checkpoint(path, held.tensors, facts)


def test_after_another_encoder_what_learned_with_the_former_is_refused(folder: Path) -> None:
    exchange_encoder(folder)
    said = "decoder learned with another encoder than the one in"
    for stage in (stages.train_decoder, stages.train_unet):
        with pytest.raises(WeightsError, match=said) as caught:
            next(stage(folder, TINY_RUN))
        assert caught.value.hint == f"delete {folder}/decoder, then fromnoise train decoder {folder}"
    rmtree(folder / "decoder")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="unet learned with another encoder"):
        next(stages.train_unet(folder, TINY_RUN))
    with pytest.raises(WeightsError, match="unet learned with another encoder"):
        stages.assemble(folder, folder / "model.safetensors", TINY_RUN)
    assert not (folder / "model.safetensors").exists()


def test_after_another_tokenizer_what_learned_with_the_former_is_refused(folder: Path) -> None:
    OTHER.save(folder / "tokenizer.json")
    for stage in (stages.train_clip, stages.train_unet, stages.train_turbo):
        with pytest.raises(WeightsError, match="learned with another tokenizer"):
            next(stage(folder, TINY_RUN))
    with pytest.raises(WeightsError, match="clip learned with another tokenizer"):
        stages.assemble(folder, folder / "m.safetensors", TINY_RUN)
    rmtree(folder / "clip")
    assert [now.step for now in stages.train_clip(folder, TINY_RUN)] == [0, 1, 2, 3, 4]


def test_a_tokenizer_that_was_learned_with_is_not_replaced(folder: Path) -> None:
    path = folder / "tokenizer.json"
    before = path.read_bytes()
    stages.train_tokenizer(folder, TINY_RUN)
    assert path.read_bytes() == before
    OTHER.save(path)
    for learned, left in (("clip and unet", "unet"), ("clip", "clip"), ("", "")):
        if learned:
            with pytest.raises(RequestError, match=f"would be another, and {learned} learned with this one"):
                stages.train_tokenizer(folder, TINY_RUN)
            rmtree(folder / left)
    stages.train_tokenizer(folder, TINY_RUN)
    assert path.read_bytes() == before


def test_what_does_not_say_goes_on_as_before_and_says_it_from_then_on(folder: Path) -> None:
    for stage in ("decoder", "clip", "unet"):
        forget_marks(folder / stage)
    stages.assemble(folder, folder / "m.safetensors", TINY_RUN)
    (only,) = stages.train_unet(folder, TINY_RUN)
    assert only.notes[-1].startswith("nothing left to train")
    for name in (stages.WEIGHTS, LATEST):
        assert read_checkpoint(folder / "unet" / name).facts.keys() >= MARKS.keys(), name
    exchange_encoder(folder)
    with pytest.raises(WeightsError, match="unet learned with another encoder"):
        next(stages.train_unet(folder, TINY_RUN))
