import gzip
import os
from pathlib import Path
from zlib import crc32

import pytest
from albums import kohya, picture, png, shard, table
from PIL import ExifTags, Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from fromnoise.errors import RequestError, StorageError
from fromnoise.train.pictures import Layout, Pictures, Reason, Skip, open_pictures, take_census
from fromnoise.train.pictures.decoding import decode


def said(pictures: Pictures) -> dict[str, tuple[str, ...]]:
    return {example.name: example.captions for example in pictures.examples}


def left_out(pictures: Pictures) -> dict[str, Reason]:
    return {skip.name: skip.reason for skip in pictures.skipped}


def layouts(pictures: Pictures) -> dict[Layout, int]:
    return {layout: count for layout, count, _ in take_census(pictures).layouts}


# --- layouts ---


@pytest.mark.parametrize("suffix", [".txt", ".caption"])
def test_kohya_captions_lie_beside_the_pictures(tmp_path: Path, suffix: str) -> None:
    pictures = open_pictures(kohya(tmp_path, 3, suffix))
    assert said(pictures) == {f"{k:03}.png": (f"red number {k}",) for k in range(3)}
    assert take_census(pictures).layouts == ((Layout.SIDECAR, 3, f"000.png + 000{suffix}"),)
    assert {example.size for example in pictures.examples} == {(40, 30)}


def test_kohya_folders_give_repeats_and_words_where_there_is_no_caption(tmp_path: Path) -> None:
    kohya(tmp_path / "5_ignored", 1)
    picture(tmp_path / "5_ignored" / "bare.jpg")
    picture(tmp_path / "10_sks_old dog" / "a.webp")
    picture(tmp_path / "001_albatross" / "b.png")  # a number, no repeats
    pictures = open_pictures(tmp_path)
    assert said(pictures) == {
        "001_albatross/b.png": ("albatross",),
        "10_sks_old dog/a.webp": ("sks old dog",),
        "5_ignored/000.png": ("red number 0",),
        "5_ignored/bare.jpg": ("ignored",),
    }
    assert [example.repeats for example in pictures.examples] == [1, 10, 5, 5]
    assert take_census(pictures).shown == 21


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_hugging_face_tables_are_read_relative_to_their_folder(tmp_path: Path, kind: str) -> None:
    rows = {"a.png": "one, with a comma", "deep/b.png": "two"}
    for name in rows:
        picture(tmp_path / "train" / name)
    if kind == "jsonl":
        lines = [{"file_name": name, "text": text} for name, text in rows.items()]
        table(tmp_path / "train" / "metadata.jsonl", lines)
    else:
        text = "file_name,text\n" + "".join(f'{n},"{t}"\n' for n, t in rows.items())
        (tmp_path / "train" / "metadata.csv").write_text("\ufeff" + text, encoding="utf-8")
    pictures = open_pictures(tmp_path)
    assert said(pictures) == {f"train/{name}": (text,) for name, text in rows.items()}
    assert layouts(pictures) == {Layout.TABLE: 2}


