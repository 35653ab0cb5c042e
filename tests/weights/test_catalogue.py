"""Models are found where each program keeps them, by any name that stands for one of them alone."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from fromnoise.errors import RequestError, StorageError
from fromnoise.weights.catalogue import default_folders, find_entries, find_model, matching, one_of
from fromnoise.weights.digests import Digests, digest_of

UUID = "0b1d2c3e-1111-2222-3333-444455556666"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the person who runs the tests is looked at."""
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name))


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())


def listed(*folders: Path) -> list[tuple[str, str, str]]:
    return [(entry.name, entry.program, entry.role) for entry in find_entries(folders)]


# --- layouts ---


def test_automatic1111(tmp_path: Path) -> None:
    models = tmp_path / "models"
    touch(models / "Stable-diffusion" / "dream.safetensors", models / "Stable-diffusion" / "old" / "v1.ckpt")
    touch(models / "VAE" / "sharp.pt", models / "Lora" / "style.safetensors", tmp_path / "venv" / "x.bin")
    touch(models / "Stable-diffusion" / "dream.yaml", models / "Stable-diffusion" / "dream.preview.png")
    found = [("dream", "AUTOMATIC1111", "model"), ("old/v1", "AUTOMATIC1111", "model")]
    found += [("sharp", "AUTOMATIC1111", "VAE"), ("style", "AUTOMATIC1111", "LoRA")]
    assert listed(tmp_path) == found
    assert listed(models) == found


def test_comfyui(tmp_path: Path) -> None:
    models = tmp_path / "models"
    touch(models / "checkpoints" / "a.safetensors", models / "diffusion_models" / "b.sft")
    touch(models / "vae" / "c.safetensors", models / "loras" / "d.safetensors")
    wanted = [(name, "ComfyUI", role) for name, role in (("a", "model"), ("b", "model"), ("c", "VAE"))]
    wanted.append(("d", "ComfyUI", "LoRA"))
    assert listed(tmp_path) == wanted
    assert listed(models) == wanted


def test_invokeai(tmp_path: Path) -> None:
    touch(tmp_path / "models" / "sd-1" / "main" / "a.safetensors")
    touch(tmp_path / "models" / "sdxl" / "main" / "b" / "model_index.json")
    touch(tmp_path / "models" / "sd-1" / "vae" / "c" / "config.json")
    touch(tmp_path / "models" / "sd-1" / "vae" / "c" / "diffusion_pytorch_model.safetensors")
    touch(tmp_path / "models" / "sd-1" / "lora" / "d.safetensors")
    touch(tmp_path / "models" / UUID / "e.safetensors", tmp_path / "autoimport" / "main" / "f.ckpt")
    wanted = [("a", "model"), ("b", "model"), ("c", "VAE"), ("d", "LoRA"), ("e", ""), ("f", "model")]
    assert listed(tmp_path) == [(name, "InvokeAI", role) for name, role in wanted]


def hugging_face(home: Path, repository: str, *files: str, revision: str = "abc123") -> Path:
    """As huggingface_hub keeps it: snapshots are links to blobs."""
    top = home / "hub" / f"models--{repository.replace('/', '--')}"
    for number, file in enumerate(files):
        touch(top / "blobs" / f"{revision}{number}")
        link = top / "snapshots" / revision / file
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(top / "blobs" / f"{revision}{number}", link.parent))
    return top


def test_hugging_faces_cache(tmp_path: Path) -> None:
    top = hugging_face(tmp_path, "org/folder", "model_index.json", "unet/x.safetensors", revision="new")
    hugging_face(tmp_path, "org/folder", "model_index.json", revision="old")
    (top / "refs").mkdir()
    (top / "refs" / "main").write_text("new")
    hugging_face(tmp_path, "org/single", "one.safetensors", "two.ckpt", "README.md")
    (tmp_path / "hub" / "models--org--broken" / "snapshots").mkdir(parents=True)
    wanted = [(name, "Hugging Face", "") for name in ("org/folder", "org/single/one", "org/single/two")]
    assert listed(tmp_path) == listed(tmp_path / "hub") == wanted
    assert find_model("org/folder", [tmp_path]) == top / "snapshots" / "new"
    assert find_model("folder", [tmp_path]) == top / "snapshots" / "new"
    (top / "refs" / "main").write_text("../../../elsewhere")
    os.utime(top / "snapshots" / "old", (2e9, 2e9))
    assert find_model("org/folder", [tmp_path]) == top / "snapshots" / "old"


def test_any_other_folder_is_looked_through(tmp_path: Path) -> None:
    touch(tmp_path / "a.safetensors", tmp_path / "deep" / "er" / "B.CKPT", tmp_path / "notes.txt")
    touch(tmp_path / ".hidden" / "c.ckpt", tmp_path / "whole" / "model_index.json")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert listed(tmp_path) == [("a", "", ""), ("deep/er/B", "", ""), ("whole", "", "")]
    assert listed(tmp_path / "nowhere") == []
    assert listed(tmp_path, tmp_path) == listed(tmp_path)


def test_our_own_folder_is_known_by_name() -> None:
    ours, cache = default_folders()
    touch(ours / "mine.safetensors")
    hugging_face(cache, "org/name", "model_index.json")
    assert listed(ours, cache) == [("mine", "fromnoise", ""), ("org/name", "Hugging Face", "")]
    assert find_model("mine") == ours / "mine.safetensors"


