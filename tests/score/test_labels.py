import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from fromnoise.errors import RequestError, StorageError
from fromnoise.score import Labels, agreement, load_labels, make_tiers, save_labels, to_label
from fromnoise.score.plans import OVERALL
from fromnoise.world.geometry import Box
from fromnoise.world.seeing import Found, Seen

SIDE = 16


@pytest.fixture(scope="module")
def labels() -> Labels:
    chosen = to_label(make_tiers(OVERALL, 4, 2), 30)
    pixels = torch.randint(0, 256, (30, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    return Labels("f" * 64, "small", tuple(chosen), pixels / 127.5 - 1)


def fill_in(folder: Path, said: list[bool]) -> None:
    about, *lines = (folder / "labels.jsonl").read_text().splitlines()
    filled = [
        json.dumps(json.loads(line) | {"right": right}) for line, right in zip(lines, said, strict=True)
    ]
    (folder / "labels.jsonl").write_text("\n".join([about, *filled]) + "\n")


def test_all_six_tiers_seen_and_held_out_are_to_be_labelled(labels: Labels) -> None:
    chosen = labels.labels
    assert [label.number for label in chosen] == list(range(1, 31))
    assert {label.tier for label in chosen[:12]} == {*OVERALL}
    assert {label.split for label in chosen} >= {"seen", "H1", "H2", "H3", "H4"}
    assert len({label.seed for label in chosen}) == 30
    assert all(label.right is None for label in chosen)
    with pytest.raises(RequestError, match=r"99 pictures were asked for, of \d+ prompts"):
        to_label(make_tiers(("single",), 4, 0), 99)


def test_labels_come_back_with_their_pictures_to_the_byte(labels: Labels, tmp_path: Path) -> None:
    paths = save_labels(tmp_path / "l", labels)
    assert [path.name for path in paths] == ["labels.jsonl", "sheet-01.png", "sheet-02.png"]
    said = [n % 3 == 0 for n in range(30)]
    fill_in(tmp_path / "l", said)
    back = load_labels(tmp_path / "l")
    assert [label.right for label in back.labels] == said
    assert (back.model_hash, back.world) == (labels.model_hash, labels.world)
    assert torch.allclose(back.pixels, labels.pixels, atol=1e-6)


def test_sheets_do_not_tell_what_the_checker_thinks(labels: Labels, tmp_path: Path) -> None:
    save_labels(tmp_path / "l", labels)
    lines = (tmp_path / "l" / "labels.jsonl").read_text().splitlines()
    assert {*json.loads(lines[1])} == {"number", "tier", "split", "prompt", "seed", "right"}
    with Image.open(tmp_path / "l" / "sheet-01.png") as sheet:
        assert sheet.width == 5 * (2 * SIDE + 8)


def test_labels_are_never_overwritten_and_never_half_read(labels: Labels, tmp_path: Path) -> None:
    folder = tmp_path / "l"
    save_labels(folder, labels)
    with pytest.raises(StorageError, match="is there already"):
        save_labels(folder, labels)
    with pytest.raises(RequestError, match="30 pictures have no label yet, the first is number 1"):
        load_labels(folder)
    with (folder / "labels.jsonl").open("a") as file:
        file.write('{"number": 31}\n')
    with pytest.raises(RequestError, match="line 32 is no label"):
        load_labels(folder)
    with pytest.raises(StorageError, match=r"cannot read .*labels\.jsonl") as caught:
        load_labels(tmp_path / "nowhere")
    assert "--sheet-for-labels" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"side": None}, "line 1 does not say model_hash, world and side"),
        ({"side": 0}, "line 1 does not say"),
        ({"side": "wide"}, "line 1 does not say"),
        ({"model_hash": None}, "line 1 does not say"),
        ({"world": None}, "line 1 does not say"),
        ({"world": "nowhere"}, "world: 'nowhere' is unknown"),
    ],
)
def test_a_first_line_that_lacks_something_is_one_clear_error(
    labels: Labels, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    save_labels(tmp_path, labels)
    fill_in(tmp_path, [True] * 30)
    about, *lines = (tmp_path / "labels.jsonl").read_text().splitlines()
    kept = {name: value for name, value in (json.loads(about) | change).items() if value is not None}
    (tmp_path / "labels.jsonl").write_text("\n".join([json.dumps(kept), *lines]))
    with pytest.raises(RequestError, match=said):
        load_labels(tmp_path)
    (tmp_path / "labels.jsonl").write_text(about)
    with pytest.raises(RequestError, match="it holds no label"):
        load_labels(tmp_path)


def test_agreement_is_counted_in_all_four_ways(labels: Labels) -> None:
    one = replace(labels.labels[0], prompt="a red cat in the snow by day")
    hand = (True, True, True, False, False)
    several = replace(labels, labels=tuple(replace(one, number=n, right=r) for n, r in enumerate(hand)))
    cat = Seen((Found("cat", "red", Box(0, 0, 0.3, 0.3), 0.1),), "snow", "day")
    table, unlike = agreement(several, [cat, cat, replace(cat, setting="sea"), Seen((), "snow", "day"), cat])
    assert [list(row.values()) for row in table.rows] == [["right", 2, 1], ["wrong", 1, 1]]
    assert [(label.number, label.right) for label in unlike] == [(2, True), (4, False)]
    assert "They agree on 60.0 [23–88] %;\nCohen's kappa is 0.17." in table.note