def test_a_list_names_its_pictures_in_one_of_several_words(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png", "d"):
        picture(tmp_path / "p" / name, format="PNG")
    rows = [
        {"path": "p/a.png", "caption": "one"},
        {"image": str(tmp_path / "p" / "b.png"), "prompt": "two"},
        {"file_name": "p/x/../c.png", "text": ["three", "drei"]},
        {"path": "p/c.png", "text": "tres"},
        {"path": "p/d", "text": "no suffix"},
    ]
    file = table(tmp_path / "list.jsonl", rows)
    expected = {
        "p/a.png": ("one",),
        "p/b.png": ("two",),
        "p/c.png": ("three", "drei", "tres"),
        "p/d": ("no suffix",),
    }
    assert said(open_pictures(tmp_path)) == expected
    picture(tmp_path / "p" / "unlisted.png")
    alone = open_pictures(file)
    assert (said(alone), layouts(alone), alone.skipped) == (expected, {Layout.LIST: 4}, ())
    assert left_out(open_pictures(tmp_path)) == {"p/unlisted.png": Reason.NO_CAPTION}


def test_class_folders_are_captions_unless_they_say_nothing(tmp_path: Path) -> None:
    for name in ("train/red_fox/1.png", "train/x-ray/2.png", "train/images/3.png", "0123/4.png"):
        picture(tmp_path / name)
    pictures = open_pictures(tmp_path)
    assert said(pictures) == {"train/red_fox/1.png": ("red fox",), "train/x-ray/2.png": ("x-ray",)}
    assert layouts(pictures) == {Layout.CLASSES: 2}
    assert left_out(pictures) == dict.fromkeys(("train/images/3.png", "0123/4.png"), Reason.NO_CAPTION)


def test_where_somebody_speaks_a_folders_name_is_no_caption(tmp_path: Path) -> None:
    kohya(tmp_path / "stuff", 2)
    (tmp_path / "stuff" / "001.txt").unlink()
    assert left_out(open_pictures(tmp_path)) == {"stuff/001.png": Reason.NO_CAPTION}


def test_tar_shards_are_read_where_they_are(tmp_path: Path) -> None:
    members = {
        "./000.jpg": png(shade=1),  # the content decides, not the name
        "./000.txt": b"zero",
        "001.png": png((50, 20)),
        "001.json": b'{"caption": "one"}',
        "001.seg.png": png(),  # another thing of the same sample
        "._001.png": b"of a Mac",
        "fox/002.png": png(),
    }
    shard(tmp_path / "s-0000.tar", members)
    pictures = open_pictures(tmp_path)
    expected = {
        "s-0000.tar/000.jpg": ("zero",),
        "s-0000.tar/001.png": ("one",),
        "s-0000.tar/fox/002.png": ("fox",),
    }
    assert (said(pictures), pictures.skipped) == (expected, ())
    assert said(open_pictures(tmp_path / "s-0000.tar")) == expected
    assert [example.size for example in pictures.examples] == [(40, 30), (50, 20), (40, 30)]
    assert [e.place.read() for e in pictures.examples] == [
        members[n] for n in ("./000.jpg", "001.png", "fox/002.png")
    ]
    assert list(tmp_path.iterdir()) == [tmp_path / "s-0000.tar"]


def test_names_in_a_shard_that_hold_dots_are_not_lost(tmp_path: Path) -> None:
    members = {
        "cat.v2.png": png(),
        "cat.v2.txt": b"a cat",
        "dog.v1.5.jpg": png(),
        "0001.png": png(),
        "0001.txt": b"one",
        "0001.seg.png": png(),
        "0001.depth.tiff": b"II*",
        "fox.v2.bmp": b"BM",
        "owl.gif": b"GIF89a",
    }
    pictures = open_pictures(shard(tmp_path / "s.tar", members))
    assert said(pictures) == {"s.tar/0001.png": ("one",), "s.tar/cat.v2.png": ("a cat",)}
    assert left_out(pictures) == {
        "s.tar/dog.v1.5.jpg": Reason.NO_CAPTION,
        "s.tar/fox.v2.bmp": Reason.STRANGE,
        "s.tar/owl.gif": Reason.STRANGE,
    }


def test_a_mixed_folder_is_told_apart_and_reported(tmp_path: Path) -> None:
    kohya(tmp_path / "k", 4)
    picture(tmp_path / "10_sks dog" / "a.png")
    picture(tmp_path / "fox" / "b.png")
    picture(tmp_path / "hf" / "c.png")
    table(tmp_path / "hf" / "metadata.jsonl", [{"file_name": "c.png", "text": "hello"}])
    shard(tmp_path / "t.tar", {"0.png": png(), "0.txt": b"zero"})
    pictures = open_pictures(tmp_path)
    assert layouts(pictures) == {
        Layout.SIDECAR: 4,
        Layout.REPEATS: 1,
        Layout.CLASSES: 1,
        Layout.TABLE: 1,
        Layout.SHARD: 1,
    }
    report = list(take_census(pictures).lines())
    assert report[0] == f"{tmp_path}: 8 pictures to learn from, 0 left out"
    assert "captions of 4: a file beside each picture (kohya), as k/000.png + 000.txt" in report
    assert "captions of 1: tar shards (webdataset), as t.tar/0.png + 0.txt" in report
    assert "repeats: 17 pictures an epoch" in report


# --- captions that are missing ---


def test_missing_captions_are_named_and_filled_only_where_asked(tmp_path: Path) -> None:
    kohya(tmp_path, 2)
    picture(tmp_path / "red-boat_(3).png")
    picture(tmp_path / "DSC00012.jpg")
    missing = dict.fromkeys(("DSC00012.jpg", "red-boat_(3).png"), Reason.NO_CAPTION)
    assert left_out(open_pictures(tmp_path)) == missing

    given = open_pictures(tmp_path, caption="a  thing ")
    assert said(given) == {
        "000.png": ("red number 0",),
        "001.png": ("red number 1",),
        "DSC00012.jpg": ("a thing",),
        "red-boat_(3).png": ("a thing",),
    }
    assert layouts(given) == {Layout.SIDECAR: 2, Layout.GIVEN: 2}

    named = open_pictures(tmp_path, file_names=True)
    assert said(named)["red-boat_(3).png"] == ("red boat",)
    assert left_out(named) == {"DSC00012.jpg": Reason.NO_CAPTION}
    assert said(open_pictures(tmp_path, file_names=True, caption=""))["DSC00012.jpg"] == ("",)


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b" \n", "a.txt says nothing"),
        (b"\xff\x00\x81", "a.txt: 'utf-8' codec can't decode"),
        (b"x" * 30_000, "a.txt: 30000 characters are more than 20000"),
        (b"x" * (2 << 20), "a.txt: 2097152 bytes are too long"),
    ],
)
def test_a_caption_file_that_says_nothing_is_a_missing_caption(
    tmp_path: Path, data: bytes, detail: str
) -> None:
    kohya(tmp_path, 1)
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(data)
    (skip,) = open_pictures(tmp_path).skipped
    assert (skip.name, skip.reason) == ("a.png", Reason.NO_CAPTION)
    assert skip.detail.startswith(detail)
    (tmp_path / "a.caption").write_bytes("\ufeffein Fuchs\r\nim Schnee".encode("utf-16-le"))
    assert said(open_pictures(tmp_path))["a.png"] == ("ein Fuchs im Schnee",)


