"""Small pictures' files that once cost a server seconds or gigabytes: thin, deep, or full of what is no pixel."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BLOCKS = 100_000


def hostile_pictures() -> dict[str, bytes]:
    """Name -> file, of at most 2 MB."""
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20), 9))
    return {
        "thin": png(4000, 1),
        "narrow": png(1, 60_000),
        "deep": png(7000, 7000),
        "deep and lossless": saved("WEBP", Image.new("RGB", (7000, 7000)), lossless=True),
        "16 bits": saved("TIFF", Image.new("I;16", (5000, 5000)), compression="tiff_deflate"),
        "compressed texts": png(28, 28, text * 60),
        "blocks": png(28, 28, chunk(b"teXt") * _BLOCKS),
        "EXIF of a PNG": png(28, 28, chunk(b"eXIf", _exif(200_000))),
        "EXIF of a WebP": saved("WEBP", Image.new("RGB", (28, 28)), exif=b"Exif\0\0" + _exif(200_000)),
        "segments": _between(saved("JPEG", Image.new("L", (28, 28))), 2, b"\xff\xe5\0\2" * _BLOCKS),
        "comments": _between(saved("GIF", Image.new("L", (28, 28))), 13 + 768, b"\x21\xfe\1x\0" * _BLOCKS),
        "grey levels": b"P5 1500 1300 3\n" + b"\1" * 1_950_000,
    }


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, between: bytes = b"", *, bits: int = 8, rows: int | None = None) -> bytes:
    """A black grey PNG file.

    Args:
        between: further chunks before its pixels.
        rows: how many rows of pixels the file has; None is all that its header promises.
    """
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    pixels = bytes((width * bits // 8 + 1) * (height if rows is None else rows))
    return _SIGNATURE + header + between + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND")


def saved(kind: str, image: Image.Image, **options: object) -> bytes:
    """A picture's file, of one of Pillow's formats."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def _between(file: bytes, at: int, more: bytes) -> bytes:
    return file[:at] + more + file[at:]


def _exif(values: int) -> bytes:
    """A directory that turns the picture, with many rational numbers besides."""
    tags = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">HHII", 0x9999, 5, values, 38)
    return b"MM\0*" + struct.pack(">IH", 8, 2) + tags + struct.pack(">I", 0) + b"\1" * (values * 8)
