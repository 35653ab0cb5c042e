"""The documentation is held to the code: links, names, tables, commands and Python blocks."""

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from shutil import which
from types import SimpleNamespace
from typing import Any

import click
import pytest
from PIL import Image
from test_architecture import FLOORS

import fromnoise
from fromnoise.cli.app import app
from fromnoise.names import SAMPLER_NAMES, SPACING_NAMES
from fromnoise.noise.samplers import SAMPLERS
from fromnoise.noise.spacings import karras
from fromnoise.pipeline import Pipeline
from fromnoise.weights import model_loader
from fromnoise.weights.native import Parts, save_native
from fromnoise.world import FULL, parse

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MOST_BYTES = 900_000  # of a picture in the documentation

EMBEDDED = (model_loader.FOLDER / model_loader.MODEL_FILE).exists()
# drawn by the embedded model, so missing until there is one
PENDING = set() if EMBEDDED else {"docs/pictures/gallery.png"}


def blocks(page: str, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(PAGES[page]) if kind == language]


def table(page: str, first_head: str) -> list[list[str]]:
    """The cells of the rows below this heading."""
    lines = iter(PAGES[page].splitlines())
    while not next(lines).startswith(f"| {first_head} |"):
        pass
    next(lines)
    rows: list[list[str]] = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- links and names ---


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    lost: list[str] = []
    for link in LINK.findall(re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists():
            lost += [link] if str(target.resolve().relative_to(ROOT)) not in PENDING else []
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            lost.append(link)
    assert lost == []


def test_every_path_in_the_tree_exists_and_every_room_is_in_it() -> None:
    (tree,) = [block for block in blocks("README.md", "text") if block.startswith("fromnoise/")]
    named = set(paths_of(tree))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    package = ROOT / "src" / "fromnoise"
    rooms = {path.relative_to(ROOT).as_posix() for path in package.iterdir() if not path.name.startswith("_")}
    assert {room for room in rooms if not room.endswith("py.typed")} <= named
    assert {"tests", "examples", "docs"} <= named
    assert {page for page in PAGES if "/" not in page} <= named


def paths_of(tree: str) -> Iterator[str]:
    parents: list[str] = []
    for line in tree.splitlines()[1:]:
        place = re.search(r"[├└]── ", line)
        assert place, f"no branch in {line!r}"
        depth = place.start() // 4
        parents = [*parents[:depth], line[place.end() :].split()[0].rstrip("/")]
        yield "/".join(parents)


@pytest.mark.parametrize(
    "picture", sorted((ROOT / "docs" / "pictures").iterdir()), ids=lambda path: path.name
)
def test_pictures_are_whole_and_not_heavy(picture: Path) -> None:
    with Image.open(picture) as image:
        image.load()
    assert picture.stat().st_size <= MOST_BYTES


# --- architecture, glossary, changelog ---


def test_the_table_of_floors_is_the_one_that_imports_are_held_to() -> None:
    rows = table("ARCHITECTURE.md", "Floor")
    assert {room: int(floor) for floor, rooms, *_ in rows for room in re.findall(r"`(\w+)`", rooms)} == FLOORS


def test_every_contract_is_where_the_table_says() -> None:
    rows = table("ARCHITECTURE.md", "Contract")
    assert len(rows) == 11
    for name, where, _ in rows:
        text = (ROOT / LINK.findall(where)[0]).read_text(encoding="utf-8")
        assert re.search(rf"^(class )?{name.strip('`')}\b[:(]", text, re.MULTILINE), name


def test_the_glossary_has_every_symbol_once() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ", PAGES["GLOSSARY.md"], re.MULTILINE)
    symbols = [name for row in rows if row != "Symbol" for name in row.split(", ")]
    assert [name for name in symbols if symbols.count(name) > 1] == []
    wanted = """x x0 eps v velocity sigma t alpha_bar signal context pooled guidance latents pixels
        latent_mean latent_std latent_scale schedule spacing sampler denoiser process strength
        oracle sighting tier ceiling floor"""
    assert set(wanted.split()) <= set(symbols)


def test_the_changelog_tells_of_this_version() -> None:
    assert f"\n## [{fromnoise.__version__}]" in PAGES["CHANGELOG.md"]


# --- samplers ---


def test_the_tables_of_samplers_and_spacings_are_complete() -> None:
    for first, names in (("Sampler", SAMPLER_NAMES), ("Spacing", SPACING_NAMES)):
        found = [row[0].strip("`") for row in table("docs/samplers.md", first)]
        assert sorted(found) == sorted(names)


@pytest.mark.parametrize("row", table("docs/samplers.md", "Sampler"), ids=lambda row: row[0])
def test_samplers_ask_and_draw_as_often_as_the_table_says(row: list[str]) -> None:
    name, evaluations, fresh = row[0].strip("`"), row[3], row[4]
    asked: list[float] = []
    drawn: list[float] = []

    def denoise(x: float, sigma: float) -> float:
        asked.append(sigma)
        return x / (1 + sigma**2)

    def noise(like: float, sigma: float, sigma_next: float) -> float:
        drawn.append(sigma)
        return 0.0

    steps = 10
    list(SAMPLERS[name](denoise, 3.0, [*karras(steps, 14.6, 0.03), 0.0], noise=noise))
    assert len(asked) == {"N": steps, "2N − 1": 2 * steps - 1}[evaluations]
    assert bool(drawn) == {"yes": True, "no": False}[fresh]


# --- commands and code ---


def shell_lines() -> list[tuple[str, str]]:
    return [
        (page, line)
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.splitlines()
        if line and not line.startswith("#")
    ]


@pytest.mark.parametrize(("page", "line"), [(p, s) for p, s in shell_lines() if s.startswith("fromnoise ")])
def test_commands_in_the_documentation_are_understood(page: str, line: str) -> None:
    command: click.Command = app
    name, parent, words = "fromnoise", None, shlex.split(line, comments=True)[1:]
    while True:
        context = command.make_context(name, words, parent=parent)
        rest = [*getattr(context, "_protected_args", ()), *context.args]
        if not (isinstance(command, click.Group) and rest):
            break
        found, inner, words = command.resolve_command(context, rest)
        assert found
        assert inner
        name, command, parent = found, inner, context
    assert not isinstance(command, click.Group), f"{line} in {page} names no command"


def test_make_targets_in_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for _, line in shell_lines() if line.startswith("make ")}
    assert {"draw", "test"} <= named <= targets


