"""Files that make Pillow work for seconds, or take memory, for what is no pixel: refused at once, in one line."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from midcut.errors import MalformedError
from midcut.serving import file_structure
from midcut.serving.file_structure import check_structure
from midcut.serving.images import PixelBudget, _weighed_pixels, open_image, read_image

MANY = 20_000


@pytest.fixture(autouse=True)
def _bounds():
    PixelBudget(1, None)


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(before=b"", after=b""):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(29 * 28)))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + after + chunk(b"IEND")


def saved(kind, image=None, **options):
    data = io.BytesIO()
    (image or Image.new("RGB", (28, 28), "red")).save(data, kind, **options)
    return data.getvalue()


def texts(kind, head):
    return b"".join(chunk(kind, b"k%d\0" % number + head + zlib.compress(bytes(1 << 20), 9)) for number in range(8))


def exif(values, orientation=6):
    """A directory of two tags, the second one with many rational numbers."""
    tags = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack(">HHII", 0x9999, 5, values, 38)
    return b"MM\0*" + struct.pack(">IH", 8, 2) + tags + struct.pack(">I", 0) + b"\1" * (values * 8)


def overlapping(order=">"):
    """A directory whose tags point to the same bytes."""
    tags = b"".join(struct.pack(f"{order}HHII", 0x9000 + number, 7, 1500, 600) for number in range(40))
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}IH", 8, 40)
    return (head + tags + bytes(4)).ljust(2100, b"\1")


def directory(tags, at=8, order=">"):
    """A directory of so many tags with their values inline."""
    entries = b"".join(struct.pack(f"{order}HHII", 0x9000 + number, 4, 1, number) for number in range(tags))
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", at)
    return head + struct.pack(f"{order}H", tags) + entries + bytes(4)


def pointing(*offsets):
    """A TIFF file whose tags of further directories point where they are told, and those directories' bytes at 4096."""
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, at) for tag, at in zip((34665, 34853, 40965), offsets, strict=False)
    )
    return (b"II*\0" + struct.pack("<IH", 8, len(offsets)) + entries + bytes(4)).ljust(4096, b"\0")


def segment(kind, content):
    return b"\xff" + bytes([kind]) + struct.pack(">H", 2 + len(content)) + content


def tiff(tag, kind, values):
    shorts = {256: 28, 257: 28, 258: 8, 259: 1, 262: 1, 277: 1, 278: 28}
    tags = {number: (3, 1, struct.pack("<HH", value, 0)) for number, value in shorts.items()}
    tags |= {273: (4, 1, struct.pack("<I", 4096)), 279: (4, 1, struct.pack("<I", 784))}
    tags[tag] = (kind, values, struct.pack("<I", 8192))
    entries = b"".join(struct.pack("<HHI", number, *tags[number][:2]) + tags[number][2] for number in sorted(tags))
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)).ljust(8192, b"\1") + b"\1" * (values * 8)


def jpeg(between):
    file = saved("JPEG")
    return file[:2] + between + file[2:]


def gif(between):
    file = saved("GIF")
    start = 13 + 3 * (2 << (file[10] & 7))
    return file[:start] + between + file[start:]


HOSTILE = {
    "compressed texts before the pixels": png(texts(b"zTXt", b"\0")),
    "and after them": png(after=texts(b"zTXt", b"\0")),
    "and international ones": png(texts(b"iTXt", b"\1\0\0\0")),
    "PNG chunks": png(chunk(b"teXt") * MANY),
    "empty pixel chunks": png(chunk(b"IDAT") * MANY),
    "JPEG segments": jpeg(b"\xff\xe5\0\2" * MANY),
    "JPEG comments": jpeg(b"\xff\xfe\0\2" * MANY),
    "JPEG fill bytes": jpeg(b"\xff" * MANY),
    "JPEG junk": jpeg(b"\0" * MANY),
    "JPEG markers without a length": jpeg(b"\xff\xd0" * MANY),
    "GIF comments": gif(b"\x21\xfe\1x\0" * MANY),
    "GIF junk": gif(b"\0" * MANY),
    "Photoshop's blocks in one JPEG segment after another": jpeg(
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000) * 4
    ),
    "tags of several lists of a JPEG's pictures": jpeg(segment(0xE2, b"MPF\0" + directory(5000)) * 4),
    "tags of EXIF": png(chunk(b"eXIf", directory(MANY))),
    "parts of EXIF": jpeg(segment(0xE1, b"Exif\0\0" + directory(1)) * 65),
    "EXIF of a PNG": png(chunk(b"eXIf", exif(200_000))),
    "EXIF of a WebP": saved("WEBP", exif=b"Exif\0\0" + exif(200_000)),
    "overlapping EXIF of a JPEG": jpeg(segment(0xE1, b"Exif\0\0" + overlapping())),
    "and in two parts": jpeg(
        segment(0xE1, b"Exif\0\0" + overlapping("<")[:999]) + segment(0xE1, b"Exif\0\0" + overlapping("<")[999:])
    ),
    "overlapping list of a JPEG's pictures": jpeg(segment(0xE2, b"MPF\0" + overlapping())),
    "overlapping EXIF of a PNG": png(chunk(b"eXIf", overlapping())),
    "and as hexadecimal text": png(
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n2100\n" + overlapping().hex().encode())
    ),
    "overlapping EXIF of a WebP": saved("WEBP", exif=b"Exif\0\0" + overlapping()),
    "overlapping tags of a TIFF": overlapping("<"),
    "TIFF numbers": tiff(282, 5, 70_000),
    "TIFF bits per sample": tiff(258, 3, 70_000),
    "TIFF strips": tiff(273, 4, 70_000),
    "values in a further directory of a TIFF": pointing(4096)
    + struct.pack("<HHHII", 1, 0x9999, 4, 70_000, 4200).ljust(104, b"\0")
    + bytes(280_000),
    "and in one after another that is cut off": pointing(4096, 10**6, 10**9)
    + struct.pack("<HHHII", 1, 0x9999, 4, 70_000, 4200).ljust(104, b"\0")
    + bytes(280_000),
    "TIFF tags": b"MM\0+\0\x08\0\0" + struct.pack(">QQ", 16, 10**9),
    "a PNM comment": b"P5\n#" + b"x" * 5000 + b"\n28 28 255\n" + bytes(784),
    "PNM numbers as text": b"P2 1000 1100 255\n" + b"0 " * 1_100_000,
    "PNM of three grey levels": b"P5 2000 1100 3\n" + b"\1" * 2_200_000,
    "run-length BMP": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 28, 28, 1, 8, 1) + b"\1\1" * 1_100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_picture_but_work_is_refused(name):
    with pytest.raises(MalformedError) as caught:
        read_image(HOSTILE[name])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", [name for name in HOSTILE if "further directory" in name or "cut off" in name])