def test_lines_that_name_no_picture_are_counted(tmp_path: Path) -> None:
    picture(tmp_path / "p" / "a.png")
    rows = (
        '{"path": "a.png", "text": "one"}\nnonsense\n\n[1]\n{"text": "two"}\n{"path": "b.png", "text": "x"}\n'
    )
    rows += '{"path": "../../c.png", "text": "x"}\n{"path": "/etc/d.png", "text": "x"}\n'
    long = "data:image/png;base64," + "A" * 5000
    rows += f'{{"path": "{long}", "text": "x"}}\n{{"path": "a\\u0000.png", "text": "x"}}\n'
    rows += '{"path": "e.png", "text": 5}\n{"path": "f.png", "text": "\\ud800"}\n' + '{"path":' * 5000 + "\n"
    (tmp_path / "p" / "list.jsonl").write_text(rows, encoding="utf-8")
    pictures = open_pictures(tmp_path)
    assert said(pictures) == {"p/a.png": ("one",)}
    bad = {f"p/list.jsonl, line {n}": Reason.BAD_LINE for n in (2, 4, 5, 11, 12, 13)}
    outside = {"../../c.png": Reason.OUTSIDE, "/etc/d.png": Reason.OUTSIDE}
    missing = dict.fromkeys(("p/b.png", f"p/{long}", "p/a\0.png"), Reason.MISSING)
    assert left_out(pictures) == missing | bad | outside


# --- bad input ---