@pytest.mark.skipif(which("make") is None, reason="there is no make")
@pytest.mark.parametrize(
    ("told", "asked"),
    [((), "constraints.txt torch"), (("TORCH_INDEX=https://a",), "--extra-index-url https://a torch")],
)
def test_the_build_of_torch_can_be_chosen(told: tuple[str, ...], asked: str) -> None:
    words = ["make", "--dry-run", "--always-make", ".venv/core", *told]
    plan = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert any(" ".join(line.split()).endswith(asked) for line in plan.splitlines())


@pytest.fixture
def shipped(tmp_path: Path, tiny_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TINY in the place of the embedded model."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    save_native(tiny_parts, folder / model_loader.MODEL_FILE)
    digest = sha256((folder / model_loader.MODEL_FILE).read_bytes()).hexdigest()
    (folder / model_loader.CHECKSUM_FILE).write_text(f"{digest}  {model_loader.MODEL_FILE}\n")
    monkeypatch.setattr(model_loader, "FOLDER", folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PYTHON = [(page, k) for page in PAGES for k in range(len(blocks(page, "python")))]


@pytest.mark.parametrize(("page", "k"), PYTHON)
def test_python_in_the_documentation_runs(page: str, k: int, shipped: Path) -> None:
    script = shipped / "block.py"
    script.write_text(blocks(page, "python")[k], encoding="utf-8")
    runpy.run_path(str(script))


def test_the_readme_shows_python() -> None:
    assert ("README.md", 0) in PYTHON


# --- docs/make.py ---


@pytest.fixture(scope="module")
def make() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "make.py")))


