"""What a folder holds besides plain images is said: other suffixes, folders, labels that fit nothing."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageOps, features

from midcut.config.settings import InputFolder
from midcut.edge.frontend.folder import image_files, warn_of_files_left_out, warn_of_labels
from midcut.errors import FileError, MalformedError
from midcut.serving.formats import formats, why_unknown
from midcut.serving.images import read_image


@pytest.fixture
def folder(tmp_path, images):
    for name in ("a.png", "b.JFIF", "c.heic", "d.Jpe", "e.apng", "notes.txt", "noext", "raw.dng"):
        (tmp_path / name).write_bytes(images(1))
    (tmp_path / "more").mkdir()
    return tmp_path


def test_phones_suffixes_are_taken_and_the_others_are_said(folder, capsys):
    settings = InputFolder(path=str(folder))
    files = image_files(settings)
    assert [path.name for path in files] == ["a.png", "b.JFIF", "c.heic", "d.Jpe", "e.apng"]
    warn_of_files_left_out(settings, files)
    said = capsys.readouterr().out
    assert "count=3" in said
    assert "1 .dng, 1 .txt, 1 no suffix" in said
    assert "more" in said


def test_a_pattern_leaves_out_nothing_that_needs_saying(folder, capsys):
    settings = InputFolder(path=str(folder), pattern="a*")
    warn_of_files_left_out(settings, image_files(settings))
    assert capsys.readouterr().out == ""


def test_a_folder_of_other_files_says_what_there_is(tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"0")
    with pytest.raises(FileError, match=r"holds no image \(.*\), only 1 .mp4"):
        image_files(InputFolder(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("labels", "known", "words"),
    [
        ({"z.png": "1"}, [], "the labels match no image"),
        ({"a.png": "1"}, [], "images without a label"),
        ({"a.png": "Cat"}, ["cat", "dog"], "labels that the model never answers with"),
        ({"a.png": "7"}, ["cat", "dog"], "labels that the model never answers with"),
        ({"a.png": "cat"}, [], "labels that the model never answers with"),
    ],
)
def test_labels_that_fit_nothing_are_said(folder, capsys, labels, known, words):
    settings = InputFolder(path=str(folder), labels="labels.csv")
    warn_of_labels(labels, image_files(settings), known, settings)
    assert words in capsys.readouterr().out


def test_labels_that_fit_are_not_mentioned(folder, capsys):
    settings = InputFolder(path=str(folder), labels="labels.csv")
    files = image_files(settings)
    warn_of_labels({path.name: "1" for path in files}, files, ["cat", "dog"], settings)
    assert capsys.readouterr().out == ""


def saved(format_, **how):
    out = io.BytesIO()
    Image.new("RGB", (32, 16), (200, 30, 10)).save(out, format=format_, **how)
    return out.getvalue()


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read():
    assert read_image(saved("AVIF")).size == (32, 16)


def test_heic_is_read_and_upright_with_the_extra():
    pytest.importorskip("pillow_heif")
    assert "HEIF" in formats()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_image(saved("HEIF", exif=exif.tobytes()))
    assert max(abs(a - b) for a, b in zip(turned.convert("RGB").getpixel((5, 5)), (200, 30, 10), strict=True)) < 12


@pytest.mark.parametrize("number", range(1, 9))
def test_every_exif_orientation_is_undone(number):
    upright = Image.new("L", (4, 2), 0)
    upright.putpixel((0, 0), 255)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(number)  # fmt: skip
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = number
    (upright if undo is None else upright.transpose(undo)).save(out, format="PNG", exif=exif)
    image = read_image(out.getvalue())
    assert image.tobytes() == upright.tobytes()
    assert ImageOps.exif_transpose(image).tobytes() == upright.tobytes()  # which a preprocessing may do


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(20), "heif"),
        (b"\0\0\0\x18ftypmif1" + bytes(20), "heif"),
        (b"\xff\x0a" + bytes(20), "JPEG XL is not read here; send it as JPEG or PNG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), "JPEG XL"),
        (b"<svg></svg>", "not an image of a known format"),
    ],
)
def test_what_is_not_read_says_what_to_do(data, words):
    assert words in why_unknown(data)
    with pytest.raises(MalformedError) as caught:
        read_image(data)
    assert "\n" not in str(caught.value)
