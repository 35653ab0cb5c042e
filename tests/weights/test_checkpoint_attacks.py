"""Files made to harm: each is refused, at once, and nothing that is in it runs."""

import io
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from struct import pack, pack_into

import pytest
from forgery import HEADER, MAGIC, attacks, frauds, legacy, pickled, storage, table, tensor, text, zipped

from fromnoise.errors import WeightsError
from fromnoise.weights.checkpoint import open_checkpoint

HONEST = pickled(table(weight=tensor()))
SOON = 1.0  # seconds of work for the worst of them; most take a millisecond
LITTLE = 64 << 20  # bytes

WATCH = """
import sys
from pathlib import Path
from fromnoise.errors import WeightsError
from fromnoise.weights.checkpoint import open_checkpoint

folder = Path(sys.argv[1])
with open_checkpoint(folder / "honest.ckpt") as contents:
    contents.read_all()
files = sorted(folder.glob("attack-*"))
allowed = {str(path) for path in files}

def watch(event, details):
    harmless = event == "open" and str(details[0]) in allowed
    if event.split(".")[0] in ("import", "exec", "compile", "os", "subprocess", "socket", "open", "ctypes",
                               "shutil", "pty", "marshal", "webbrowser", "code", "pickle") and not harmless:
        seen.append((event, str(details)))

seen, refused = [], 0
sys.addaudithook(watch)
for path in files:
    try:
        open_checkpoint(path).close()
    except WeightsError:
        refused += 1
found = list(seen)
print(len(files), refused, found)
"""


def refusal(folder: Path, data: bytes, name: str = "file.ckpt") -> str:
    """What is said of a file; saying so takes no time."""
    path = folder / name
    path.write_bytes(data)
    began = time.process_time()
    with pytest.raises(WeightsError) as caught:
        open_checkpoint(path)
    assert time.process_time() - began < SOON
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(path.name)
    return caught.value.message


@pytest.mark.parametrize("name", attacks(Path("x")))
def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, name: str) -> None:
    sentinel = tmp_path / "ran"
    value = attacks(sentinel)[name]
    among_weights = zipped(pickled(table(weight=tensor(), evil=value)))
    instead = zipped(pickled(value))
    old, bare = legacy(table(weight=tensor(), evil=value)), pickled(value)
    for data in (among_weights, instead, old, bare, MAGIC + bare, HEADER + bare):
        said = refusal(tmp_path, data)
        assert "asks for" in said or "the pickle instruction" in said
        if name[0].isalpha() and "." in name:
            assert name in said or "asks for os." in said
    assert not sentinel.exists()


