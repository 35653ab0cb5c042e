"""The tables of docs/weights.md: all that we support is in them, and no figure is above its limit."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from kinds import CONTAINERS, KINDS, WRITTEN

from fromnoise.weights import families
from fromnoise.weights.containers import Container
from fromnoise.weights.draft_writer import Box

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "weights.md").read_text(encoding="utf-8")
NETWORK, DRAWING = 1e-5, 1e-4  # the largest errors
FIGURE = r"(\d\.\de[+-]\d\d)\*?"
LOADED = re.compile(rf"{FIGURE}|refused: .+")
WRITTEN_CELL = re.compile(rf"{FIGURE}, bit-equal|bit-equal|refused: .+")
SEEN = re.compile(rf"|[0-9a-f]{{10}}: {FIGURE}, bit-equal")  # nobody has tried; or what `--real` fills in


@pytest.fixture(scope="module")
def make() -> SimpleNamespace:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        return SimpleNamespace(**runpy.run_path(str(DOCS / "make_weights.py")))


def heads(part: str) -> list[str]:
    found = re.search(rf"<!-- {part}: [^\n]*-->\n\n(\|.*\|)\n", TEXT)
    assert found
    return [cell.strip() for cell in found[1].strip("|").split(" | ")]


# --- what is in the tables ---


def test_there_is_a_row_for_every_kind_and_a_column_for_every_container(make: SimpleNamespace) -> None:
    assert heads("loaded") == ["Loaded", "Tensors", *CONTAINERS, "Ten steps", make.REAL]
    assert heads("written") == ["Written", *WRITTEN, "Measured", make.REAL]
    for part in ("loaded", "written"):
        rows = make.table_in(TEXT, part)
        assert list(rows) == list(KINDS), "run: python docs/make_weights.py"
        assert {len(cells) + 1 for cells in rows.values()} == {len(heads(part))}


def test_what_the_program_knows_is_among_the_kinds_and_containers() -> None:
    assert {kind.family for kind in KINDS.values()} == families.BASES.keys()
    variants = {kind.variant for kind in KINDS.values()}
    assert variants >= {"base", "inpaint", "instruct-pix2pix", "depth", "lcm", *families.PRUNED.values()}
    assert {kind.full.prediction for kind in KINDS.values()} == {"eps", "v", "edm"}
    assert {container for _, container in CONTAINERS.values()} == {*get_args(Container), "folder"}
    assert set(WRITTEN.values()) == set(get_args(Box))


def test_no_figure_is_above_its_limit(make: SimpleNamespace) -> None:
    rows = make.table_in(TEXT, "loaded")
    for name, (tensors, *cells, drawn, real) in rows.items():
        assert int(tensors.replace(",", "")) > 500
        for cell in cells:
            found = LOADED.fullmatch(cell)
            assert found, f"{name}: {cell}"
            assert float(found[1] or 0) <= NETWORK, name
        is_refused = cells[0].startswith("refused")
        assert (drawn == "–") == is_refused
        assert is_refused or float(drawn) <= DRAWING, name
        assert SEEN.fullmatch(real)


def test_every_way_back_gives_the_same_bits(make: SimpleNamespace) -> None:
    for name, (*cells, _, real) in make.table_in(TEXT, "written").items():
        for cell in cells:
            found = WRITTEN_CELL.fullmatch(cell)
            assert found, f"{name}: {cell}"
            assert float(found[1] or 0) <= NETWORK, name
        assert SEEN.fullmatch(real)


def test_only_what_needs_an_estimator_of_depths_is_refused(make: SimpleNamespace) -> None:
    refused = {name for name, cells in make.table_in(TEXT, "loaded").items() if "refused" in str(cells)}
    assert refused == {"SD 2.x depth"}


def test_nothing_of_full_size_is_above_its_limit(make: SimpleNamespace) -> None:
    pytest.importorskip("diffusers")
    from full_size import LIMITS

    rows = make.table_in(TEXT, "full")
    assert list(rows) == list(LIMITS), "run: python docs/make_weights.py --full"
    assert all(float(rows[name][0]) <= limit for name, limit in LIMITS.items())


# --- how they are made ---


def test_a_row_that_is_measured_again_keeps_what_a_real_file_has_shown(make: SimpleNamespace) -> None:
    first, second = list(KINDS)[:2]
    empty = re.sub(r"(<!-- (loaded|written): [^\n]*-->\n).*?(<!-- /\2 -->)", r"\1\3", TEXT, flags=re.DOTALL)
    loaded, written = ["700", *["1.0e-06"] * 6, "1.0e-05"], [*["1.0e-06, bit-equal"] * 3, "today"]
    text = make.with_kind(make.with_kind(empty, second, loaded, written), first, loaded, written)
    assert make.table_in(text, "loaded") == {first: [*loaded, ""], second: [*loaded, ""]}
    assert list(make.table_in(text, "written")) == [first, second]
    text = make.with_kind(text, second, real="0123456789: 2.0e-06, bit-equal")
    text = make.with_kind(text, second, ["701", *loaded[1:]], written)
    assert make.table_in(text, "loaded")[second] == ["701", *loaded[1:], "0123456789: 2.0e-06, bit-equal"]
    assert make.table_in(text, "written")[second][-1] == "0123456789: 2.0e-06, bit-equal"
    assert make.table_in(text, "written")[first][-1] == ""


def test_a_row_that_there_is_not_is_refused(
    make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("diffusers")
    monkeypatch.setattr("sys.argv", ["make_weights.py", "SD 9"])
    with pytest.raises(SystemExit):
        make.main()
    assert "no rows are called ['SD 9']; there are SD 1.x, " in capsys.readouterr().err


# --- and measured again ---


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_as_the_tables_say(name: str, make: SimpleNamespace, tmp_path: Path) -> None:
    from figures import measured

    row = measured(name, tmp_path)
    loaded, written = [f"{row.tensors:,}", *row.loaded.values(), row.drawn], [*row.written.values()]
    for part, cells in (("loaded", loaded), ("written", written)):
        told = make.table_in(TEXT, part)[name][: len(cells)]
        assert [re.sub(FIGURE, "x", cell) for cell in cells] == [re.sub(FIGURE, "x", cell) for cell in told]
    figures = re.findall(FIGURE, " ".join([*row.loaded.values(), *row.written.values()]))
    assert all(float(number) <= NETWORK for number in figures)
    assert row.drawn == "–" or float(row.drawn) <= DRAWING


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("container", [".ckpt", "folder"])
def test_a_real_file_finds_its_row(container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from real_files import tried
    from specimens import Specimen, narrow_families

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "home").mkdir()
    name = "SDXL v, zero terminal SNR"
    with narrow_families():
        specimen = Specimen(name, tmp_path)
        row, cell = tried(specimen.file(container), tmp_path / "home")
    assert row == name
    assert SEEN.fullmatch(cell)
