from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from fromnoise.errors import RequestError, StorageError, WeightsError
from fromnoise.nets.oracle import Oracle, Sighting
from fromnoise.score import OracleReader, load_oracle, save_oracle
from fromnoise.score import oracle as room
from fromnoise.score.oracle import words_of
from fromnoise.train.presets import oracle_spec
from fromnoise.weights.detect import detect
from fromnoise.weights.model_loader import find_device, load_model
from fromnoise.weights.stored import open_weights
from fromnoise.world import FULL, SMALL, SPELLING, WORLDS, Mix, World, sample_scene, scene_seed
from fromnoise.world.render import render
from fromnoise.world.seeing import sightings
from fromnoise.world.vocabulary import COLOURS, SETTINGS, STYLES, THINGS, TIMES, WEATHERS

SPEC = oracle_spec(SMALL, width=8)


@pytest.fixture
def oracle() -> Oracle:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Oracle(SPEC).eval().requires_grad_(False)


@pytest.fixture
def file(oracle: Oracle, tmp_path: Path) -> Path:
    path = tmp_path / "oracle.safetensors"
    save_oracle(oracle, path, torch.float32)
    return path


class Clairvoyant(nn.Module):
    """Answers with the truth about pictures it is given in order, first as they are and then enlarged."""

    def __init__(self, truth: Sighting) -> None:
        super().__init__()
        self.truth, self.at, self.closer = truth, 0, False
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, pixels: Tensor) -> Sighting:
        times, t = 2 if self.closer else 1, self.truth
        part = slice(self.at, self.at + len(pixels))
        self.at += len(pixels) * self.closer
        self.closer = not self.closer
        maps = (None if x is None else 9 * enlarged(x[part], times) for x in (t.kinds, t.colours, t.textures))
        kinds, colours, textures = maps
        looks = (x if x is None else x[part] for x in (t.weather, t.style))
        return Sighting(kinds, colours, t.setting[part], t.time[part], *looks, textures)


def enlarged(maps: Tensor, times: int) -> Tensor:
    return maps.float().repeat_interleave(times, -2).repeat_interleave(times, -1)


@pytest.mark.parametrize("world", [SMALL, FULL], ids=["small", "full"])
def test_logits_become_what_label_maps_say(world: World) -> None:
    scenes = [sample_scene(scene_seed(4, index), Mix(world=world)) for index in range(9)]
    spec, full = oracle_spec(world), world is FULL
    drawn = render(scenes, 64)
    kinds, colours = drawn.kinds[:, 2::4, 2::4].long(), drawn.colours[:, 2::4, 2::4].long()
    textures = drawn.textures[:, 2::4, 2::4].long()
    truth = Sighting(
        one_hot(kinds, spec.kinds).permute(0, 3, 1, 2),
        one_hot(colours, spec.colours).permute(0, 3, 1, 2),
        one_hot(torch.tensor([SETTINGS.index(s.setting) for s in scenes]), spec.settings),
        one_hot(torch.tensor([TIMES.index(s.time) for s in scenes]), spec.times),
        one_hot(torch.tensor([WEATHERS.index(s.weather) for s in scenes]), len(WEATHERS)) if full else None,
        one_hot(torch.tensor([STYLES.index(s.style) for s in scenes]), len(STYLES)) if full else None,
        one_hot(textures, spec.textures).permute(0, 3, 1, 2) if full else None,
    )
    read = OracleReader(Clairvoyant(truth), batch=2, words=words_of(world))  # type: ignore[arg-type]
    kinds, colours, textures = (enlarged(x, 2).long() for x in (kinds, colours, textures))
    wanted = [
        sightings(k, c, s.setting, s.time, s.weather, s.style if full else None, x if full else None)
        for s, k, c, x in zip(scenes, kinds, colours, textures, strict=True)
    ]
    assert read(drawn.pixels.float() / 127.5 - 1) == wanted


