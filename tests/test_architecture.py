"""Who may import whom, and what no file may do: see ARCHITECTURE.md."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fromnoise

PACKAGE = Path(fromnoise.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = {
    **dict.fromkeys(("checks", "durable", "errors", "events", "names", "request", "specs", "version"), 0),
    **dict.fromkeys(("nets", "text", "noise", "images", "world"), 1),
    **dict.fromkeys(("weights", "engine", "reading", "drawing"), 2),
    **dict.fromkeys(("pipeline", "score"), 3),
    **dict.fromkeys(("loading", "train"), 4),
    **dict.fromkeys(("server", "fleet"), 5),
    "cli": 6,
}
ROOF = 9  # __init__ and __main__ may see everything
LATE = {("request.py", "images")}  # a result shows and saves itself, once somebody asks
ONLY = {"weights": {"nets"}}  # rooms that may see less of the floors below than others

# What a room may use beside the standard library; rooms of higher floors may use anything.
LIBRARIES = {
    **{room: set[str]() for room, floor in FLOORS.items() if floor == 0},
    "nets": {"torch", "jaxtyping"},
    "text": {"regex"},
    "noise": {"torch", "jaxtyping"},
    "images": {"torch", "jaxtyping", "PIL"},
    "weights": {"torch", "jaxtyping", "safetensors", "platformdirs"},
}
ARITHMETIC = {"math", "itertools", "collections", "dataclasses", "typing"}

FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "input",
    "breakpoint",
    "os.system",
    "os.popen",
    "torch.load",
    "pickle.load",
    "pickle.loads",
    "yaml.load",
}
FORBIDDEN_MODULES = {"pickle", "shelve", "marshal", "diffusers", "transformers"}
GLOBAL_SEED = "torch.manual_seed"  # drawing gets its randomness passed in; training seeds its initial weights


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules_imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from [node.module or ""] if node.module != "fromnoise" else submodules(node)


def submodules(node: ast.ImportFrom) -> Iterator[str]:
    return (f"fromnoise.{name.name}" for name in node.names)


def rooms_imported_by(path: Path) -> set[str]:
    inside = (name.split(".") for name in modules_imported_by(path))
    return {parts[1] for parts in inside if parts[0] == "fromnoise" and len(parts) > 1}


def breaches(path: Path) -> Iterator[str]:
    room, file = room_of(path), str(path.relative_to(PACKAGE))
    for other in rooms_imported_by(path) - {room}:
        below = FLOORS[other] == 0 or FLOORS[other] < FLOORS.get(room, ROOF)
        allowed = FLOORS[other] == 0 or other in ONLY.get(room, FLOORS)
        if not (below and allowed) and (file, other) not in LATE:
            yield f"{file} imports {other}"


def calls_in(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in FILES} - {"__init__", "__main__"}
    assert rooms <= FLOORS.keys()


def test_rooms_import_only_from_the_floors_below() -> None:
    assert [breach for path in FILES for breach in breaches(path)] == []


def test_late_imports_stay_inside_functions() -> None:
    for file, room in LATE:
        top = ast.parse((PACKAGE / file).read_text(encoding="utf-8")).body
        assert not [
            node for node in top if isinstance(node, ast.ImportFrom) and f".{room}" in (node.module or "")
        ]


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) in LIBRARIES], ids=named)
def test_the_lower_floors_use_only_their_own_libraries(path: Path) -> None:
    used = {name.split(".")[0] for name in modules_imported_by(path)}
    outside = used - sys.stdlib_module_names - {"fromnoise"} - type_only(path)
    assert outside <= LIBRARIES[room_of(path)]


def type_only(path: Path) -> set[str]:
    """Modules imported under `if TYPE_CHECKING:` are words for the reader; nothing is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {
        (node.module or "").split(".")[0]
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }


def test_samplers_are_pure_arithmetic() -> None:
    for path in (PACKAGE / "noise" / "samplers").glob("*.py"):
        others = {name for name in modules_imported_by(path) if name.split(".")[0] not in ARITHMETIC}
        assert all(name.startswith("fromnoise.noise.samplers") for name in others), path


@pytest.mark.parametrize("path", FILES, ids=named)
def test_nothing_dangerous_is_called(path: Path) -> None:
    calls = list(calls_in(path))
    assert {name for name, _ in calls} & FORBIDDEN_CALLS == set()
    assert room_of(path) == "train" or GLOBAL_SEED not in {name for name, _ in calls}
    assert not [k for _, call in calls for k in call.keywords if k.arg == "shell"]
    assert {name.split(".")[0] for name in modules_imported_by(path)} & FORBIDDEN_MODULES == set()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_file_keeps_to_the_house_rules(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    assert not [n for n in nodes if isinstance(n, ast.ExceptHandler) and n.type is None], "a bare except"
    assert not [n for n in nodes if isinstance(n, ast.Global | ast.Nonlocal)], "a global that changes"
    assert "__future__" not in set(modules_imported_by(path))
    if room_of(path) != "cli":
        assert "print" not in {name for name, _ in calls_in(path)}
        assert "os.environ" not in text
    at_import = [n for n in tree.body if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)]
    assert not at_import, "work at import"