def between(page: str, part: str) -> str:
    found = re.search(rf"<!-- {part}: [^\n]*-->\n(.*?)<!-- /{part} -->", PAGES[page], re.DOTALL)
    assert found
    return found[1].strip()


def test_the_words_of_the_world_are_up_to_date(make: SimpleNamespace) -> None:
    assert between("docs/world.md", "words") == make.words(), "run: python docs/make.py words"
    assert between("docs/world.md", "all-words") == make.words(FULL), "run: python docs/make.py words"


@pytest.mark.skipif(not EMBEDDED, reason="there is no embedded model yet")
def test_the_model_card_is_of_the_embedded_model(make: SimpleNamespace) -> None:
    path = model_loader.FOLDER / model_loader.MODEL_FILE
    made = make.facts(make.load_native(path), path.stat().st_size)
    assert between("docs/model-card.md", "facts") == made, "run: python docs/make.py card"


@pytest.mark.skipif(EMBEDDED, reason="there is one now")
def test_without_a_model_the_card_states_nothing() -> None:
    assert between("docs/model-card.md", "facts") == between("docs/model-card.md", "score") == ""


CARD: dict[str, Any] = {
    "model": "tiny",
    "date": "2026-01-02",
    "scenes": 1000,
    "seconds": 5400,
    "stages": {
        "vae": {"steps": 7, "recipe": {"batch": 4, "lr": 1e-3}, "seconds": 3600, "figures": {"psnr": 31.5}},
        "unet": {"steps": 9, "recipe": {"batch": 8, "lr": 1e-4}, "seconds": 1800, "figures": {}},
    },
}


def test_a_card_is_written_from_the_file_and_the_score(
    make: SimpleNamespace, tiny_parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(
        **{name: getattr(tiny_parts, name) for name in Parts.__dataclass_fields__}
        | {"about": {"card": CARD, "words": ["red", "house"]}}
    )
    save_native(parts, tmp_path / "tiny.safetensors")
    (tmp_path / "score.md").write_text("| part | model |\n")
    (tmp_path / "model-card.md").write_text(PAGES["docs/model-card.md"])
    told = ["--model", str(tmp_path / "tiny.safetensors"), "--score", str(tmp_path / "score.md")]
    monkeypatch.setattr(sys, "argv", ["make.py", "card", *told, "--folder", str(tmp_path)])
    for _ in range(2):  # twice: the second time there is something to replace
        make.main()
    card = (tmp_path / "model-card.md").read_text()
    assert "| vae | 7 | 4 | 0.001 | 1.00 | psnr 31.5 |\n| unet | 9 | 8 | 0.0001 | 0.50 | – |" in card
    assert sha256((tmp_path / "tiny.safetensors").read_bytes()).hexdigest() in card
    assert "| Hours in all | 1.50 |" in card
    assert card.count("| part | model |") == 1
    with pytest.raises(SystemExit, match="carries no card"):
        make.facts(tiny_parts, 1)
    with pytest.raises(SystemExit, match="0 places"):
        make.replaced("no mark", "words", "")


def test_the_gallery_holds_a_picture_for_every_prompt(make: SimpleNamespace, tiny: Pipeline) -> None:
    page = make.gallery(tiny, make.PROMPTS[-5:])
    row = 128 + make.BELOW + make.GAP
    assert page.size == (4 * (128 + make.GAP) - make.GAP, 2 * row - make.GAP)
    drawn = tiny(make.PROMPTS[-1], seed=make.SEED).images[0].resize((128, 128), Image.Resampling.LANCZOS)
    assert page.crop((0, row, 128, row + 128)).tobytes() == drawn.tobytes()


def test_a_star_marks_what_training_never_showed(make: SimpleNamespace) -> None:
    assert [prompt for prompt in make.PROMPTS if make.unseen(prompt)] == list(make.PROMPTS[-2:])
    assert all(parse(prompt).things and parse(prompt).setting for prompt in make.PROMPTS)
