"""What is decided about memory: from shapes alone, before anything is held."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fromnoise.engine import plan as planning
from fromnoise.engine.memory import available
from fromnoise.engine.plan import GB, Load, memory_of, plan
from fromnoise.engine.winograd import is_large, is_plain_3x3
from fromnoise.errors import OutOfMemory, RequestError
from fromnoise.nets.attention import Attention
from fromnoise.nets.blocks import Upsample
from fromnoise.nets.decoder import Decoder
from fromnoise.nets.diffusion import UNet
from fromnoise.request import FilledRequest, GenerateRequest
from fromnoise.specs import REFINER, SD15, SDXL
from fromnoise.train.presets import MITE
from fromnoise.weights.native import Uninitialised

SD = Load(SD15, size=2, packed=2.0)
XL = Load(SDXL, size=2, packed=2.0)
PLENTY = 64 * 10**9


def asked(width: int = 512, height: int = 512, **fields) -> FilledRequest:
    request = GenerateRequest(prompt="", seeds=(1,), width=width, height=height, **fields)
    return request.filled(SD15.defaults)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("auto", "auto"),
        ("LOW", "low"),
        ("4", 4 * 10**9),
        ("2.4GB", 2_400_000_000),
        (" 900 mb", 900_000_000),
        ("1GiB", 2**30),
        (12345, 12345),
    ],
)
def test_amounts(text, meant) -> None:
    assert memory_of(text) == meant


@pytest.mark.parametrize("text", ["", "lots", "-1GB", "0", "4 parsecs", "1e3", 0, -5, True, "GB", "nan"])
def test_what_is_no_amount_is_refused(text) -> None:
    with pytest.raises(RequestError) as refused:
        memory_of(text)
    assert "memory" in refused.value.problems
    assert "4GB" in refused.value.hint


def test_where_there_is_plenty_nothing_is_done() -> None:
    found = plan(SD, asked(), PLENTY)
    assert not found.sequential
    assert found.streams == 0
    assert found.kept == planning.weights_of(SD15) * 2


def test_the_bars_of_the_families_are_kept() -> None:
    assert plan(SD, asked(), int(2.7 * GB)).streams == 0
    assert plan(XL, asked(1024, 1024), int(7.2 * GB)).streams == 0
    for load, side, most in ((SD, 512, 2.8), (XL, 1024, 7.3)):
        found = plan(load, asked(side, side), int(most * GB))
        assert (found.sequential, found.streams) == (False, 0)
    assert plan(SD, asked(), int(2.4 * GB)).peak <= 2.4 * GB
    assert plan(XL, asked(1024, 1024), 7 * GB).peak <= 7 * GB


def test_decoding_takes_no_more_than_drawing_where_weights_can_be_given_up() -> None:
    for load, side in ((SD, 512), (XL, 1024)):
        found = plan(load, asked(side, side), PLENTY)
        assert found.decoding <= found.drawing
        assert 0 < found.given < found.kept


def test_the_less_there_is_the_more_is_done() -> None:
    whole = planning.Need(SD, asked(768, 768), 1, False).plan(PLENTY, sequential=False)
    sequential = plan(SD, asked(768, 768), whole.peak - 1)
    assert sequential.sequential
    assert sequential.streams == 0
    streamed = plan(SD, asked(768, 768), sequential.peak - 1)
    assert streamed.sequential
    assert 0 < streamed.streams < whole.kept
    assert streamed.peak < sequential.peak < whole.peak


@pytest.mark.parametrize("share", [0.99, 0.8, 0.6, 0.5])
def test_a_plan_stays_within_its_budget(share: float) -> None:
    budget = int(share * plan(SD, asked(), PLENTY).peak)
    assert plan(SD, asked(), budget).peak <= budget


@pytest.mark.parametrize("size", [2, 4])
def test_sums_of_pixels_take_memory_where_maps_are_large(monkeypatch, size: int) -> None:
    monkeypatch.setattr(planning, "SPREAD", 1)

    def peak(load: Load, **fields: int) -> int:
        return plan(load, asked(**fields), PLENTY).drawing

    exact = Load(SD15, size=size, packed=float(size))
    without = replace(exact, packed=size - 1e-9)  # as another engine packs it
    assert peak(exact) - peak(without) == pytest.approx(size * planning.SUMS, abs=100)
    assert peak(exact, width=64, height=64) == pytest.approx(peak(without, width=64, height=64), abs=100)
    embedded = Load(MITE, size=size, packed=float(size))
    assert peak(embedded, width=128, height=128) == pytest.approx(
        peak(replace(embedded, packed=size - 1e-9), width=128, height=128), abs=100
    )


def test_kernels_are_kept_as_they_are_multiplied_where_there_is_room() -> None:
    for load in (SD, replace(SD, size=4, packed=4.0)):
        wide = plan(load, asked(), PLENTY)
        narrow = plan(load, asked(), wide.peak - 1)
        assert (wide.spreads, narrow.spreads, narrow.sequential) == (True, False, False)
        assert wide.kept == narrow.kept
        assert wide.peak - narrow.peak > 10**8
        assert not plan(load, asked(), "low").spreads


def in_the_engine(network: nn.Module, *inputs: Tensor | None) -> int:
    """Numbers of the kernels that winograd.py spreads to answer once."""
    convs, found = {each.conv for each in network.modules() if isinstance(each, Upsample)}, 0

    def look(conv: nn.Conv2d, given: tuple[Tensor], _: Tensor) -> None:
        nonlocal found
        is_folded = conv in convs and given[0].shape[2] % 2 == given[0].shape[3] % 2 == 0
        if not is_folded and is_plain_3x3(conv) and is_large(*given[0].shape[2:]):
            found += conv.weight.numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(look)
    network(*inputs)
    return found


@pytest.mark.parametrize(("width", "height", "at_once"), [(256, 248, 1), (840, 376, 1), (904, 888, 3)])
def test_the_engine_spreads_no_more_kernels_than_are_counted(
    width: int, height: int, at_once: int, monkeypatch
) -> None:
    monkeypatch.setitem(Attention.__init__.__globals__, "attend", lambda q, k, v, **_: q)
    need = planning.Need(replace(SD, size=4, packed=4.0), asked(width, height), at_once, False)
    with torch.device("meta"), Uninitialised():
        latents = torch.empty(at_once, 4, height // 8, width // 8)
        context = torch.empty(2 * at_once, 77, SD15.unet.context_width)
        unet = in_the_engine(UNet(SD15.unet), latents, torch.empty(at_once), context)
        decoder = in_the_engine(Decoder(SD15.vae), latents)
    wide, narrow = (need.plan(0, sequential=False, spreads=spreads) for spreads in (True, False))
    bytes_each = (planning.SPREAD - 1) * 4
    block = 4 * planning.KERNELS  # which is spread at a time where none are kept
    more = (wide.drawing - narrow.drawing + block) / bytes_each
    assert unet <= more / planning.HOLES <= 1.25 * unet
    assert decoder <= (wide.decoding - narrow.decoding + block) / bytes_each - more <= 1.25 * decoder


def test_a_plan_says_what_is_made_ready_at_each_use() -> None:
    words, load = "kernels of large convolutions are made ready at each use", replace(SD, size=4, packed=4.0)
    wide = plan(load, asked(), PLENTY)
    assert str(wide) == f"{wide.peak / GB:.1f} GB"
    narrow = plan(load, asked(), wide.peak - 1)
    assert str(narrow) == f"{narrow.peak / GB:.1f} GB, {words}"
    assert words in str(plan(load, asked(), "low"))
    for other in (replace(SD, packed=planning.BYTES), Load(MITE, size=4, packed=4.0)):
        assert words not in str(plan(other, asked(64, 64), "low")), "there are none"


def test_low_is_the_least() -> None:
    least = plan(SD, asked(), "low")
    assert least.kept == 0
    assert least.sequential
    with pytest.raises(OutOfMemory):
        plan(SD, asked(), least.peak - 1)
    assert plan(SD, asked(), least.peak).peak <= least.peak


@pytest.mark.parametrize("memory", [PLENTY, "low"])
def test_more_pixels_never_take_less(memory) -> None:
    peaks = [plan(SD, asked(side, side), memory).peak for side in range(256, 2049, 64)]
    assert peaks == sorted(peaks)
    assert peaks[0] < peaks[-1]


def test_pictures_are_drawn_one_at_a_time_so_that_more_of_them_take_no_more() -> None:
    one = plan(SD, asked(), PLENTY).peak
    assert plan(SD, replace(asked(), seeds=(1, 2, 3, 4)), PLENTY).peak == one


def test_more_at_a_time_take_more_and_fewer_are_proposed() -> None:
    one, four = (plan(SD, asked(), PLENTY, at_once=count) for count in (1, 4))
    alone = plan(SD, asked(), PLENTY)
    assert one == alone
    assert four.kept == one.kept
    assert four.decoding > one.decoding
    assert four.drawing > one.drawing
    budget = plan(SD, asked(), "low", at_once=2).peak
    with pytest.raises(OutOfMemory, match="512x512 pixels, 4 at a time, take") as refused:
        plan(SD, asked(), budget, at_once=4)
    assert refused.value.hint == "2 at a time fit"
    with pytest.raises(OutOfMemory) as refused:
        plan(SD, asked(), plan(SD, asked(), "low").peak, at_once=4)
    assert refused.value.hint == "one at a time fits"


def test_unguided_drawing_takes_less_than_guided() -> None:
    guided, alone, one_text = (
        planning.Need(SD, asked(1024, 1024, guidance=scale), 1, False).plan(PLENTY, sequential=in_turn)
        for scale, in_turn in ((7.5, False), (1.0, False), (7.5, True))
    )
    assert alone.drawing < guided.drawing
    assert alone.drawing == one_text.drawing


def test_what_others_hold_counts() -> None:
    more = 10**8
    beside = plan(replace(SD, beside=more), asked(), PLENTY)
    assert beside.drawing == plan(SD, asked(), PLENTY).drawing + 2 * more


@pytest.mark.parametrize("number", [2, 4])
def test_a_refiner_is_counted_packed_but_not_spread_and_the_larger_maps_count(number: int) -> None:
    alone = Load(SDXL, size=number, packed=float(number))
    late = replace(alone, spec=REFINER)
    both = replace(alone, late=(late,))
    for memory in (PLENTY, "low"):
        without, found = (plan(each, asked(1024, 1024), memory) for each in (alone, both))
        assert (found.spreads, found.kept) == (without.spreads, without.kept)
        weights = planning.HOLES * number * planning.weights_of(REFINER)
        assert found.decoding + planning.HOLES * found.given == pytest.approx(
            without.decoding + planning.HOLES * without.given + weights, rel=1e-6
        )
        maps = planning.SPARE * planning.UNET_MAPS * number * (384 - 320) * 128 * 128
        more = found.drawing - without.drawing - weights
        assert more >= (maps if found.sequential else 2 * maps) - 2
        assert more <= 2 * maps + 3 * (planning.Need(both, asked(), 1, False).largest)
    plain = replace(alone, late=(replace(late, packed=0.0, shelved=False),))
    assert plan(plain, asked(), PLENTY).drawing > plan(alone, asked(), PLENTY).drawing + number * 2 * 10**9


def test_a_picture_is_encoded_beside_what_an_earlier_drawing_packed() -> None:
    need = planning.Need(SD, asked(), 1, True)
    found = need.plan(planning.weights_of(SD15) * 2, sequential=False)
    left = int(planning.HOLES * found.kept) - int(planning.HOLES * found.given)
    assert left > 10**9
    assert found.reading == need.resident + need.maps(False) + left <= found.decoding


def test_plain_networks_hold_their_weights_once_and_packed_ones_beside_them_twice() -> None:
    numbers = planning.weights_of(SD15)
    plain = plan(Load.of(SD15, torch.bfloat16, "plain", shelved=False), asked(), PLENTY)
    twice = plan(Load(SD15, 2, 2.0, shelved=False), asked(), PLENTY)
    assert plain.kept == 0
    assert twice.drawing - plain.drawing >= 2 * numbers
    assert not twice.returns
    assert twice.given == 0


def test_refusal_names_the_need_the_budget_and_a_size_that_fits() -> None:
    budget = plan(SD, asked(512, 384), "low").peak
    with pytest.raises(OutOfMemory) as refused:
        plan(SD, asked(1024, 768), budget)
    need = plan(SD, asked(1024, 768), "low").peak
    assert "1024x768" in refused.value.message
    assert f"{need / GB:.2f} GB" in refused.value.message
    assert f"{budget / GB:.2f} GB" in refused.value.message
    assert refused.value.hint == "512x384 fits"
    assert plan(SD, asked(512, 384), budget).peak <= budget


def test_where_no_size_fits_none_is_proposed() -> None:
    with pytest.raises(OutOfMemory) as refused:
        plan(SD, asked(), 10**6)
    assert "fits" not in refused.value.hint


def test_without_a_file_everything_is_held_and_low_still_reads_one_text_at_a_time() -> None:
    load = replace(SD, shelved=False)
    with pytest.raises(OutOfMemory):
        plan(load, asked(), 10**9)
    found = plan(load, asked(), "low")
    assert found.sequential
    assert found.kept == plan(load, asked(), PLENTY).kept


def test_low_is_refused_too_where_it_does_not_fit(monkeypatch) -> None:
    monkeypatch.setattr(planning, "available", lambda: 10**8)
    with pytest.raises(OutOfMemory):
        plan(SD, asked(), "low")


def test_what_cannot_be_packed_is_held_once() -> None:
    half = Load.of(SD15, torch.float16, "auto", shelved=False)  # as long as bfloat16, and never packed
    assert (half.size, half.packed) == (2, 0.0)


def test_bytes_of_packed_weights_are_counted_by_their_own_size() -> None:
    of_bytes = plan(replace(SD, size=4, packed=planning.BYTES), asked(), PLENTY)
    assert of_bytes.count(of_bytes.kept) == pytest.approx(planning.weights_of(SD15), rel=1e-6)
    assert 0 < of_bytes.count(of_bytes.given) <= planning.weights_of(SD15)


# --- what is free ---


def written(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    written(tmp_path, "proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:  5000 kB\n")
    written(tmp_path, "proc/self/status", "Name:\tpython\nVmRSS:\t  300 kB\n")
    written(tmp_path, "proc/self/cgroup", "0::/a/b\n")
    return tmp_path


def free(machine: Path) -> int | None:
    return available(machine / "proc", machine / "cgroup")


def test_what_is_free_is_what_the_system_has_beside_what_the_process_holds(machine: Path) -> None:
    assert free(machine) == 5300 * 1024


def test_the_limit_of_a_container_counts_wherever_above_it_stands(machine: Path) -> None:
    written(machine, "cgroup/a/memory.max", str(3000 * 1024))
    written(machine, "cgroup/a/memory.current", str(2000 * 1024))
    written(machine, "cgroup/a/memory.stat", f"anon 5\ninactive_file {100 * 1024}\n")
    written(machine, "cgroup/a/b/memory.max", "max\n")
    assert free(machine) == (300 + 1000 + 100) * 1024


def test_the_older_groups_are_read_too(machine: Path) -> None:
    written(machine, "proc/self/cgroup", "4:memory:/box\n2:cpu:/\n")
    written(machine, "cgroup/memory/box/memory.limit_in_bytes", str(700 * 1024))
    written(machine, "cgroup/memory/box/memory.usage_in_bytes", str(600 * 1024))
    written(machine, "cgroup/memory/box/memory.stat", "cache 1\n")
    assert free(machine) == 400 * 1024


def test_where_nobody_says_what_is_free_everything_is_allowed(tmp_path: Path, monkeypatch) -> None:
    assert free(tmp_path) is None
    monkeypatch.setattr(planning, "available", lambda: None)
    assert plan(SD, asked(), "auto") == plan(SD, asked(), PLENTY)


def test_auto_is_what_is_free(monkeypatch) -> None:
    monkeypatch.setattr(planning, "available", lambda: 15 * 10**8)
    assert plan(SD, asked(), "auto") == plan(SD, asked(), 15 * 10**8)