def test_a_real_oracle_reads_every_picture_whatever_the_batch(oracle: Oracle) -> None:
    pixels = torch.rand(5, 3, 64, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    one, many = OracleReader(oracle, batch=1)(pixels), OracleReader(oracle, batch=8)(pixels)
    assert len(one) == 5
    assert one == many


def test_what_is_believed_is_the_mean_of_both_looks(oracle: Oracle) -> None:
    reader = OracleReader(oracle)
    sure, unsure = torch.tensor([0.0, 9.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    far, close = sure.view(1, 3, 1, 1), unsure.view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert reader._map("kinds", far, close).tolist() == [[[1, 1], [1, 1]]]
    assert reader._map("kinds", far * 0, close).tolist() == [[[0, 0], [0, 0]]]


def test_features_are_one_row_a_picture_whatever_the_batch(oracle: Oracle) -> None:
    pixels = torch.rand(5, 3, 64, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    one, many = OracleReader(oracle, batch=2).features(pixels), OracleReader(oracle).features(pixels)
    assert one.shape == (5, 9 * SPEC.width)
    assert torch.allclose(one, many, atol=1e-5)


def test_a_size_that_the_oracle_cannot_halve_is_refused(oracle: Oracle) -> None:
    with pytest.raises(RequestError, match="40x64 is not in multiples of 16"):
        OracleReader(oracle)(torch.zeros(1, 3, 64, 40))


def test_a_saved_oracle_answers_as_before(oracle: Oracle, file: Path) -> None:
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    again = load_oracle(file).oracle
    assert again.spec == SPEC
    assert torch.equal(again(pixels).kinds, oracle(pixels).kinds)
    assert not any(p.requires_grad for p in again.parameters())
    assert load_oracle(file).digest == sha256(file.read_bytes()).hexdigest()


def test_a_device_is_named_as_for_drawing(file: Path) -> None:
    kind = next(load_oracle(file, "auto").oracle.parameters()).device.type
    assert kind == find_device("auto").type
    with pytest.raises(RequestError, match="device: 'nonsense' cannot be used") as caught:
        load_oracle(file, "nonsense")
    assert caught.value.hint == "try cpu"


def test_half_precision_halves_the_file_and_loads_as_float32(oracle: Oracle, file: Path) -> None:
    small = file.with_name("small.safetensors")
    save_oracle(oracle, small)
    assert small.stat().st_size < 0.6 * file.stat().st_size
    assert {p.dtype for p in load_oracle(small).oracle.parameters()} == {torch.float32}


def test_one_changed_byte_is_noticed(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=r"oracle\.safetensors is damaged: its SHA-256"):
        load_oracle(file)


@pytest.mark.parametrize("suffix", [".safetensors", ".sha256"])
def test_a_missing_file_is_named(file: Path, suffix: str) -> None:
    file.with_suffix(suffix).unlink()
    with pytest.raises(StorageError, match=r"cannot read the oracle oracle\.safetensors"):
        load_oracle(file)


def test_an_oracle_reads_its_words_from_its_own_file(oracle: Oracle, file: Path) -> None:
    assert load_oracle(file).words == words_of(SMALL)
    turned = replace(SMALL, times=("night", "day", "sunset"), colours=SMALL.colours[::-1])
    save_oracle(oracle, file, world=turned)
    reader = load_oracle(file)
    assert reader.words["times"] == ("night", "day", "sunset")
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    (seen,) = reader(pixels)
    assert seen.time == turned.times[int(reader.oracle(pixels).time.argmax())]
    sure = 9.0 * one_hot(torch.tensor([[[0, 1, 11]]]), 12).permute(0, 3, 1, 2)
    assert reader._map("colours", sure, enlarged(sure, 2)).tolist() == [[[0, 0, 11, 11, 1, 1]] * 2]


def test_an_oracle_of_the_full_world_tells_weather_and_style(tmp_path: Path) -> None:
    path = tmp_path / "full.safetensors"
    with torch.random.fork_rng():
        save_oracle(Oracle(oracle_spec(FULL, width=8)), path, world=FULL)
    reader = load_oracle(path)
    (seen,) = reader(torch.zeros(1, 3, 32, 32))
    assert seen.weather in WEATHERS
    assert seen.style in STYLES
    assert seen.textured
    assert (reader.world, reader.blind) == (FULL, frozenset())
    assert reader.knows(SMALL)


def test_the_checker_of_fromnoise_knows_the_small_world() -> None:
    reader = load_oracle()
    assert (reader.world, reader.knows(FULL)) == (SMALL, False)
    assert reader.blind == {"weather", "style", "pattern"}


def test_the_words_of_a_world_are_numbered_as_in_the_tables_of_all() -> None:
    for world in WORLDS.values():
        for head, words in words_of(world).items():
            assert words == room.KNOWN[head][: len(words)]
    assert len(THINGS) == len(SPELLING.things)
    assert len(COLOURS) == len(FULL.colours)


def test_words_that_cannot_be_drawn_are_refused(oracle: Oracle, file: Path) -> None:
    save_oracle(oracle, file, world=replace(SMALL, times=("day", "noon", "night")))
    with pytest.raises(WeightsError, match="a world with other times: noon"):
        load_oracle(file)
    save_oracle(oracle, file, world=replace(SMALL, times=("day", "night")))
    with pytest.raises(WeightsError, match="2 times for 3"):
        load_oracle(file)


def test_tensors_that_do_not_fit_the_spec_are_refused(oracle: Oracle, file: Path) -> None:
    oracle.spec = replace(SPEC, width=16)
    save_oracle(oracle, file)
    with pytest.raises(WeightsError, match="holds no oracle that we can read"):
        load_oracle(file)


def test_a_file_that_is_no_oracle_is_refused(file: Path) -> None:
    data = b"not a safetensors file at all"
    file.write_bytes(data)
    file.with_suffix(".sha256").write_text(sha256(data).hexdigest())
    with pytest.raises(WeightsError, match="holds no oracle that we can read"):
        load_oracle(file)


def test_saving_into_nowhere_is_one_clear_error(oracle: Oracle, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        save_oracle(oracle, tmp_path / "no" / "oracle.safetensors")


def test_a_checker_that_is_asked_to_draw_is_called_by_its_name(file: Path) -> None:
    with open_weights(file) as stored:
        assert detect(stored).kind == "checker"
    with pytest.raises(WeightsError, match="cannot draw: it is a checker") as caught:
        load_model(file)
    assert "--oracle" in caught.value.hint
