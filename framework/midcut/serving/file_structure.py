"""Bounds of what surrounds a picture's pixels in its file: Pillow goes through it in Python, a second per MB and more.

A limit of bytes does not help: 63 kB of compressed text take a second and 63 MB, and a file of 32 MB may consist of
millions of empty blocks. Pictures that people take have some dozens of blocks.
"""

from __future__ import annotations

import re
import struct
from itertools import chain
from typing import TYPE_CHECKING, Final

from PIL import PngImagePlugin

from midcut.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MOST_EXIF_BYTES: Final = 1_000_000
# Blocks or tags of a file, whatever their kind, and values of one tag of a TIFF file. Pillow takes up to 9 us for one.
_MOST_BLOCKS: Final = 16_384
_MOST_VALUES: Final = 65_536
# Variants of two formats that Pillow decodes in Python, at up to 2 s per MB.
_MOST_SLOW_BYTES: Final = 2_000_000
_MOST_TEXT_BYTES: Final = 4_000_000
# Parts of a JPEG's EXIF, each of at most 64 kB: Pillow copies all before it for each.
_MOST_EXIF_PARTS: Final = 64
_HEADER_BYTES: Final = 4096
_PNM_HEADER: Final = re.compile(rb"P([1-6])" + 3 * rb"(?:(?:\s|#[^\r\n]*[\r\n])+(\d+))?")
_FAST_PNM: Final = (255, 65535)
_START_OF_SCAN: Final = 0xDA
# TIFF: bytes of each type that becomes one Python number for each value; the others stay bytes.
_NUMBERS: Final = frozenset({3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 16})
_TYPE_BYTES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8
}  # fmt: skip
# Tags that point to a further directory, which Pillow reads in a TIFF file, and formats of what may point there.
_DIRECTORIES: Final = frozenset({34665, 34853, 40965})
_OFFSETS: Final = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q"}
_APP1: Final = 0xE1
_APP2: Final = 0xE2
_APP13: Final = 0xED
_EXIF_ITEM: Final = re.compile(rb"(infe[\x02\x03].{3}(?:..|....)..)Exif", re.DOTALL)


def bound_texts() -> None:
    """Have Pillow refuse PNG files whose compressed texts are large."""
    PngImagePlugin.MAX_TEXT_MEMORY = _MOST_TEXT_BYTES  # documented by Pillow, for the whole process


def check_structure(data: bytes | bytearray | memoryview) -> None:
    """Refuse a file whose structure would take Pillow long; whether it is a picture is not checked.

    Raises:
        MalformedError: too many blocks or tags, too many values of a tag, or too much of a variant that is slow to
            decode.
    """
    view = memoryview(data)
    head = bytes(view[:12])
    for magic, blocks in _BLOCKS.items():
        if head.startswith(magic):
            _count(blocks(view))
    if head[:2] == b"\xff\xd8":
        _check_jpeg_tags(view)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _count(_tiff_tags(view, _MOST_VALUES), "tags")
    elif head[:1] == b"P" and head[1:2].isdigit():
        _check_pnm(view)
    elif head[:2] == b"BM" and view[30:34].tobytes() in (b"\1\0\0\0", b"\2\0\0\0"):
        _check_slow(view, "a run-length encoded BMP")


def without_exif_item(data: bytes | bytearray | memoryview) -> bytes | bytearray | memoryview:
    """An AVIF or HEIF file without its EXIF, which Pillow reads and rewrites; how it is turned stands elsewhere."""
    if bytes(data[4:8]) != b"ftyp" or _EXIF_ITEM.search(data) is None:
        return data
    return _EXIF_ITEM.sub(rb"\1skip", bytes(data))


def _count(parts: Iterator[object], what: str = "blocks") -> None:
    for number, _ in enumerate(parts):
        if number >= _MOST_BLOCKS:
            raise MalformedError(f"the image's file has over {_MOST_BLOCKS} {what}: save it anew")


def _png_blocks(data: memoryview) -> Iterator[int]:
    at = 8
    while at + 8 <= len(data):
        yield at
        at += 12 + int.from_bytes(data[at : at + 4], "big")


def _jpeg_blocks(data: memoryview) -> Iterator[int]:
    """Markers before the pixels, and what Photoshop has put into one segment."""
    for at in _jpeg_markers(data):
        yield at
        if data[at] == 0xFF and data[at + 1] == _APP13:
            yield from _photoshop_blocks(_jpeg_content(data, at))


def _jpeg_markers(data: memoryview) -> Iterator[int]:
    """Markers before the pixels; fill bytes and what is no marker count as well, as Pillow skips them one by one."""
    at = 2
    while at + 4 <= len(data):
        yield at
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            at += 1
            continue
        marker = data[at + 1]
        if marker == _START_OF_SCAN:
            return
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD9  # no length follows
        at += 2 if alone else 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)


