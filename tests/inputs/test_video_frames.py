"""Frames of turned and of damaged videos, without an edge."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import structlog
from PIL import Image

from midcut.errors import FileError
from midcut_inputs.config import VideoConfig
from midcut_inputs.video import Video

# Of `tkhd` (ISO/IEC 14496-12, 8.3.2): what turns pictures clockwise by so many degrees.
MATRICES = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def video_of(path):
    return Video(**vars(VideoConfig(url=str(path))))


def turned(path, clockwise):
    """Sets the display matrix of a file."""
    a, b, c, d = MATRICES[clockwise]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # of version 0
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("clockwise", [90, 180, 270])
@pytest.mark.parametrize(("name", "codec", "pixels"), [("v.mp4", "mpeg4", "yuv420p"), ("v.mov", "mjpeg", "yuvj420p")])
def test_a_turned_video_is_shown_upright(make_video, clockwise, name, codec, pixels):
    path = make_video(name, codec, pixels)
    lying = [np.asarray(frame.image.convert("RGB"), int) for frame in video_of(path).frames()]
    frames = list(video_of(turned(path, clockwise)).frames())
    assert len(frames) == len(lying) == 30
    for frame, before in zip(frames, lying, strict=True):
        # Two decoders of JPEG differ a little; digits that lie differ by far more.
        assert np.abs(np.asarray(frame.image, int) - np.rot90(before, -clockwise // 90)).mean() < 3
        assert frame.data is None


def packets(path):
    av = pytest.importorskip("av", reason="extra video is not installed")
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def damage(path, places):
    data = bytearray(path.read_bytes())
    for at, size in places:
        data[at : at + size] = bytes(size)
    path.write_bytes(bytes(data))


def test_damaged_packets_are_left_out_counted_and_logged_once(make_video):
    path = make_video("v.mp4", "mpeg4", "yuv420p")
    damage(path, packets(path)[3:6])  # early: FFmpeg's threads, 16 at most, tell of a packet that many packets later
    video = video_of(path)
    with structlog.testing.capture_logs() as logs:
        frames = list(video.frames())
    assert len(frames) == 27
    assert video.damaged == 3
    assert [log["event"] for log in logs] == ["damaged packets are left out"]


@pytest.mark.parametrize(("repeat", "part"), [(1, "none of its packets can be decoded"), (5, "Invalid data")])
def test_a_video_of_damaged_packets_alone_ends_with_the_reason(make_video, repeat, part):
    path = make_video("v.mp4", "mpeg4", "yuv420p", repeat)
    damage(path, packets(path))
    with pytest.raises(FileError, match=part):
        list(video_of(path).frames())


def test_a_frame_of_mjpeg_that_is_cut_off_is_left_to_ffmpeg(mjpeg):
    at, size = packets(mjpeg)[10]
    damage(mjpeg, [(at + size // 2, size - size // 2)])
    frames = list(video_of(mjpeg).frames())
    assert len(frames) in (29, 30)
    assert sum(frame.data is None for frame in frames) == len(frames) - 29
    for frame in frames:
        assert isinstance(frame.image, Image.Image)
        frame.image.load()
