"""The image formats that are read, and what to do about a phone's that is not."""

from __future__ import annotations

import contextlib
import importlib
from functools import cache
from typing import Final

from PIL import features

_BRANDS: Final = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    b"jxl ": "JPEG XL",
}
_SUFFIXES: Final = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif"),
}


@cache
def formats() -> tuple[str, ...]:
    """Names of the formats that are read, as Pillow calls them. HEIF needs the package `pillow-heif`."""
    optional = []
    if features.check("avif"):
        optional.append("AVIF")
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
        optional.append("HEIF")
    return tuple(name for name in _SUFFIXES if name not in ("AVIF", "HEIF") or name in optional)


def suffixes() -> frozenset[str]:
    """Suffixes, in lower case, of the files in a folder that are taken for images."""
    return frozenset(suffix for group in _SUFFIXES.values() for suffix in group)


def why_unknown(data: bytes | bytearray | memoryview) -> str:
    """Say why bytes are not read as an image, and what to do."""
    head = bytes(data[:12])
    name = _BRANDS.get(head[8:]) if head[4:8] == b"ftyp" else None
    if head[:2] == b"\xff\x0a" or head[4:] == b"JXL \r\n\x87\n":
        name = "JPEG XL"
    if name == "HEIC":
        return "HEIC, a format of phones, needs the extra heif (pip install 'midcut[heif]'); or send it as JPEG"
    if name is not None:
        return f"{name} is not read here; send it as {' or '.join(formats()[:2])}"
    return f"not an image of a known format ({', '.join(formats())})"