# --- names ---


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    top = tmp_path / "shelf"
    touch(top / "dream_8.safetensors", top / "dream_9.ckpt", top / "real" / "vision.safetensors")
    touch(top / "Dream_8_inpaint.safetensors", top / "vae" / "real.pt")  # no program's: "vae" is but a name
    return top


@pytest.mark.parametrize(
    ("word", "file"),
    [
        ("dream_8", "dream_8.safetensors"),  # not the one that only begins so
        ("dream_8.safetensors", "dream_8.safetensors"),
        ("DREAM_9", "dream_9.ckpt"),
        ("vision", "real/vision.safetensors"),
        ("real/vision", "real/vision.safetensors"),
        ("vis", "real/vision.safetensors"),
        ("dream_8_", "Dream_8_inpaint.safetensors"),
    ],
)
def test_a_name_its_beginning_or_a_path(shelf: Path, word: str, file: str) -> None:
    assert find_model(word, [shelf]) == shelf / file
    assert find_model(shelf / file, []) == shelf / file


def test_capitals_decide_between_names_that_differ_in_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path / "one" / "a.ckpt", tmp_path / "two" / "A.ckpt")
    assert find_model("A", [tmp_path]) == tmp_path / "two" / "A.ckpt"
    assert find_model("a", [tmp_path]) == tmp_path / "one" / "a.ckpt"


def test_a_path_goes_before_a_name(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "dream_8")
    monkeypatch.chdir(tmp_path)
    assert find_model("dream_8", [shelf]) == Path("dream_8")


def test_several_are_named(shelf: Path) -> None:
    with pytest.raises(RequestError, match=r"model: 'dream' may be any of 3: .*dream_8.*dream_9") as caught:
        find_model("dream", [shelf])
    assert caught.value.hint == "write more of the name, or the path"
    touch(*(shelf / f"many-{number}.ckpt" for number in range(9)))
    with pytest.raises(RequestError, match=r"may be any of 9: .* and 3 more"):
        find_model("many", [shelf])


def test_two_names_of_one_file_are_one(shelf: Path) -> None:
    (shelf / "other").mkdir()
    os.link(shelf / "real" / "vision.safetensors", shelf / "other" / "vision.safetensors")
    assert find_model("vision", [shelf]).name == "vision.safetensors"


def test_what_is_not_there_has_a_neighbour_or_advice(shelf: Path) -> None:
    for word, hint in (
        ("visoin", "did you mean 'vision'?"),
        ("0123456789", "`fromnoise models --hash` computes"),
        ("quite another", "`fromnoise models` lists"),
        ("a\0b", "`fromnoise models` lists"),
        ("x" * 5000, "`fromnoise models` lists"),
    ):
        with pytest.raises(StorageError, match="there is no model '") as caught:
            find_model(word, [shelf])
        assert hint in caught.value.hint


def test_the_folder_tells_models_from_autoencoders(tmp_path: Path) -> None:
    model, vae = tmp_path / "models" / "checkpoints" / "one.ckpt", tmp_path / "models" / "vae" / "one.ckpt"
    touch(model, vae)
    assert find_model("one", [tmp_path]) == model
    assert find_model("one", [tmp_path], role="VAE") == vae


# --- hashes ---


def test_a_hash_finds_its_file_once_it_is_known(shelf: Path) -> None:
    file = shelf / "dream_9.ckpt"
    short = sha256(file.read_bytes()).hexdigest()[:10]
    with pytest.raises(StorageError):
        find_model(short, [shelf])
    Digests().of(file)
    assert find_model(short, [shelf]) == find_model(short[:6].upper(), [shelf]) == file
    file.write_bytes(b"other")
    with pytest.raises(StorageError):
        find_model(short, [shelf])


def test_a_hash_is_computed_once(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, memory = shelf / "dream_9.ckpt", tmp_path / "deep" / "memory.json"
    first = Digests(memory).of(file)
    monkeypatch.setattr("fromnoise.weights.digests.file_digest", None)
    assert Digests(memory).of(file) == Digests(memory).known(file) == first
    monkeypatch.undo()
    for damaged in ("{", "[]", '{"x": 1}', f'{{"{file}": [1]}}', f'{{"{file}": "x"}}'):
        memory.write_text(damaged)
        assert Digests(memory).known(file) == ""
        assert Digests(memory).of(file) == first


def test_a_memory_that_cannot_be_written_is_no_obstacle(shelf: Path, tmp_path: Path) -> None:
    touch(tmp_path / "file")
    file = shelf / "dream_9.ckpt"
    assert Digests(tmp_path / "file" / "x.json").of(file) == sha256(file.read_bytes()).hexdigest()
    with pytest.raises(StorageError, match="cannot read"):
        Digests().of(shelf)


def test_several_files_have_one_hash_that_no_order_changes(shelf: Path) -> None:
    files = [shelf / "dream_8.safetensors", shelf / "dream_9.ckpt"]
    lines = sorted(f"{sha256(f.read_bytes()).hexdigest()}  {f.parent.name}/{f.name}\n" for f in files)
    wanted = sha256("".join(lines).encode()).hexdigest()
    assert digest_of(files)() == digest_of(files[::-1])() == wanted
    assert digest_of(files[:1])() == sha256(files[0].read_bytes()).hexdigest()
    ask = digest_of(files)
    files[0].unlink()
    assert ask() == ""


def test_only_one_entry_stands_for_itself(shelf: Path) -> None:
    entries = find_entries([shelf])
    assert one_of("vision", matching("vision", entries)).names == (
        "real/vision",
        "vision",
        "real/vision.safetensors",
        "vision.safetensors",
    )