def test_one_in_a_hundred_unreadable_is_survived_counted_and_named(tmp_path: Path) -> None:
    kohya(tmp_path, 200)
    (tmp_path / "007.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"garbage")
    (tmp_path / "100.png").write_bytes(b"")
    pictures = open_pictures(tmp_path)
    assert len(pictures) == 198
    assert left_out(pictures) == {"007.png": Reason.DAMAGED, "100.png": Reason.EMPTY}
    report = "\n".join(take_census(pictures, also=[Skip("008.png", Reason.DAMAGED, "cut short")]).lines())
    assert "197 pictures to learn from, 3 left out" in report
    assert "left out, damaged (2): 007.png (" in report
    assert "008.png (cut short)" in report


def test_every_kind_of_bad_file_has_its_reason(tmp_path: Path) -> None:
    kohya(tmp_path / "in", 1)
    picture(tmp_path / "outside.png")
    bomb = bytearray(png())
    bomb[16:24] = (50_000).to_bytes(4, "big") * 2  # the size in its header; nothing of it may be decoded
    bomb[29:33] = crc32(bomb[12:29]).to_bytes(4, "big")
    made = {
        "in/bomb.png": (bytes(bomb), Reason.TOO_LARGE),
        "in/html.jpg": (b"<html>", Reason.STRANGE),
        "in/small.png": (png((200, 4)), Reason.TOO_SMALL),
        "in/sound.webp": (b"RIFF....WAVE", Reason.DAMAGED),
        "in/old.bmp": (b"BM", Reason.STRANGE),
        "in/metadata.parquet": (b"PAR1", Reason.PARQUET),
        "in/packed.tar.gz": (gzip.compress(b""), Reason.BAD_SHARD),
        "in/packed.tar": (gzip.compress(b""), Reason.BAD_SHARD),
    }
    for name, (data, _) in made.items():
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "in" / "pipe.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "in" / "away").symlink_to(tmp_path)
    (tmp_path / "in" / "dangling.png").symlink_to("nowhere.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")  # a loop
    (tmp_path / "in" / ".hidden.png").write_bytes(b"")
    expected = {name.removeprefix("in/"): reason for name, (_, reason) in made.items()}
    expected |= {"pipe.png": Reason.NO_FILE, "dangling.png": Reason.NO_FILE}
    expected |= {"link.png": Reason.LINK, "away": Reason.LINK}
    pictures = open_pictures(tmp_path / "in", caption="x")
    assert left_out(pictures) == expected
    assert list(said(pictures)) == ["000.png"]
    report = "\n".join(take_census(pictures).lines())
    assert "bomb.png (50000x50000, more than 64 megapixels)" in report


def test_a_list_is_not_followed_out_of_the_folder_by_a_link(tmp_path: Path) -> None:
    picture(tmp_path / "secret" / "a.png")
    picture(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    rows = [{"path": "link/a.png", "text": "x"}, {"path": "b.png", "text": "x"}]
    pictures = open_pictures(table(tmp_path / "in" / "list.jsonl", rows))
    assert list(said(pictures)) == ["b.png"]
    assert left_out(pictures) == {"link/a.png": Reason.LINK}


@pytest.mark.parametrize("damage", ["cut short", "header"])
def test_of_a_damaged_shard_what_comes_before_is_kept(tmp_path: Path, damage: str) -> None:
    path = shard(tmp_path / "a.tar", {f"{k}.png": png(shade=k) for k in range(3)})
    data, second = bytearray(path.read_bytes()), 2 * 512
    assert data[second : second + 5] == b"1.png"
    if damage == "cut short":
        del data[second + 512 + 20 :]
    else:
        data[second + 100] ^= 255
    path.write_bytes(data)
    pictures = open_pictures(path, caption="x")
    assert "a.tar/0.png" in said(pictures)
    assert "a.tar/2.png" not in said(pictures)
    assert left_out(pictures)["a.tar"] == Reason.BAD_SHARD


def test_what_a_picture_is_not_plainly_is_remarked(tmp_path: Path) -> None:
    picture(tmp_path / "clear.png", mode="RGBA", color=(0, 0, 0, 0))
    picture(tmp_path / "print.jpg", mode="CMYK", color=(0, 0, 0, 0))
    picture(tmp_path / "deep.png", mode="I;16", color=40_000)
    picture(
        tmp_path / "turned.jpg",
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
    )
    frames = [picture(tmp_path / f"f{k}.png", color=(k, 0, 0)) for k in (1, 200)]
    first, second = (Image.open(frame) for frame in frames)
    first.save(tmp_path / "moving.webp", save_all=True, append_images=[second])
    first.close(), second.close()
    pictures = open_pictures(tmp_path, caption="x")
    remarks = {example.name: [r.name for r in example.remarks] for example in pictures.examples}
    assert remarks == {
        "clear.png": ["TRANSPARENT"],
        "deep.png": ["DEEP"],
        "f1.png": [],
        "f200.png": [],
        "moving.webp": ["ANIMATED"],
        "print.jpg": ["CMYK"],
        "turned.jpg": ["TURNED"],
    }
    assert next(e.size for e in pictures.examples if e.name == "turned.jpg") == (30, 40)
    assert "1 turned upright: turned.jpg" in list(take_census(pictures).lines())


def test_a_png_is_turned_by_whatever_says_so_and_not_decoded_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = exif.tobytes()
    texts = {
        "raw.png": ("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n"),
        "xmp.png": ("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>'),
        "none.png": ("XML:com.adobe.xmp", "<x/>"),
    }
    for name, (key, text) in texts.items():
        info = PngInfo()
        info.add_itxt(key, text)
        picture(tmp_path / name, pnginfo=info)
        assert decode((tmp_path / name).read_bytes()).size == ((40, 30) if name == "none.png" else (30, 40))
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it is decoded"))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it is decoded"))
    pictures = open_pictures(tmp_path, caption="x")
    assert {e.name: e.size for e in pictures.examples} == {
        "none.png": (40, 30),
        "raw.png": (30, 40),
        "xmp.png": (30, 40),
    }


def test_a_folder_with_nothing_to_learn_from_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no folder"):
        open_pictures(tmp_path / "none")
    with pytest.raises(RequestError, match="holds none") as empty:
        open_pictures(tmp_path)
    assert "PNG, JPEG or WebP" in empty.value.hint
    with pytest.raises(RequestError, match="is no folder"):
        open_pictures(picture(tmp_path / "a.png"))
    with pytest.raises(RequestError, match=r"left out, without a caption \(1\), such as a.png") as silent:
        open_pictures(tmp_path)
    assert "one caption for all" in silent.value.hint
    with pytest.raises(RequestError, match="half a character"):
        open_pictures(tmp_path, caption="\ud800")


def test_what_may_not_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kohya(tmp_path, 2)
    opened = Path.open

    def refuse(path: Path, *how: str) -> object:
        if path.name == "000.png":
            raise PermissionError(13, "Permission denied")
        return opened(path, *how)

    monkeypatch.setattr(Path, "open", refuse)
    assert open_pictures(tmp_path).skipped == (Skip("000.png", Reason.UNREADABLE, "Permission denied"),)