def test_nothing_is_imported_opened_or_run(tmp_path: Path) -> None:
    sentinel = tmp_path / "ran"
    (tmp_path / "honest.ckpt").write_bytes(zipped(HONEST))
    lies = [zipped(pickled(value)) for value, _ in frauds().values() if len(value) < 10_000]
    forms = [(zipped(pickled(value)), legacy(value), pickled(value)) for value in attacks(sentinel).values()]
    files = [*lies, *(data for form in forms for data in form)]
    for index, data in enumerate(files):
        (tmp_path / f"attack-{index:03}").write_bytes(data)
    command = [sys.executable, "-c", WATCH, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert run.stdout.strip() == f"{len(files)} {len(files)} []"
    assert not sentinel.exists()


@pytest.mark.parametrize("name", frauds())
def test_a_pickle_that_lies_is_refused(tmp_path: Path, name: str) -> None:
    value, said = frauds()[name]
    assert said in refusal(tmp_path, zipped(pickled(value)))
    if "storage" not in name and b"torch" in value:  # sizes are not known before the end of the older format
        assert said in refusal(tmp_path, legacy(value))


def test_what_the_forger_makes_is_read_when_it_is_honest(tmp_path: Path) -> None:
    for data, first in ((zipped(HONEST), [0.0, 1.0, 2.0, 3.0]), (legacy(table(weight=tensor())), [0.0] * 4)):
        (tmp_path / "x").write_bytes(data)
        with open_checkpoint(tmp_path / "x") as contents:
            assert {name: each.tolist() for name, each in contents.read_all().items()} == {"weight": first}


def test_keys_chosen_to_slow_a_dictionary_down_do_not(tmp_path: Path) -> None:
    colliding = b"".join(b"\x8a\x10" + (i * (2**61 - 1)).to_bytes(16, "little") + b"N" for i in range(40_000))
    (tmp_path / "x").write_bytes(zipped(pickled(table(weight=tensor(), other=b"}(" + colliding + b"u"))))
    began = time.process_time()
    with open_checkpoint(tmp_path / "x") as contents:
        assert (list(contents.tensors), contents.dropped) == (["weight"], ("other",))
    assert time.process_time() - began < SOON


@pytest.mark.parametrize("name", ["a billion laughs", "a text of 2^60 bytes", "2^40 copies by stride 0"])
def test_a_small_file_takes_little_memory(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_bytes(zipped(pickled(frauds()[name][0])))
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError):
            open_checkpoint(tmp_path / "x")
        assert tracemalloc.get_traced_memory()[1] < LITTLE
    finally:
        tracemalloc.stop()


# --- archives ---


def patched(data: bytes, mark: bytes, offset: int, form: str, value: int) -> bytes:
    """The archive with a field of the first header after `mark` overwritten."""
    changed = bytearray(data)
    pack_into(form, changed, data.index(mark) + offset, value)
    return bytes(changed)


def written(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in entries:
            file.writestr(name, data)
    return buffer.getvalue()


LOCAL, ENTRY, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
GOOD = zipped(HONEST)
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "compressed": (
        lambda: written(("a/data.pkl", HONEST), ("a/data/0", bytes(16)), method=zipfile.ZIP_DEFLATED),
        "compressed or encrypted",
    ),
    "encrypted": (lambda: patched(GOOD, ENTRY, 8, "<H", 1), "compressed or encrypted"),
    "encrypted in one of two places": (lambda: patched(GOOD, LOCAL, 6, "<H", 1), "in two ways"),
    "of another name inside": (
        lambda: GOOD.replace(b"archive/data.pkl", b"archive/data.pkk", 1),
        "in two ways",
    ),
    "of another size inside": (lambda: patched(GOOD, LOCAL, 22, "<L", 7), "in two ways"),
    "compressed in one of two places": (lambda: patched(GOOD, LOCAL, 8, "<H", 8), "in two ways"),
    "with a name twice": (
        lambda: zipped(HONEST, data_1=bytes(16)).replace(b"archive/data/1", b"archive/data/0"),
        "two entries of one name",
    ),
    "with two pickles": (
        lambda: written(("a/data.pkl", HONEST), ("b/data.pkl", HONEST), ("a/data/0", bytes(16))),
        "not of a PyTorch checkpoint",
    ),
    "without a pickle": (lambda: written(("a/data/0", bytes(16))), "not of a PyTorch checkpoint"),
    "for another machine": (lambda: zipped(HONEST, byteorder=b"big"), "byte order"),
    "with overlapping entries": (
        lambda: patched(patched(GOOD, ENTRY, 20, "<L", 400), ENTRY, 24, "<L", 400),
        "in two ways",
    ),
    "with a comment": (lambda: GOOD[:-2] + b"\5\0hello", "cut short, or that something follows"),
    "with a comment that is denied": (lambda: GOOD[:-2] + b"\1\0", "with a comment"),
    "with an end of its own": (lambda: GOOD + GOOD[GOOD.index(END) :], "does not end where"),
    "with something after it": (lambda: GOOD + b"\0", "something follows"),
    "cut short": (lambda: GOOD[:-30], "cut short"),
    "of its first bytes": (lambda: GOOD[:10], "cut short"),
    "of 65,535 entries": (
        lambda: patched(patched(GOOD, END, 8, "<H", 65535), END, 10, "<H", 65535),
        "is the most",
    ),
    "of more entries than it has": (
        lambda: patched(patched(GOOD, END, 8, "<H", 3), END, 10, "<H", 3),
        "too short",
    ),
    "of fewer entries than it has": (
        lambda: patched(patched(GOOD, END, 8, "<H", 1), END, 10, "<H", 1),
        "too long",
    ),
    "with its directory elsewhere": (lambda: patched(GOOD, END, 16, "<L", 2**31), "does not end where"),
    "with an entry outside": (lambda: patched(GOOD, ENTRY, 42, "<L", 2**31), "begins outside"),
    "on two disks": (lambda: patched(GOOD, END, 4, "<H", 1), "several parts"),
    "with a name in no alphabet": (
        lambda: GOOD.replace(b"archive/data/0", b"archive/data/\xff"),
        "not UTF-8",
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_pytorch_does_not_write_is_refused(tmp_path: Path, name: str) -> None:
    make, said = ARCHIVES[name]
    assert said in refusal(tmp_path, make())


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    inner = bytearray(zipped(HONEST, data_1=bytes(16)))
    # the second storage's entry points to a header that lies within the first storage
    header = LOCAL + pack("<5H3L2H", 20, 0, 0, 0, 0, 0, 0, 0, len("archive/data/1"), 0) + b"archive/data/1"
    data = zipped(pickled(table(weight=tensor())), data_1=b"", data_2=header + bytes(16))
    inside = data.index(header, data.index(b"archive/data/2"))
    entry = data.index(b"archive/data/1", data.index(ENTRY)) - 46
    inner = bytearray(data)
    pack_into("<L", inner, entry + 42, inside)
    assert "over each other" in refusal(tmp_path, bytes(inner))


def test_a_torchscript_program_is_called_one(tmp_path: Path) -> None:
    data = written(("a/data.pkl", HONEST), ("a/constants.pkl", b""), ("a/code/x.py", b"print()"))
    assert "TorchScript" in refusal(tmp_path, data)


def test_the_older_format_is_held_to_what_it_says(tmp_path: Path) -> None:
    value = table(weight=tensor())
    assert "it has 5" in refusal(tmp_path, legacy(value, counts=(5,)))
    assert "cut short" in refusal(tmp_path, legacy(value)[:-1])
    assert "other storages" in refusal(tmp_path, legacy(value, keys=()))
    assert "other storages" in refusal(tmp_path, legacy(value, keys=("0", "0")))
    assert "other storages" in refusal(tmp_path, legacy(value, keys=("0", "1"), counts=(4, 4)))
    assert "cut short" in refusal(tmp_path, legacy(table(a=tensor(held=storage(count=2**62)))))
    assert "byte order" in refusal(
        tmp_path, legacy(value).replace(b"little_endian\x88", b"little_endian\x89")
    )
    assert "nobody wrote" in refusal(tmp_path, legacy(value).replace(b"M\xe9\x03", b"M\xe9\x04"))
    assert "not a PyTorch checkpoint" in refusal(tmp_path, HONEST.replace(tensor(), b"N"))
    assert "protocol" in refusal(tmp_path, b"\x80\x05N.")


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    said = refusal(tmp_path, zipped(pickled(text_global("\x1b[31mos\r" + "x" * 500, "system\x07"))))
    assert said.isprintable()
    assert len(said) < 300
    name = "bad\x1b[2J\nname.ckpt"
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError) as caught:
        open_checkpoint(tmp_path / name)
    assert caught.value.message.isprintable()


def text_global(module: str, name: str) -> bytes:
    """A name that is taken from the stack, where it may be anything."""
    return text(module) + text(name) + b"\x93"