def test_values_in_a_further_directory_of_a_tiff_are_bounded(name):
    with pytest.raises(MalformedError, match="70000 values of the tag 39321"):
        check_structure(HOSTILE[name])


@pytest.mark.parametrize(
    ("file", "looked_at"),
    [
        (jpeg(segment(0xE2, b"MPF\0" + directory(5000)) * 40), 16_385),
        (png(chunk(b"eXIf", directory(MANY))), 0),  # of a PNG, EXIF is checked when it is decoded
        (pointing(4096, 4096, 4096) + directory(30, order="<")[8:], 3 + 30),
        (pointing(8, 8, 8), 3),
    ],
)
def test_the_number_of_tags_that_are_looked_at_is_bounded(file, looked_at, monkeypatch):
    seen = []
    every = file_structure._directory_tags

    def counted(*args, **options):
        for found in every(*args, **options):
            seen.append(found)
            yield found

    monkeypatch.setattr(file_structure, "_directory_tags", counted)
    with contextlib.suppress(MalformedError):
        check_structure(file)
    assert len(seen) == looked_at


def test_of_several_lists_of_pictures_pillow_keeps_the_last_one():
    lists = segment(0xE2, b"MPF\0" + directory(1)) + segment(0xE2, b"MPF\0" + directory(2))
    with pytest.warns(UserWarning, match="malformed MPO"), Image.open(io.BytesIO(jpeg(lists))) as image:
        assert image.info["mp"] == directory(2)


def test_what_photoshop_has_put_into_a_jpeg_is_counted_as_pillow_reads_it():
    resources = [(0x0404, b"", b"abc"), (0x03ED, b"name", bytes(16)), (0x0425, b"xyz", b"")]
    content = b"Photoshop 3.0\0"
    for code, name, data in resources:
        named = bytes([len(name)]) + name
        content += b"8BIM" + struct.pack(">H", code) + named + bytes(len(named) % 2)
        content += struct.pack(">I", len(data)) + data + bytes(len(data) % 2)
    assert len(list(file_structure._photoshop_blocks(content))) == 3
    with Image.open(io.BytesIO(jpeg(segment(0xED, content)))) as image:
        assert list(image.info["photoshop"]) == [0x0404, 0x03ED, 0x0425]


def test_a_picture_whose_exif_is_in_two_parts_is_read():
    tags = exif(5000)
    file = jpeg(segment(0xE1, b"Exif\0\0" + tags[:9000]) + segment(0xE1, b"Exif\0\0" + tags[9000:]))
    assert read_image(file).size == (28, 28)


def test_the_exif_of_an_avif_is_not_read_and_the_picture_is():
    pytest.importorskip("PIL._avif")
    plain, loaded = saved("AVIF"), saved("AVIF", exif=exif(200_000))
    assert read_image(loaded).tobytes() == read_image(plain).tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_pillow_turns_them(kind, orientation):
    corner = np.zeros((24, 32, 3), np.uint8)
    corner[:8, :12] = (250, 120, 20)
    tags = Image.Exif()
    tags[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(kind, Image.fromarray(corner), exif=tags, **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = ImageOps.exif_transpose(image)
        assert read_image(data).tobytes() == expected.tobytes()
        assert read_image(data).size == expected.size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "PPM", "WEBP"])
def test_pictures_as_people_have_them_are_read(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8))
    options = {"exif": exif(5000)} if kind in ("JPEG", "PNG", "WEBP") else {}
    data = saved(kind, noise, **options)
    check_structure(data)
    assert sorted(read_image(data).size) == [600, 800]


def test_pictures_that_take_more_memory_a_pixel_count_threefold():
    size = (40, 30)
    weights = {
        "PNG": _weighed_pixels(open_image(saved("PNG", Image.new("RGB", size)))),
        "transparent": _weighed_pixels(open_image(saved("PNG", Image.new("RGBA", size)))),
        "16 bits": _weighed_pixels(open_image(saved("PNG", Image.new("I;16", size)))),
        "WEBP": _weighed_pixels(open_image(saved("WEBP", Image.new("RGB", size)))),
        "JPEG": _weighed_pixels(open_image(saved("JPEG", Image.new("CMYK", size)))),
    }
    assert weights == {"PNG": 1200, "transparent": 3600, "16 bits": 3600, "WEBP": 3600, "JPEG": 1200}
