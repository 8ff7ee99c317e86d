"""The picture that the live page shows of the last answer."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from midcut.edge.page.live import thumbnail


def file_of(image, kind):
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def shown(image):
    scheme, _, data = thumbnail(image).partition(",")
    assert scheme == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
@pytest.mark.parametrize("size", [(100, 50), (1000, 500), (1300, 650)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "frame"])
def test_a_picture_of_any_kind_and_size_is_shown_small(mode, size, kind):
    if kind == "JPEG" and mode in ("RGBA", "P"):
        pytest.skip("JPEG has no such pixels")
    image = Image.new("RGB", size, (200, 40, 40)).convert(mode, palette=Image.Palette.ADAPTIVE)
    small = shown(image if kind == "frame" else file_of(image, kind))
    assert small.size == (min(size[0], 320), min(size[0], 320) // 2)
    expected, found = image.convert("RGB").getpixel((5, 5)), small.convert("RGB").getpixel((5, 5))
    assert all(abs(one - other) < 6 for one, other in zip(expected, found, strict=True))
    assert image.size == size  # a frame is left as it is


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("size", [(3840, 2160), (7680, 4320)])
def test_a_frame_of_a_camera_is_shown_whatever_its_size(mode, size, monkeypatch):
    frame = Image.new(mode, size, "red")
    with monkeypatch.context() as patched:
        if mode != "RGBA":  # which is rare, and copied
            patched.setattr(Image.Image, "copy", lambda _: pytest.fail("all of the frame was copied"))
        small = shown(frame)
    assert small.size == (320, 180)
    assert frame.size == size
    red = (76, 76, 76) if mode == "L" else (255, 0, 0)
    assert all(abs(one - other) < 6 for one, other in zip(red, small.convert("RGB").getpixel((160, 90)), strict=True))


def test_what_is_no_picture_shows_none():
    assert thumbnail(b"no picture") == ""
    assert thumbnail(file_of(Image.new("L", (3000, 2500)), "PNG")) == ""  # it would take long