def _jpeg_content(data: memoryview, at: int) -> bytes:
    """What is in the segment of a marker."""
    return bytes(data[at + 4 : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")])


def _photoshop_blocks(content: bytes) -> Iterator[int]:
    at = 14
    while content.startswith(b"8BIM", at) and at + 6 < len(content):
        yield at
        at += 7 + content[at + 6]
        at += at & 1
        at += 4 + int.from_bytes(content[at : at + 4], "big")
        at += at & 1


def _check_jpeg_tags(data: memoryview) -> None:
    """Check EXIF, which may be in several parts, and directories of several pictures: Pillow reads both at once.

    Of such directories Pillow reads the last one only. All are counted together, so that a file of many takes no longer
    to be checked than to be read.
    """
    parts, directories = [], []
    for at in _jpeg_markers(data):
        if data[at] != 0xFF or data[at + 1] not in (_APP1, _APP2):
            continue
        content = _jpeg_content(data, at)
        if data[at + 1] == _APP1 and content.startswith(b"Exif\0\0"):
            parts.append(content[6:])
        elif data[at + 1] == _APP2 and content.startswith(b"MPF\0"):
            directories.append(memoryview(content)[4:])
    _count(chain.from_iterable(map(_tiff_tags, directories)), "tags")
    if len(parts) > _MOST_EXIF_PARTS:
        raise MalformedError(f"the image's EXIF is in {len(parts)} parts, over the limit of {_MOST_EXIF_PARTS}")
    check_exif(b"".join(parts))


def _gif_blocks(data: memoryview) -> Iterator[int]:
    """Blocks before the first picture."""
    flags = data[10] if len(data) > 10 else 0
    at = 13 + (3 * (2 << (flags & 7)) if flags & 0x80 else 0)
    while at + 2 <= len(data) and data[at] not in b",;":
        yield at
        if data[at] != 0x21:
            at += 1
            continue
        at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1


def check_exif(exif: bytes | bytearray) -> None:
    """Refuse EXIF that would take Pillow long, or much memory.

    Raises:
        MalformedError: it is too large, has too many tags, or its tags together are larger than it is.
    """
    if len(exif) > _MOST_EXIF_BYTES:
        raise MalformedError(f"the image has {len(exif)} bytes of EXIF, over the limit of {_MOST_EXIF_BYTES}")
    _count(_tiff_tags(memoryview(exif)[6 if exif.startswith(b"Exif\0\0") else 0 :]), "tags")


def _tiff_tags(data: memoryview, most_values: int | None = None) -> Iterator[int]:
    """Yield and check the tags of the first directory, which is the one that is read.

    Args:
        data: a TIFF file, or what is built as one.
        most_values: of one tag; given for TIFF files, of which Pillow reads every value, and further directories.
    """
    head = bytes(data[:4])
    order, big = "<" if head[:1] == b"I" else ">", 43 in head[2:]
    waiting = [_number(data, f"{order}{'Q' if big else 'I'}", 8 if big else 4)]
    known = set(waiting)
    while waiting:
        directory = waiting.pop()
        if directory is None or directory < 0:
            continue
        for tag, further in _directory_tags(data, order, directory, most_values, big=big):
            yield tag
            if most_values is not None and further not in known:
                known.add(further)
                waiting.append(further)


def _directory_tags(
    data: memoryview, order: str, at: int, most_values: int | None, *, big: bool
) -> Iterator[tuple[int, int | None]]:
    """The checked tags of a directory, each with the position of a further directory, or None.

    Before version 13, Pillow copies the bytes of each tag, of which many may point to the same ones.
    """
    counts, inline = (f"{order}Q", 8) if big else (f"{order}H", 4)
    entry = struct.Struct(f"{order}HHQQ" if big else f"{order}HHII")
    start = at + struct.calcsize(counts)
    copied_bytes = 0
    for entry_at in range(start, start + (_number(data, counts, at) or 0) * entry.size, entry.size):
        if entry_at + entry.size > len(data):
            return  # cut off: Pillow says so
        tag, kind, values, where = entry.unpack_from(data, entry_at)
        if most_values is not None and values > most_values and kind in _NUMBERS:
            raise MalformedError(f"the image's file has {values} values of the tag {tag}: save it anew")
        size = values * _TYPE_BYTES.get(kind, 0)
        if size > inline and where + size <= len(data):
            copied_bytes += size
        if copied_bytes > len(data):
            raise MalformedError("the image's tags are together larger than its file: save it anew")
        further = None
        if tag in _DIRECTORIES and kind in _OFFSETS:
            value_at = where if size > inline else entry_at + entry.size - inline
            further = _number(data, f"{order}{_OFFSETS[kind]}", value_at)
        yield tag, further


def _number(data: memoryview, form: str, at: int) -> int | None:
    """A number in a file; None where the file ends before it."""
    if at + struct.calcsize(form) > len(data):
        return None
    (number,) = struct.unpack_from(form, data, at)
    return int(number)


def _check_pnm(data: memoryview) -> None:
    found = _PNM_HEADER.match(data[:_HEADER_BYTES])
    if found is None or (found[3] is None and found[1] not in (b"1", b"4")):
        if len(data) > _HEADER_BYTES:
            raise MalformedError(f"the image's header is not complete after {_HEADER_BYTES} bytes")
        return
    if found[1] in b"123" or (found[1] != b"4" and int(found[3][:9]) not in _FAST_PNM):
        _check_slow(data, "a PNM with numbers as text or of other than 8 or 16 bits")


def _check_slow(data: memoryview, what: str) -> None:
    if len(data) > _MOST_SLOW_BYTES:
        raise MalformedError(f"the image is {what}, of which {_MOST_SLOW_BYTES} bytes are read at most: save it as PNG")


_BLOCKS: Final[dict[bytes, Callable[[memoryview], Iterator[int]]]] = {
    b"\x89PNG\r\n\x1a\n": _png_blocks,
    b"\xff\xd8": _jpeg_blocks,
    b"GIF8": _gif_blocks,
}
